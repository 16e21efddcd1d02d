//! Overlay of attention masks and a class activation map on an image, as panels with titles.

use embedded_graphics::mono_font::{MonoTextStyle, ascii::FONT_9X15};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::text::{Baseline, Text};
use ferronnx_models::card::ResizeFilter;
use image::{GenericImage, Rgb, RgbImage};
use ndarray::Array2;

use super::{ClassMap, Explanation};
use crate::preprocess::resample;

/// Height and width of a panel, in pixels.
const PANEL: u32 = 288;
/// Height of a panel's title, in pixels.
const TITLE: u32 = 22;
/// Gap between panels, in pixels.
const GAP: u32 = 8;
/// Number of panels in a row.
const COLUMNS: u32 = 3;
/// Share of the mask's colour in a pixel; the rest is the image's.
const OPACITY: f32 = 0.55;

/// Draws panels with the part of `image` that the network saw: as it is, under the class activation map, under the mask of
/// each stage, and under the mean of the masks; each from its minimum (dark) to its maximum (bright).
pub fn render(explanation: &Explanation, image: &RgbImage) -> RgbImage {
    let shadings: Vec<_> = explanation.masks.iter().map(|mask| shading(&mask.values)).collect();
    let mean = |place: usize| {
        shadings.iter().map(|shading| shading[place]).sum::<f32>() / shadings.len().max(1) as f32
    };
    let title = explanation
        .predictions
        .first()
        .map_or_else(String::new, |guess| format!("{} {:.1} %", guess.label, 100.0 * guess.probability));
    let mut maps = Vec::new();
    if let Some(ClassMap { label, values, .. }) = &explanation.class_map {
        let [least, greatest] = extremes(values);
        maps.push((format!("for {label} {least:.2} to {greatest:.2}"), shading(values)));
    }
    for (mask, shading) in explanation.masks.iter().zip(&shadings) {
        let [least, _, greatest] = mask.range();
        maps.push((format!("{} {least:.2}-{greatest:.2}", mask.stage()), shading.clone()));
    }
    if !explanation.masks.is_empty() {
        maps.push(("combined".into(), (0..(PANEL * PANEL) as usize).map(mean).collect()));
    }
    panels(image, explanation.seen, title, maps)
}

/// Draws panels with the part `seen` (left, top, width, height) of `image`: as it is, with `title`, and under each of `maps`
/// from its minimum (dark) to its maximum (bright), with the title of the map.
pub fn overlay(image: &RgbImage, seen: [f64; 4], title: String, maps: &[(String, Array2<f32>)]) -> RgbImage {
    let maps = maps.iter().map(|(title, values)| (title.clone(), shading(values)));
    panels(image, seen, title, maps.collect())
}

fn panels(image: &RgbImage, seen: [f64; 4], title: String, maps: Vec<(String, Vec<f32>)>) -> RgbImage {
    let photo = enlarged(image, seen);
    let shaded = maps.into_iter().map(|(title, shading)| (title, panel(&photo, Some(&shading))));
    let panels: Vec<_> = std::iter::once((title, panel(&photo, None))).chain(shaded).collect();
    sheet(&panels)
}

/// Minimum and maximum of a map.
pub fn extremes(values: &Array2<f32>) -> [f32; 2] {
    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
    [least, values.iter().copied().fold(f32::NEG_INFINITY, f32::max)]
}

/// Scales a map to a panel, with values from 0 (its minimum) to 1 (its maximum); 0 everywhere if it is constant.
fn shading(values: &Array2<f32>) -> Vec<f32> {
    let [least, greatest] = extremes(values);
    let range = greatest - least;
    let level = |value: f32| if range > 0.0 { (255.0 * (value - least) / range).round() as u8 } else { 0 };
    let (height, width) = values.dim();
    let levels = RgbImage::from_fn(width as u32, height as u32, |x, y| {
        Rgb([level(values[[y as usize, x as usize]]); 3])
    });
    let shaded = enlarged(&levels, [0.0, 0.0, width as f64, height as f64]);
    shaded.pixels().map(|pixel| f32::from(pixel.0[0]) / 255.0).collect()
}

/// Scales `part` (left, top, width, height) of an image to the size of a panel.
fn enlarged(image: &RgbImage, part: [f64; 4]) -> RgbImage {
    resample(image, part, PANEL.into(), ResizeFilter::BilinearAntialias)
}

