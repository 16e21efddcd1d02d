//! Random changes to training pictures.

use image::{Rgb, RgbImage};
use rand::{Rng, RngExt};

use crate::recipe::Augment;

/// `picture` after a random crop from its zero-padded self and a random flip, as torchvision's `RandomCrop` and
/// `RandomHorizontalFlip`.
pub fn augment(picture: &RgbImage, how: &Augment, rng: &mut impl Rng) -> RgbImage {
    let (width, height) = picture.dimensions();
    let padding = (f64::from(width.min(height)) * how.crop_padding).round() as i64;
    let (dx, dy) = (rng.random_range(-padding..=padding), rng.random_range(-padding..=padding));
    let flip = rng.random_bool(how.horizontal_flip);
    RgbImage::from_fn(width, height, |x, y| {
        let x = if flip { width - 1 - x } else { x };
        let source = (u32::try_from(i64::from(x) + dx), u32::try_from(i64::from(y) + dy));
        match source {
            (Ok(x), Ok(y)) => picture.get_pixel_checked(x, y).copied().unwrap_or(Rgb([0; 3])),
            _ => Rgb([0; 3]),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    /// Every pixel says where it was.
    fn picture() -> RgbImage {
        RgbImage::from_fn(8, 8, |x, y| Rgb([x as u8 + 1, y as u8 + 1, 200]))
    }

    #[test]
    fn the_default_changes_nothing() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        assert_eq!(augment(&picture(), &Augment::default(), &mut rng), picture());
    }

    #[test]
    fn crops_move_by_every_offset_and_fill_with_zeros() {
        let how = Augment { crop_padding: 0.25, horizontal_flip: 0.0 };
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut seen = std::collections::BTreeMap::new();
        for _ in 0..2_000 {
            let moved = augment(&picture(), &how, &mut rng);
            let (dx, dy) = (i64::from(moved[(4, 4)][0]) - 5, i64::from(moved[(4, 4)][1]) - 5);
            *seen.entry((dx, dy)).or_insert(0) += 1;
            let corner = if dx < 0 || dy < 0 { 0 } else { 200 };
            assert_eq!(moved[(0, 0)][2], corner, "at {dx}, {dy}");
        }
        assert_eq!(seen.len(), 25, "offsets from -2 to 2 both ways");
        assert!(seen.values().all(|&count| count > 40), "uniform: {seen:?}");
    }

    #[test]
    fn flips_by_probability() {
        let how = Augment { crop_padding: 0.0, horizontal_flip: 0.5 };
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let flipped = (0..2_000).filter(|_| augment(&picture(), &how, &mut rng)[(0, 0)][0] == 8).count();
        assert!((900..1_100).contains(&flipped), "{flipped} of 2,000");
    }
}
