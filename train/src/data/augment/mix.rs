//! Mixup (Zhang et al. 2018, arXiv:1710.09412) and cutmix (Yun et al. 2019, arXiv:1905.04899).
//!
//! As in torchvision, a batch has one share, and each image's partner is the one before it.

use rand::{Rng, RngExt};
use rand_distr::{Beta, Distribution};
use tch::{Kind, TchError, Tensor};

use super::settings::Augment;
use crate::data::parcel::Parcel;

/// Mixture of a batch's images with their partners.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mix {
    /// Mixup: this share of the image, the rest of its partner.
    Blend(f64),
    /// Cutmix: the partner's pixels from `[left, top]` to before `[right, bottom]`.
    Paste([i64; 2], [i64; 2]),
}

impl Mix {
    /// Draws for a batch of images of `side` x `side` pixels, if the recipe mixes.
    pub fn draw(augment: &Augment, side: i64, rng: &mut impl Rng) -> Option<Self> {
        let cutmix = match (augment.mixup > 0.0, augment.cutmix > 0.0) {
            (false, false) => return None,
            (true, true) => rng.random_bool(0.5),
            (_, cutmix) => cutmix,
        };
        let alpha = if cutmix { augment.cutmix } else { augment.mixup };
        // Only an alpha without a distribution is an error, and recipes with one are refused.
        let share = Beta::new(alpha, alpha).ok()?.sample(rng);
        if !cutmix {
            return Some(Self::Blend(share));
        }
        let centre = [rng.random_range(0..side), rng.random_range(0..side)];
        Some(Self::around(centre, share, side))
    }

    /// Box of the area `1 - share` around `centre`, clipped to the image.
    fn around(centre: [i64; 2], share: f64, side: i64) -> Self {
        let half = (0.5 * (1.0 - share).sqrt() * side as f64) as i64;
        Self::Paste(centre.map(|at| (at - half).max(0)), centre.map(|at| (at + half).min(side)))
    }

    /// Share of the images' own labels, in a batch of `side` x `side` pixels.
    pub fn share(&self, side: i64) -> f64 {
        match self {
            Self::Blend(share) => *share,
            Self::Paste([left, top], [right, bottom]) => {
                1.0 - ((right - left) * (bottom - top)) as f64 / (side * side) as f64
            }
        }
    }

    /// Packs the shares of an image and of its partner, `[2]`, for a batch of `side` x `side` pixels, and the edges of a
    /// pasted part, `[4]`.
    pub(in crate::data) fn pack(&self, side: i64, parcel: &mut Parcel) {
        let share = self.share(side);
        parcel.floats(&[2], [share as f32, (1.0 - share) as f32]);
        if let Self::Paste([left, top], [right, bottom]) = *self {
            parcel.integers(&[4], [left, top, right, bottom]);
        }
    }

    /// True if a part is pasted.
    pub(in crate::data) fn pastes(&self) -> bool {
        matches!(self, Self::Paste(..))
    }
}

/// Mixes `images`, `[N, C, H, W]`, with their partners by `shares` `[2]`, or pastes the part between `edges` `[4]`.
pub(in crate::data) fn apply(
    images: &Tensor,
    shares: &Tensor,
    edges: Option<&Tensor>,
) -> Result<Tensor, TchError> {
    let partners = partners(images)?;
    let Some(edges) = edges else {
        return images.f_mul(&shares.f_select(0, 0)?)?.f_add(&partners.f_mul(&shares.f_select(0, 1)?)?);
    };
    let (_, _, height, width) = images.size4()?;
    let places = (Kind::Int64, images.device());
    let edge = |index: i64| edges.f_select(0, index);
    let within = |place: &Tensor, from: i64, to: i64| {
        place.f_ge_tensor(&edge(from)?)?.f_logical_and(&place.f_lt_tensor(&edge(to)?)?)
    };
    let columns = within(&Tensor::f_arange(width, places)?, 0, 2)?;
    let rows = within(&Tensor::f_arange(height, places)?, 1, 3)?.f_unsqueeze(1)?;
    partners.f_where_self(&columns.f_logical_and(&rows)?, images)
}

