//! Plot of the latencies: one panel for each layer and device or number of threads, with a logarithmic time axis.

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{CPU, LAYERS, Place, Row, STAGES};

/// Width and height of the plot with two columns of panels, in pixels. It is never narrower: the legend needs that.
const SIZE: (u32, u32) = (1100, 1020);

/// Colours of the engines, from the palette of Okabe and Ito (2008) for colour-blind readers.
const COLOURS: [RGBColor; 3] = [RGBColor(213, 94, 0), RGBColor(86, 180, 233), RGBColor(0, 114, 178)];
const BOUND: RGBColor = RGBColor(150, 150, 150);

/// The plot as an SVG document, with a column of panels for each place.
///
/// # Errors
/// When the drawing library fails.
pub fn svg(rows: &[Row], places: &[Place]) -> Result<String> {
    let mut text = String::new();
    draw(rows, places, &mut text).map_err(|error| anyhow!("cannot draw the plot: {error}"))?;
    Ok(text)
}

fn draw(rows: &[Row], places: &[Place], text: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let width = SIZE.0 / 2 * places.len().max(2) as u32;
    let root = SVGBackend::with_string(text, (width, SIZE.1)).into_drawing_area();
    root.fill(&WHITE)?;
    let (title, panels) = root.split_vertically(46);
    title.draw(&Text::new("Latency of attention, median in us", (20, 16), ("sans-serif", 20)))?;
    for (at, (name, colour)) in CPU.engines.iter().chain(&["copying: the bound"]).zip(colours()).enumerate() {
        let left = 440 + 160 * at as i32;
        title.draw(&Rectangle::new([(left, 19), (left + 12, 31)], colour.filled()))?;
        title.draw(&Text::new(*name, (left + 18, 17), ("sans-serif", 15)))?;
    }
    let panels = panels.split_evenly((LAYERS.len(), places.len()));
    let all = LAYERS.iter().flat_map(|(layer, _)| places.iter().map(move |&place| (*layer, place)));
    let least = rows.iter().map(|row| row.median_us.min(row.bound_us)).fold(f64::MAX, f64::min);
    let most = rows.iter().map(|row| row.median_us).fold(0.0, f64::max);
    for (panel, (layer, place)) in panels.iter().zip(all) {
        let of = |row: &&Row| (row.layer, row.device, row.threads) == (layer, place.device, place.threads);
        let rows: Vec<&Row> = rows.iter().filter(of).collect();
        draw_panel(panel, &format!("{layer}, {}", caption(place)), place, &rows, (least / 1.5, most * 1.5))?;
    }
    root.present()?;
    Ok(())
}

fn caption(place: Place) -> String {
    match place.threads {
        Some(1) => "1 thread".into(),
        Some(threads) => format!("{threads} threads"),
        None => place.device.to_uppercase(),
    }
}

type Panel<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Draws the bars of a layer on one place, between the times `least` and `most`.
fn draw_panel(
    panel: &Panel<'_>,
    caption: &str,
    place: Place,
    rows: &[&Row],
    (least, most): (f64, f64),
) -> Result<(), Box<dyn std::error::Error>> {
    let font = ("sans-serif", 15).into_font();
    let groups = STAGES.len() * place.batches.len();
    let mut chart = ChartBuilder::on(panel)
        .caption(caption, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(38)
        .y_label_area_size(56)
        .build_cartesian_2d(-0.5..groups as f64 - 0.5, (least..most).log_scale())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .light_line_style(BLACK.mix(0.04))
        .bold_line_style(BLACK.mix(0.15))
        .y_label_formatter(&|us| format!("{us}"))
        .label_style(font.clone())
        .draw()?;
    let below = TextStyle::from(font).pos(Pos::new(HPos::Center, VPos::Top));
    let label = |text: String, group: f64, down: i32| {
        let (x, y) = chart.backend_coord(&(group, least));
        let (dx, dy) = panel.get_base_pixel();
        panel.draw(&Text::new(text, (x - dx, y - dy + down), below.clone()))
    };
    let batches = place.batches.len();
    for stage in 0..STAGES.len() {
        label(format!("stage {}", stage + 1), (stage * batches) as f64 + (batches - 1) as f64 / 2.0, 20)?;
    }
    for group in 0..groups {
        label(format!("x {}", place.batches[group % batches]), group as f64, 4)?;
    }
    for group in 0..groups {
        let (stage, batch) = (group / batches + 1, place.batches[group % batches]);
        let engines: Vec<&&Row> =
            rows.iter().filter(|row| (row.stage, row.batch) == (stage, batch)).collect();
        let bound = engines.first().map(|row| (row.bound_us, BOUND));
        let bars = engines.iter().zip(COLOURS).map(|(row, colour)| (row.median_us, colour)).chain(bound);
        chart.draw_series(bars.enumerate().map(|(at, (us, colour))| {
            let left = group as f64 - 0.4 + 0.2 * at as f64;
            Rectangle::new([(left, least), (left + 0.18, us)], colour.filled())
        }))?;
    }
    Ok(())
}

fn colours() -> impl Iterator<Item = RGBColor> {
    COLOURS.into_iter().chain([BOUND])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_a_bar() {
        let places = super::super::PLACES;
        let mut rows = Vec::new();
        for (layer, _) in LAYERS {
            for (stage, place) in (1..=4).flat_map(|stage| places.map(|place| (stage, place))) {
                for &batch in place.batches {
                    for engine in place.engines {
                        rows.push(Row {
                            layer,
                            stage,
                            batch,
                            device: place.device,
                            threads: place.threads,
                            engine,
                            median_us: 50.0 * batch as f64,
                            bytes: 1,
                            bound_us: 9.0,
                            copy_us: 4.0,
                        });
                    }
                }
            }
        }
        let text = svg(&rows, &places).unwrap();
        // One for the background, four in the legend, one for each row, one bound for each layer, stage and load.
        assert_eq!(text.matches("<rect").count(), 1 + 4 + rows.len() + LAYERS.len() * 4 * (2 + 2 + 3));
        for caption in ["cbam, 2 threads", "channel, 1 thread", "spatial, CUDA"] {
            assert!(text.contains(caption), "{caption}");
        }
    }
}
