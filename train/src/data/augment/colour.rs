//! Colour augmentation of whole batches: brightness, contrast, saturation and hue.
//!
//! The first three blend an image with another one, which is black, its mean gray, or its own gray image.

use tch::{Device, Kind, TchError, Tensor};

use super::draw::{Colour, ImageDraw};
use crate::native;

/// Changes the colours of bytes `[N, 3, H, W]` or `[N, 1, H, W]`, each image in its own order. Gray has no saturation and
/// no hue to change.
pub(super) fn jitter(images: &Tensor, draws: &[ImageDraw]) -> Result<Tensor, TchError> {
    let mut places: Vec<Place> =
        (0..4).map(|place| Place::new(draws.iter().map(|draw| draw.colours[place]))).collect();
    if images.size()[1] == 1 {
        places.iter_mut().for_each(|place| place.hues.clear());
    }
    if places.iter().all(Place::is_idle) {
        return Ok(images.shallow_clone());
    }
    let device = images.device();
    let blends: Vec<f32> = places.iter().flat_map(|place| &place.blends).flatten().copied().collect();
    let blends = native::upload(&Tensor::f_from_slice(&blends)?.f_view([4, -1, 3, 1, 1, 1])?, device)?;
    let hues: Vec<i64> = places.iter().flat_map(|place| &place.hues).flatten().copied().collect();
    let hues = native::upload(&Tensor::f_from_slice(&hues)?.f_view([-1, 2])?, device)?;

    let mut values = images.f_to_kind(Kind::Float)?;
    let mut first_hue = 0;
    for (index, place) in (0..).zip(&places) {
        if place.blend {
            values = blend(&values, &blends.f_select(0, index)?)?;
        }
        let count = place.hues.len() as i64;
        if count > 0 {
            let here = hues.f_narrow(0, first_hue, count)?;
            let (which, shifts) = (here.f_select(1, 0)?, here.f_select(1, 1)?);
            let shifted = shift_hue(&values.f_index_select(0, &which)?, &shifts)?;
            values = values.f_index_copy_(0, &which, &shifted)?;
            first_hue += count;
        }
    }
    values.f_to_kind(Kind::Uint8)
}

/// Changes of all images at one place of their orders.
struct Place {
    /// Per image: factor, and the shares of the gray image and of the mean gray in the other image.
    blends: Vec<[f32; 3]>,
    /// True if any factor changes anything.
    blend: bool,
    /// Images whose hue is shifted, and the shift in 256 steps.
    hues: Vec<[i64; 2]>,
}

impl Place {
    fn new(colours: impl Iterator<Item = Colour>) -> Self {
        let mut place = Self { blends: Vec::new(), blend: false, hues: Vec::new() };
        for (index, colour) in (0..).zip(colours) {
            let [factor, gray, mean] = match colour {
                Colour::Brightness(factor) => [factor, 0.0, 0.0],
                Colour::Contrast(factor) => [factor, 0.0, 1.0],
                Colour::Saturation(factor) => [factor, 1.0, 0.0],
                Colour::Hue(shift) => {
                    // Pillow's hues are bytes, and torchvision truncates the shift to whole ones. A shift truncated
                    // to 0 still rounds colours. A shift of exactly 0 means a recipe without shifts.
                    if shift != 0.0 {
                        place.hues.push([index, ((shift * 255.0) as i64).rem_euclid(256)]);
                    }
                    [1.0, 0.0, 0.0]
                }
            };
            place.blend |= factor != 1.0;
            place.blends.push([factor as f32, gray as f32, mean as f32]);
        }
        place
    }

    fn is_idle(&self) -> bool {
        !self.blend && self.hues.is_empty()
    }
}

/// Computes `other + factor (values - other)` in bytes: `values` are whole numbers `[N, C, H, W]`, `terms` `[N, 3, 1,
/// 1, 1]`.
fn blend(values: &Tensor, terms: &Tensor) -> Result<Tensor, TchError> {
    let term = |index: i64| terms.f_select(1, index);
    let gray = gray(values)?;
    // Whole numbers: the rounded mean does not depend on the order of the sum.
    let pixels = gray.size()[2..].iter().product::<i64>();
    let sum = gray.f_sum_dim_intlist([1i64, 2, 3].as_slice(), true, Kind::Int64)?;
    let doubled = sum.f_mul_scalar(2)?.f_add_scalar(pixels)?;
    let mean = doubled.f_floor_divide_scalar(2 * pixels)?.f_to_kind(Kind::Float)?;
    let other = gray.f_mul(&term(1)?)?.f_add(&mean.f_mul(&term(2)?)?)?;
    let mut moved = values.f_sub(&other)?.f_mul_(&term(0)?)?.f_add_(&other)?;
    moved.f_clamp_(0.0, 255.0)?.f_floor_()
}