/// Partners: the element before each, and the last for the first.
pub fn partners(values: &Tensor) -> Result<Tensor, TchError> {
    values.f_roll([1], [0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use tch::Device;

    fn mix(mix: Mix, images: &Tensor) -> Tensor {
        let mut parcel = Parcel::default();
        mix.pack(images.size()[3], &mut parcel);
        let parts = parcel.unpack(&parcel.packed().unwrap()).unwrap();
        assert_eq!(parts.len() > 1, mix.pastes());
        apply(images, &parts[0], parts.get(1)).unwrap()
    }

    /// Three images of 4x4 pixels whose values are 0, 10 and 20.
    fn images() -> Tensor {
        (Tensor::arange(3, (Kind::Float, Device::Cpu)) * 10.0).view([3, 1, 1, 1]).expand([3, 3, 4, 4], false)
    }

    fn draws(augment: Augment) -> Vec<Mix> {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        (0..4_000).filter_map(|_| Mix::draw(&augment, 32, &mut rng)).collect()
    }

    #[test]
    fn mixup_is_a_weighted_sum() {
        let mixed = mix(Mix::Blend(0.75), &images());
        let values = Vec::<f64>::try_from(mixed.select(3, 2).select(2, 1).select(1, 0)).unwrap();
        assert_eq!(values, [0.75 * 0.0 + 0.25 * 20.0, 0.75 * 10.0, 0.75 * 20.0 + 0.25 * 10.0]);
        assert_eq!(Mix::Blend(0.75).share(4), 0.75);
    }

    #[test]
    fn cutmix_pastes_and_counts_what_it_pasted() {
        // A quarter of 4x4 is 2x2, and at (0, 3) a corner of it is left: 1 column, 2 rows.
        let mix = Mix::around([0, 3], 0.75, 4);
        assert_eq!(mix, Mix::Paste([0, 2], [1, 4]));
        assert_eq!(mix.share(4), 14.0 / 16.0);
        let images = images();
        let mixed = self::mix(mix, &images);
        assert_eq!(mixed.double_value(&[1, 2, 2, 0]), 0.0);
        assert_eq!(mixed.double_value(&[0, 0, 3, 0]), 20.0);
        assert_eq!(mixed.ne_tensor(&images).sum(Kind::Int64).int64_value(&[]), 3 * 3 * 2);
        assert_eq!(images.double_value(&[1, 2, 2, 0]), 10.0, "the batch itself stays as it is");
    }

    #[test]
    fn shares_have_the_beta_distribution() {
        assert_eq!(draws(Augment::default()), []);
        for alpha in [0.2, 1.0] {
            let shares: Vec<f64> = draws(Augment { mixup: alpha, ..Augment::default() })
                .iter()
                .map(|mix| if let Mix::Blend(share) = mix { *share } else { panic!("{mix:?}") })
                .collect();
            let mean = shares.iter().sum::<f64>() / 4_000.0;
            let variance = shares.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / 4_000.0;
            assert!((mean - 0.5).abs() < 0.02, "{mean}");
            assert!((variance - 0.25 / (2.0 * alpha + 1.0)).abs() < 0.006, "{variance} at {alpha}");
        }
    }

    #[test]
    fn shares_are_fractions_whatever_alpha() {
        for alpha in [1e-300, 1e-9, 0.01, 100.0] {
            for mix in draws(Augment { mixup: alpha, cutmix: alpha, ..Augment::default() }) {
                assert!((0.0..=1.0).contains(&mix.share(32)), "{mix:?} at {alpha}");
            }
        }
    }

    #[test]
    fn a_coin_decides_between_both() {
        let drawn = draws(Augment { mixup: 0.2, cutmix: 1.0, ..Augment::default() });
        let pasted = drawn.iter().filter(|mix| matches!(mix, Mix::Paste(..))).count();
        assert!((1_890..2_110).contains(&pasted), "{pasted} of 4,000");
    }
}
