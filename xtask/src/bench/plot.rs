//! Plot of the latencies: one panel for each layer and number of threads, with a logarithmic time axis.

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{BATCHES, ENGINES, LAYERS, Row, STAGES, THREADS};

/// Width and height of the plot, in pixels.
const SIZE: (u32, u32) = (1100, 1020);

/// Colours of the engines, from the palette of Okabe and Ito (2008) for colour-blind readers.
const COLOURS: [RGBColor; 3] = [RGBColor(213, 94, 0), RGBColor(86, 180, 233), RGBColor(0, 114, 178)];

/// The plot as an SVG document.
///
/// # Errors
/// When the drawing library fails.
pub fn svg(rows: &[Row]) -> Result<String> {
    let mut text = String::new();
    draw(rows, &mut text).map_err(|error| anyhow!("cannot draw the plot: {error}"))?;
    Ok(text)
}

fn draw(rows: &[Row], text: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let least = rows.iter().map(|row| row.median_us.min(row.bound_us)).fold(f64::MAX, f64::min);
    let most = rows.iter().map(|row| row.median_us).fold(0.0, f64::max);
    let (title, panels) = root.split_vertically(46);
    let font = ("sans-serif", 15).into_font();
    title.draw(&Text::new("Latency of attention, median in us", (20, 16), ("sans-serif", 20)))?;
    for (at, (name, colour)) in ENGINES.iter().chain(&["copying: the bound"]).zip(colours()).enumerate() {
        let left = 440 + 160 * at as i32;
        title.draw(&Rectangle::new([(left, 19), (left + 12, 31)], colour.filled()))?;
        title.draw(&Text::new(*name, (left + 18, 17), font.clone()))?;
    }
    let places = STAGES.len() * BATCHES.len();
    for (panel, (layer, threads)) in panels
        .split_evenly((LAYERS.len(), THREADS.len()))
        .iter()
        .zip(LAYERS.into_iter().flat_map(|(layer, _)| THREADS.map(|threads| (layer, threads))))
    {
        let plural = if threads == 1 { "" } else { "s" };
        let mut chart = ChartBuilder::on(panel)
            .caption(format!("{layer}, {threads} thread{plural}"), ("sans-serif", 16))
            .margin(12)
            .x_label_area_size(38)
            .y_label_area_size(56)
            .build_cartesian_2d(-0.5..places as f64 - 0.5, (least / 1.5..most * 1.5).log_scale())?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .disable_x_axis()
            .light_line_style(BLACK.mix(0.04))
            .bold_line_style(BLACK.mix(0.15))
            .y_label_formatter(&|us| format!("{us}"))
            .label_style(font.clone())
            .draw()?;
        for place in 0..places {
            let (stage, batch) = (place / BATCHES.len() + 1, BATCHES[place % BATCHES.len()]);
            let below = TextStyle::from(font.clone()).pos(Pos::new(HPos::Center, VPos::Top));
            let (x, y) = chart.backend_coord(&(place as f64, least / 1.5));
            let (dx, dy) = panel.get_base_pixel();
            panel.draw(&Text::new(format!("stage {stage}"), (x - dx, y - dy + 4), below.clone()))?;
            panel.draw(&Text::new(format!("x {batch}"), (x - dx, y - dy + 20), below))?;
            let engines: Vec<&Row> = rows
                .iter()
                .filter(|row| {
                    (row.layer, row.threads, row.stage, row.batch) == (layer, threads, stage, batch)
                })
                .collect();
            let bars = engines.iter().map(|row| row.median_us).chain(engines.first().map(|row| row.bound_us));
            chart.draw_series(bars.zip(colours()).enumerate().map(|(at, (us, colour))| {
                let left = place as f64 - 0.4 + 0.2 * at as f64;
                Rectangle::new([(left, least / 1.5), (left + 0.18, us)], colour.filled())
            }))?;
        }
    }
    root.present()?;
    Ok(())
}

fn colours() -> impl Iterator<Item = RGBColor> {
    COLOURS.into_iter().chain([RGBColor(150, 150, 150)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_a_bar() {
        let mut rows = Vec::new();
        for (layer, _) in LAYERS {
            for (stage, batch, threads) in (1..=4).flat_map(|stage| {
                BATCHES.into_iter().flat_map(move |batch| THREADS.map(|threads| (stage, batch, threads)))
            }) {
                for engine in ENGINES {
                    let (median_us, bound_us, bytes) = (50.0 * batch as f64, 9.0, 1);
                    rows.push(Row { layer, stage, batch, threads, engine, median_us, bytes, bound_us });
                }
            }
        }
        let text = svg(&rows).unwrap();
        // One for the background, four in the legend, one for each row, one bound for every three engines.
        assert_eq!(text.matches("<rect").count(), 1 + 4 + rows.len() + rows.len() / 3);
        assert!(text.contains("cbam, 2 threads") && text.contains("channel, 1 thread"));
    }
}