/// Computes the luma of ITU-R 601-2 as Pillow's `convert("L")` rounds it, `[N, 1, H, W]`. All sums stay below 2^24,
/// so they are exact. Gray images are their luma.
fn gray(values: &Tensor) -> Result<Tensor, TchError> {
    if values.size()[1] == 1 {
        return Ok(values.shallow_clone());
    }
    let channel = |index: i64, weight: f64| values.f_narrow(1, index, 1)?.f_mul_scalar(weight);
    let mut sum = channel(0, 19_595.0)?;
    let mut sum = sum.f_add_(&channel(1, 38_470.0)?)?.f_add_(&channel(2, 7_471.0)?)?;
    sum.f_add_scalar_(32_768.0)?.f_div_scalar_(65_536.0)?.f_floor_()
}

/// Shifts the hues of `values`, whole numbers `[M, 3, H, W]`, by `shifts` `[M]` of 256 steps, through Pillow's HSV in
/// bytes.
fn shift_hue(values: &Tensor, shifts: &Tensor) -> Result<Tensor, TchError> {
    let (hue, saturation, value) = to_hsv(values)?;
    // Bytes wrap around the circle.
    let shifts = shifts.f_to_kind(Kind::Uint8)?.f_view([-1, 1, 1])?;
    let hue = hue.f_to_kind(Kind::Uint8)?.f_add(&shifts)?.f_to_kind(Kind::Float)?;
    to_rgb(&hue, &saturation, &value)
}

/// Converts to hue, saturation and value in [0, 255], whole, each `[M, H, W]`.
///
/// Single precision, except where Pillow's C computes in double: one rounding is a step of the hue, which changes a
/// colour by six. MPS has no doubles; seven colours in a thousand differ there.
fn to_hsv(values: &Tensor) -> Result<(Tensor, Tensor, Tensor), TchError> {
    let largest = values.f_amax([1i64], false)?;
    let range = largest.f_sub(&values.f_amin([1i64], false)?)?;
    // Gray has no hue: all distances are zero, whatever they are divided by.
    let distances = largest.f_unsqueeze(1)?.f_sub(values)?.f_div(&range.f_clamp_min(1.0)?.f_unsqueeze(1)?)?;
    let wide = if values.device() == Device::Mps { Kind::Float } else { Kind::Double };
    let distances = distances.f_to_kind(wide)?.f_unbind(1)?;
    let [red, green, blue] = &distances[..] else { unreachable!("three channels") };
    let is_largest = |channel: i64| values.f_select(1, channel)?.f_eq_tensor(&largest);
    let from_blue = green.f_sub(red)?.f_add_scalar(4.0)?;
    let from_green = red.f_add_scalar(2.0)?.f_sub(blue)?;
    let sixths = from_green.f_where_self(&is_largest(1)?, &from_blue)?;
    let sixths = blue.f_sub(green)?.f_where_self(&is_largest(0)?, &sixths)?;
    let single = |value: Tensor| value.f_to_kind(Kind::Float)?.f_to_kind(wide);
    let turns = single(single(sixths)?.f_div_scalar(6.0)?.f_add_scalar(1.0)?.f_frac()?)?;
    let hue = turns.f_mul_scalar(255.0)?.f_floor()?.f_to_kind(Kind::Float)?;
    let saturation = range.f_div(&largest.f_clamp_min(1.0)?)?.f_mul_scalar(255.0)?.f_floor()?;
    Ok((hue, saturation, largest))
}

/// Converts hue, saturation and value in [0, 255] to colours `[M, 3, H, W]`, whole.
fn to_rgb(hue: &Tensor, saturation: &Tensor, value: &Tensor) -> Result<Tensor, TchError> {
    /// Index of value, q, p and t for red, green and blue in each sixth of the circle; hue 255 begins the seventh.
    const SIXTHS: [[i64; 7]; 3] = [[0, 1, 2, 2, 3, 0, 0], [3, 0, 0, 1, 2, 2, 3], [2, 2, 3, 0, 0, 1, 2]];
    let sixths = hue.f_mul_scalar(6.0)?.f_div_scalar(255.0)?;
    let sixth = sixths.f_floor()?;
    let part = sixths.f_sub(&sixth)?;
    let saturation = saturation.f_div_scalar(255.0)?;
    // Halves are rounded away from zero, as in C.
    let without = |share: &Tensor| -> Result<Tensor, TchError> {
        let kept = share.f_neg()?.f_add_scalar(1.0)?;
        value.f_mul(&kept)?.f_add_scalar(0.5)?.f_floor()
    };
    let p = without(&saturation)?;
    let q = without(&saturation.f_mul(&part)?)?;
    let t = without(&saturation.f_mul(&part.f_neg()?.f_add_scalar(1.0)?)?)?;
    let choices = Tensor::f_stack(&[value, &q, &p, &t], 1)?;
    let table = native::upload(&Tensor::f_from_slice(SIXTHS.as_flattened())?.f_view([3, 7])?, hue.device())?;
    let sixth = sixth.f_to_kind(Kind::Int64)?;
    let (count, height, width) = sixth.size3()?;
    let which = table.f_index_select(1, &sixth.f_view([-1])?)?.f_view([3, count, height, width])?;
    choices.f_gather(1, &which.f_transpose(0, 1)?, false)
}
