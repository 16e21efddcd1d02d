//! Resized crops: a part of random size and shape, as torchvision's `RandomResizedCrop`.

use ferronnx_infer::preprocess::resample;
use ferronnx_models::card::ResizeFilter;
use image::RgbImage;
use rand::{Rng, RngExt};

use super::settings::Augment;

/// Part of an image, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CropBox {
    /// Left edge.
    pub left: u32,
    /// Top edge.
    pub top: u32,
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

/// Number of draws before the central part is taken.
const TRIES: usize = 10;

impl CropBox {
    /// Draws a part of an image of `width` x `height` pixels.
    pub fn draw(augment: &Augment, width: u32, height: u32, rng: &mut impl Rng) -> Self {
        let [smallest, largest] = augment.resized_scale;
        let [narrowest, widest] = augment.resized_ratio.map(f64::ln);
        let area = f64::from(width) * f64::from(height);
        for _ in 0..TRIES {
            let area = area * rng.random_range(smallest..=largest);
            let ratio = rng.random_range(narrowest..=widest).exp();
            let [w, h] = [area * ratio, area / ratio].map(|square| square.sqrt().round_ties_even() as u32);
            if (1..=width).contains(&w) && (1..=height).contains(&h) {
                let (top, left) = (rng.random_range(0..=height - h), rng.random_range(0..=width - w));
                return Self { left, top, width: w, height: h };
            }
        }
        Self::central(augment.resized_ratio, width, height)
    }

    /// Largest central part within the allowed ratios.
    fn central([narrowest, widest]: [f64; 2], width: u32, height: u32) -> Self {
        let ratio = f64::from(width) / f64::from(height);
        let rounded = |side: f64| (side.round_ties_even() as u32).max(1);
        let (w, h) = if ratio < narrowest {
            (width, rounded(f64::from(width) / narrowest).min(height))
        } else if ratio > widest {
            (rounded(f64::from(height) * widest).min(width), height)
        } else {
            (width, height)
        };
        Self { left: (width - w) / 2, top: (height - h) / 2, width: w, height: h }
    }
}

/// Cuts `part` out of `image` and resizes it to `side` x `side` pixels with Pillow's antialiased bilinear filter.
///
/// # Panics
/// When the part is empty or reaches beyond the image.
pub fn resized_crop(image: &RgbImage, part: CropBox, side: u32) -> RgbImage {
    let CropBox { left, top, width, height } = part;
    // A copy, not a part for the filter: it must not see beyond the part.
    let part = image::imageops::crop_imm(image, left, top, width, height).to_image();
    let whole = [0.0, 0.0, f64::from(width), f64::from(height)];
    resample(&part, whole, side.into(), ResizeFilter::BilinearAntialias)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn boxes(width: u32, height: u32, count: usize) -> Vec<CropBox> {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        (0..count).map(|_| CropBox::draw(&Augment::default(), width, height, &mut rng)).collect()
    }

    /// Quantiles of `values` at 10, 50 and 90 %.
    fn quantiles(values: impl Iterator<Item = f64>) -> [f64; 3] {
        let mut values: Vec<_> = values.collect();
        values.sort_by(f64::total_cmp);
        [0.1, 0.5, 0.9].map(|share| values[(values.len() as f64 * share) as usize])
    }

    #[test]
    fn parts_lie_inside_and_have_the_drawn_shapes() {
        let boxes = boxes(1_000, 800, 5_000);
        assert!(boxes.iter().all(|part| part.left + part.width <= 1_000 && part.top + part.height <= 800));
        // Parts that do not fit are drawn again, so small ones and those of the image's own ratio are more likely.
        // The figures are torchvision's, see tests/augment/generate.py.
        let area = quantiles(boxes.iter().map(|part| f64::from(part.width * part.height) / 800_000.0));
        let ratio = quantiles(boxes.iter().map(|part| (f64::from(part.width) / f64::from(part.height)).ln()));
        let left = quantiles(boxes.iter().map(|part| f64::from(part.left) / f64::from(1_001 - part.width)));
        let near = |ours: [f64; 3], theirs: [f64; 3]| {
            ours.iter().zip(theirs).all(|(ours, theirs)| (ours - theirs).abs() < 0.02)
        };
        assert!(near(area, AREA), "{area:?}");
        assert!(near(ratio, RATIO), "{ratio:?}");
        assert!(near(left, [0.1, 0.5, 0.9]), "{left:?}");
    }

    const AREA: [f64; 3] = [0.152, 0.443, 0.771];
    const RATIO: [f64; 3] = [-0.211, 0.044, 0.240];

    #[test]
    fn a_strip_gives_its_central_part() {
        assert_eq!(boxes(1_000, 8, 3), [CropBox { left: 494, top: 0, width: 11, height: 8 }; 3]);
        assert_eq!(boxes(8, 1_000, 3), [CropBox { left: 0, top: 494, width: 8, height: 11 }; 3]);
        assert_eq!(boxes(1, 1, 1), [CropBox { left: 0, top: 0, width: 1, height: 1 }]);
    }
}