/// Blends a shaded mask over an image.
fn panel(photo: &RgbImage, shading: Option<&[f32]>) -> RgbImage {
    let mut panel = photo.clone();
    if let Some(shading) = shading {
        for (pixel, &level) in panel.pixels_mut().zip(shading) {
            let heat = colorous::INFERNO.eval_continuous(level.into()).as_array();
            let mixed = |(photo, heat): (u8, u8)| {
                (f32::from(photo) * (1.0 - OPACITY) + f32::from(heat) * OPACITY).round() as u8
            };
            pixel.0 = std::array::from_fn(|channel| mixed((pixel.0[channel], heat[channel])));
        }
    }
    panel
}

/// Arranges panels with their titles on a white sheet.
fn sheet(panels: &[(String, RgbImage)]) -> RgbImage {
    let count = panels.len() as u32;
    let (columns, rows) = (COLUMNS.min(count), count.div_ceil(COLUMNS));
    let (cell_width, cell_height) = (PANEL + GAP, TITLE + PANEL + GAP);
    let mut sheet = RgbImage::from_pixel(GAP + columns * cell_width, rows * cell_height, Rgb([255; 3]));
    for ((title, panel), index) in panels.iter().zip(0..) {
        let (x, y) = (GAP + index % COLUMNS * cell_width, index / COLUMNS * cell_height);
        let style = MonoTextStyle::new(&FONT_9X15, Rgb888::BLACK);
        let shown: String = title.chars().take((PANEL / FONT_9X15.character_size.width) as usize).collect();
        let at = Point::new(x as i32, y as i32 + 4);
        let Ok(_) = Text::with_baseline(&shown, at, style, Baseline::Top).draw(&mut Canvas(&mut sheet));
        sheet.copy_from(panel, x, y + TITLE).expect("the sheet has room for every panel");
    }
    sheet
}

/// Image as a target for text.
struct Canvas<'a>(&'a mut RgbImage);

impl OriginDimensions for Canvas<'_> {
    fn size(&self) -> Size {
        Size::new(self.0.width(), self.0.height())
    }
}

impl DrawTarget for Canvas<'_> {
    type Color = Rgb888;
    type Error = std::convert::Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Self::Error> {
        for Pixel(Point { x, y }, color) in pixels {
            let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { continue };
            if let Some(pixel) = self.0.get_pixel_mut_checked(x, y) {
                *pixel = Rgb([color.r(), color.g(), color.b()]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::explain::Mask;
    use crate::results::Prediction;

    fn explanation() -> Explanation {
        let mask = |name: &str, values: Array2<f32>| Mask { name: name.into(), values };
        let bright_right = Array2::from_shape_fn((4, 4), |(_, x)| 0.2 + 0.1 * x as f32);
        Explanation {
            predictions: vec![Prediction { index: 0, label: "cat".into(), probability: 0.9, selected: None }],
            masks: vec![
                mask("cbam_layer1.spatial_attn.mask", bright_right),
                mask("cbam_layer2.spatial_attn.mask", Array2::from_elem((1, 1), 0.5)),
            ],
            class_map: None,
            seen: [10.0, 0.0, 40.0, 40.0],
        }
    }

    fn sum(image: &RgbImage, x: u32, y: u32) -> u32 {
        image.get_pixel(x, y).0.iter().map(|&value| u32::from(value)).sum()
    }

    #[test]
    fn panels_show_what_was_seen_and_where() {
        let photo = RgbImage::from_fn(60, 40, |x, _| Rgb(if x < 10 { [255, 0, 0] } else { [90; 3] }));
        let sheet = render(&explanation(), &photo);
        assert_eq!(sheet.dimensions(), (GAP + 3 * (PANEL + GAP), 2 * (TITLE + PANEL + GAP)));
        let row = TITLE + PANEL / 2;
        assert_eq!(sheet.get_pixel(GAP + 10, row).0, [90; 3], "the red margin is not seen by the network");
        let [left, right] = [4, PANEL - 4].map(|x| sum(&sheet, GAP + PANEL + GAP + x, row));
        assert!(right > left + 100, "{left} {right}");
        let title = (0..TITLE).flat_map(|y| (GAP..GAP + 60).map(move |x| (x, y)));
        assert!(title.into_iter().any(|(x, y)| sheet.get_pixel(x, y).0 == [0; 3]), "there is a title");
    }

    #[test]
    fn a_flat_mask_is_dark_everywhere() {
        assert!(shading(&explanation().masks[1].values).iter().all(|&level| level == 0.0));
        assert_eq!(explanation().masks[0].stage(), "cbam_layer1");
        let [least, mean, greatest] = explanation().masks[0].range();
        assert!((least - 0.2).abs() < 1e-6 && (mean - 0.35).abs() < 1e-6 && (greatest - 0.5).abs() < 1e-6);
    }
}
