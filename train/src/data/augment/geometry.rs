//! Geometric augmentation: crop, flip and rotation, by resampling to the nearest pixel.

use tch::{Kind, TchError, Tensor};

use super::draw::ImageDraw;
use super::settings::Border;
use crate::data::parcel::Parcel;

/// Fractional bits of Pillow's fixed-point numbers.
const BITS: u32 = 16;

/// Map from a pixel `(x, y)` of the result to its source: column `(a x + b y + c) >> 16`, row `(d x + e y + f) >>
/// 16`, for `[a, b, c, d, e, f]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Affine([i64; 6]);

impl Affine {
    const IDENTITY: Self = Self([1 << BITS, 0, 0, 0, 1 << BITS, 0]);

    /// Crops, then flips, an image of this width.
    pub(super) fn crop_and_flip(draw: &ImageDraw, width: i64) -> Self {
        let [left, top] = draw.offset;
        let (step, start) = if draw.flip { (-1, width - 1 + left) } else { (1, left) };
        Self([step << BITS, 0, start << BITS, 0, 1 << BITS, top << BITS])
    }

    /// Rotates around the centre by `angle` degrees, counter-clockwise, as Pillow's `Image.rotate` computes it.
    pub(super) fn rotation(angle: f64, height: i64, width: i64) -> Self {
        // Pillow copies such an image; fixed point would give the same.
        if angle == 0.0 {
            return Self::IDENTITY;
        }
        let rounded = |value: f64| (value * 1e15).round() / 1e15;
        let fixed = |value: f64| (value * f64::from(1 << BITS) + 0.5).floor() as i64;
        let (sin, cos) = (-angle).to_radians().sin_cos();
        let (sin, cos) = (rounded(sin), rounded(cos));
        let (centre_x, centre_y) = (width as f64 / 2.0, height as f64 / 2.0);
        let shift_x = -cos * centre_x - sin * centre_y + centre_x;
        let shift_y = sin * centre_x - cos * centre_y + centre_y;
        // Half a pixel: from centre to centre.
        Self([
            fixed(cos),
            fixed(sin),
            fixed(shift_x + 0.5 * cos + 0.5 * sin),
            fixed(-sin),
            fixed(cos),
            fixed(shift_y - 0.5 * sin + 0.5 * cos),
        ])
    }
}

/// Packs one map for each image, `[N, 6]`; false if none moves anything.
pub(super) fn pack(maps: &[Affine], parcel: &mut Parcel) -> bool {
    let moves = maps.iter().any(|map| *map != Affine::IDENTITY);
    if moves {
        parcel.integers(&[maps.len() as i64, 6], maps.iter().flat_map(|map| map.0));
    }
    moves
}

/// Moves the pixels of `images`, bytes `[N, C, H, W]`, each by its map of `maps` `[N, 6]`; `border` gives the pixels
/// outside.
pub(super) fn resample(images: &Tensor, maps: &Tensor, border: Border) -> Result<Tensor, TchError> {
    let (count, channels, height, width) = images.size4()?;
    let device = images.device();
    let terms = maps.f_view([-1, 6, 1, 1])?.f_unbind(1)?;
    let [a, b, c, d, e, f] = &terms[..] else { unreachable!("six terms") };
    let x = Tensor::f_arange(width, (Kind::Int64, device))?;
    let y = Tensor::f_arange(height, (Kind::Int64, device))?.f_view([height, 1])?;
    let source = |p: &Tensor, q: &Tensor, r: &Tensor| -> Result<Tensor, TchError> {
        let place = p.f_mul(&x)?.f_add(&q.f_mul(&y)?.f_add(r)?)?;
        place.f_bitwise_right_shift_tensor_scalar(i64::from(BITS))
    };
    let (mut column, mut row) = (source(a, b, c)?, source(d, e, f)?);
    if border == Border::Reflect {
        (column, row) = (reflected(&column, width)?, reflected(&row, height)?);
    }
    let within = |place: &Tensor, end: i64| place.f_ge(0)?.f_logical_and(&place.f_lt(end)?);
    let inside = within(&column, width)?.f_logical_and(&within(&row, height)?)?;
    // One more pixel, a zero, for all that lie outside.
    let outside = Tensor::f_full([1], height * width, (Kind::Int64, device))?;
    let index = row.f_mul_scalar(width)?.f_add(&column)?.f_where_self(&inside, &outside)?;
    let index = index.f_view([count, 1, height * width])?;
    let index = index.f_expand([count, channels, height * width], false)?;
    let pixels = images.f_reshape([count, channels, height * width])?.f_constant_pad_nd([0, 1])?;
    pixels.f_gather(2, &index, false)?.f_view([count, channels, height, width])
}

/// Mirrors places before the first and after the last of `size`, without repeating these: -1 becomes 1.
fn reflected(place: &Tensor, size: i64) -> Result<Tensor, TchError> {
    let last = size - 1;
    place.f_abs()?.f_mul_scalar(-1)?.f_add_scalar(last)?.f_abs()?.f_mul_scalar(-1)?.f_add_scalar(last)
}
