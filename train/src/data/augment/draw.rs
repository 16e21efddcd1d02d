//! Random draws of the augmentation of one image.

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

use super::settings::{Augment, Crop};

/// A change of colours, with torchvision's factors: 1 changes nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Colour {
    /// Factor on all values.
    Brightness(f64),
    /// Factor on the differences to the image's mean gray.
    Contrast(f64),
    /// Factor on the differences to the pixel's gray.
    Saturation(f64),
    /// Shift along the circle of hues, from -0.5 to 0.5; 0 changes nothing.
    Hue(f64),
}

/// Augmentation of one image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ImageDraw {
    /// Left and top edge of the crop, in pixels; zeros lie outside the image.
    pub offset: [i64; 2],
    /// True if the image is flipped horizontally.
    pub flip: bool,
    /// Changes of colour, in their order.
    pub colours: [Colour; 4],
    /// Rotation around the centre, counter-clockwise, in degrees.
    pub angle: f64,
    /// Left, top, right and bottom edge of an erased square; it may reach beyond the image.
    pub cutout: Option<[i64; 4]>,
}

impl Default for ImageDraw {
    fn default() -> Self {
        let colours =
            [Colour::Brightness(1.0), Colour::Contrast(1.0), Colour::Saturation(1.0), Colour::Hue(0.0)];
        Self { offset: [0, 0], flip: false, colours, angle: 0.0, cutout: None }
    }
}

impl ImageDraw {
    /// Draws for an image of `side` x `side` pixels. Changes that the recipe leaves out are drawn too, so that the
    /// others stay the same.
    pub fn new(augment: &Augment, side: u32, rng: &mut impl Rng) -> Self {
        let padding = match augment.crop.for_size(side) {
            Crop::Padded => (f64::from(side) * augment.crop_padding).round() as i64,
            _ => 0,
        };
        let offset = [rng.random_range(-padding..=padding), rng.random_range(-padding..=padding)];
        let flip = rng.random_bool(augment.horizontal_flip);
        let mut factor = |spread: f64| rng.random_range((1.0 - spread).max(0.0)..=1.0 + spread);
        let mut colours = [
            Colour::Brightness(factor(augment.brightness)),
            Colour::Contrast(factor(augment.contrast)),
            Colour::Saturation(factor(augment.saturation)),
            Colour::Hue(rng.random_range(-augment.hue..=augment.hue)),
        ];
        colours.shuffle(rng);
        let angle = rng.random_range(-augment.rotation..=augment.rotation);
        let cutout = square(augment.cutout, i64::from(side), rng);
        Self { offset, flip, colours, angle, cutout }
    }
}

/// Draws the centre of a square whose side is `fraction` of the image's.
fn square(fraction: f64, side: i64, rng: &mut impl Rng) -> Option<[i64; 4]> {
    let length = (side as f64 * fraction).round() as i64;
    let [left, top] = [(); 2].map(|()| rng.random_range(0..side) - length / 2);
    (length > 0).then_some([left, top, left + length, top + length])
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    const DRAWS: usize = 20_000;

    fn draws(augment: Augment) -> Vec<ImageDraw> {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        (0..DRAWS).map(|_| ImageDraw::new(&augment, 32, &mut rng)).collect()
    }

    /// Kolmogorov-Smirnov test: the distance to the uniform distribution on `[low, high]` that chance exceeds once in
    /// a thousand samples.
    fn assert_uniform(mut values: Vec<f64>, low: f64, high: f64) {
        values.sort_by(f64::total_cmp);
        let count = values.len() as f64;
        let distance = (0..)
            .zip(&values)
            .map(|(rank, value)| {
                let expected = (value - low) / (high - low);
                (expected - f64::from(rank) / count).abs().max((f64::from(rank + 1) / count - expected).abs())
            })
            .fold(0.0, f64::max);
        assert!(distance < 1.95 / count.sqrt(), "{distance} from uniform on [{low}, {high}]");
    }

    /// Pearson's statistic for equally likely `counts`; its mean is the number of cells less one.
    fn chi_square(counts: &[usize]) -> f64 {
        let expected = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
        counts.iter().map(|&count| (count as f64 - expected).powi(2) / expected).sum()
    }

    fn counts<K: Ord>(values: impl Iterator<Item = K>) -> Vec<usize> {
        let mut counts = std::collections::BTreeMap::new();
        values.for_each(|value| *counts.entry(value).or_insert(0) += 1);
        counts.into_values().collect()
    }

    #[test]
    fn the_default_draws_nothing() {
        for draw in draws(Augment::default()).iter().take(10) {
            assert_eq!((draw.offset, draw.flip, draw.angle), ([0, 0], false, 0.0));
            assert!(ImageDraw::default().colours.iter().all(|colour| draw.colours.contains(colour)));
        }
    }

    #[test]
    fn offsets_are_equally_likely() {
        let drawn = draws(Augment { crop_padding: 0.125, ..Augment::default() });
        let cells = counts(drawn.iter().map(|draw| draw.offset));
        assert_eq!(cells.len(), 81, "from -4 to 4 both ways");
        assert!(chi_square(&cells) < 130.0, "{cells:?}");
        assert!(drawn.iter().all(|draw| draw.offset.iter().all(|offset| offset.abs() <= 4)));
    }

    #[test]
    fn only_a_padded_crop_moves() {
        let augment = Augment { crop: Crop::None, crop_padding: 0.5, ..Augment::default() };
        assert!(draws(augment).iter().all(|draw| draw.offset == [0, 0]));
    }

    #[test]
    fn flips_by_probability() {
        let drawn = draws(Augment { horizontal_flip: 0.3, ..Augment::default() });
        let flipped = drawn.iter().filter(|draw| draw.flip).count() as f64;
        let deviation = (DRAWS as f64 * 0.3 * 0.7).sqrt();
        assert!((flipped - 0.3 * DRAWS as f64).abs() < 3.3 * deviation, "{flipped}");
    }

    #[test]
    fn colours_are_uniform_and_in_any_order() {
        let augment =
            Augment { brightness: 0.2, contrast: 1.5, saturation: 0.4, hue: 0.1, ..Augment::default() };
        let drawn = draws(augment);
        let mut factors = [(); 4].map(|()| Vec::new());
        for colour in drawn.iter().flat_map(|draw| draw.colours) {
            match colour {
                Colour::Brightness(factor) => factors[0].push(factor),
                Colour::Contrast(factor) => factors[1].push(factor),
                Colour::Saturation(factor) => factors[2].push(factor),
                Colour::Hue(shift) => factors[3].push(shift),
            }
        }
        let bounds = [(0.8, 1.2), (0.0, 2.5), (0.6, 1.4), (-0.1, 0.1)];
        for (values, (low, high)) in factors.into_iter().zip(bounds) {
            assert_eq!(values.len(), DRAWS);
            assert_uniform(values, low, high);
        }
        let orders = counts(drawn.iter().map(|draw| draw.colours.map(|colour| kind(&colour))));
        assert_eq!(orders.len(), 24);
        assert!(chi_square(&orders) < 50.0, "{orders:?}");
    }

    fn kind(colour: &Colour) -> usize {
        match colour {
            Colour::Brightness(_) => 0,
            Colour::Contrast(_) => 1,
            Colour::Saturation(_) => 2,
            Colour::Hue(_) => 3,
        }
    }

    #[test]
    fn the_centre_of_an_erased_square_may_be_any_pixel() {
        let drawn = draws(Augment { cutout: 0.25, ..Augment::default() });
        let squares: Vec<[i64; 4]> = drawn.iter().map(|draw| draw.cutout.unwrap()).collect();
        assert!(squares.iter().all(|[left, top, right, bottom]| right - left == 8 && bottom - top == 8));
        for edge in [0, 1] {
            let cells = counts(squares.iter().map(|square| square[edge]));
            assert_eq!(cells.len(), 32);
            assert!(chi_square(&cells) < 62.0, "{cells:?}");
        }
        assert!(draws(Augment::default()).iter().all(|draw| draw.cutout.is_none()));
    }

    #[test]
    fn angles_are_uniform() {
        let drawn = draws(Augment { rotation: 15.0, ..Augment::default() });
        assert_uniform(drawn.iter().map(|draw| draw.angle).collect(), -15.0, 15.0);
    }
}
