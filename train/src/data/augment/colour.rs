//! Colour augmentation of whole batches: brightness, contrast, saturation and hue.
//!
//! The first three blend an image with another one, which is black, its mean gray, or its own gray image.

use tch::{Device, Kind, TchError, Tensor};

use super::draw::{Colour, ImageDraw};
use crate::data::parcel::Parcel;

/// Changes of colour of a batch: rounds of blends, with a shift of hues between two rounds.
///
/// Every image passes all of them, and where it has no change of its own it stays as it is. So the work does not depend on
/// the order that was drawn for each image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Jitter {
    /// Blends of each round.
    blends: usize,
    /// Number of shifts.
    shifts: usize,
}

impl Jitter {
    /// Packs the changes of `draws` for images with these channels. Gray has no hue to change.
    pub fn pack(draws: &[ImageDraw], channels: i64, parcel: &mut Parcel) -> Self {
        let changes: Vec<Changes> = draws.iter().map(|draw| Changes::new(draw, channels)).collect();
        let most = |of: fn(&Changes) -> usize| changes.iter().map(of).max().unwrap_or(0);
        let jitter =
            Self { blends: most(|changes| changes.blends), shifts: most(|changes| changes.shifts.len()) };
        let count = changes.len() as i64;
        for round in 0..jitter.rounds() {
            for place in 0..jitter.blends {
                let blend = |changes: &Changes| {
                    changes.rounds.get(round).and_then(|round| round.get(place)).copied().unwrap_or(IDLE)
                };
                parcel.floats(&[count, 3, 1, 1, 1], changes.iter().flat_map(blend));
            }
        }
        for place in 0..jitter.shifts {
            // Images without a shift are told by a negative one.
            let shift = |changes: &Changes| changes.shifts.get(place).copied().unwrap_or(-1);
            parcel.integers(&[count, 1, 1, 1], changes.iter().map(shift));
        }
        if jitter.shifts > 0 {
            parcel.integers(&[3, 7], SIXTHS.into_iter().flatten());
        }
        jitter
    }

    fn rounds(&self) -> usize {
        if self.blends > 0 { self.shifts + 1 } else { 0 }
    }

    /// Numbers that the work depends on.
    pub fn constants(&self) -> [i64; 2] {
        [self.blends as i64, self.shifts as i64]
    }

    /// Changes the colours of bytes `[N, 3, H, W]` or `[N, 1, H, W]` by the packed numbers, which it takes from `parts`.
    pub fn apply(
        &self,
        images: &Tensor,
        parts: &mut impl Iterator<Item = Tensor>,
    ) -> Result<Tensor, TchError> {
        if self.rounds() + self.shifts == 0 {
            return Ok(images.shallow_clone());
        }
        let blends: Vec<Tensor> = parts.by_ref().take(self.rounds() * self.blends).collect();
        let shifts: Vec<Tensor> = parts.by_ref().take(self.shifts).collect();
        let table = if self.shifts > 0 { parts.next() } else { None };
        let mut blends = blends.into_iter();
        let mut values = images.f_to_kind(Kind::Float)?;
        for round in 0..=self.shifts {
            for terms in blends.by_ref().take(self.blends) {
                values = blend(&values, &terms)?;
            }
            if let (Some(shift), Some(table)) = (shifts.get(round), &table) {
                let shifted = shift_hue(&values, shift, table)?;
                values = shifted.f_where_self(&shift.f_ge(0)?, &values)?;
            }
        }
        values.f_to_kind(Kind::Uint8)
    }
}

/// Factor, and the shares of the gray image and of the mean gray in the other image.
type Blend = [f32; 3];

/// Blend that changes nothing: all values are whole.
const IDLE: Blend = [1.0, 0.0, 0.0];

/// Changes of one image, in its order.
struct Changes {
    /// Blends before the first shift of the hue, before the second, and so on.
    rounds: Vec<Vec<Blend>>,
    /// Shifts of the hue, in 256 steps.
    shifts: Vec<i64>,
    /// Number of all blends.
    blends: usize,
}

impl Changes {
    fn new(draw: &ImageDraw, channels: i64) -> Self {
        let mut changes = Self { rounds: vec![Vec::new()], shifts: Vec::new(), blends: 0 };
        for colour in draw.colours {
            let blend = match colour {
                Colour::Brightness(factor) => [factor as f32, 0.0, 0.0],
                Colour::Contrast(factor) => [factor as f32, 0.0, 1.0],
                Colour::Saturation(factor) => [factor as f32, 1.0, 0.0],
                Colour::Hue(shift) => {
                    // Pillow's hues are bytes, and torchvision truncates the shift to whole ones. A shift truncated
                    // to 0 still rounds colours. A shift of exactly 0 means a recipe without shifts.
                    if shift != 0.0 && channels > 1 {
                        changes.shifts.push(((shift * 255.0) as i64).rem_euclid(256));
                        changes.rounds.push(Vec::new());
                    }
                    continue;
                }
            };
            if blend[0] != 1.0 {
                changes.blends += 1;
                changes.rounds.last_mut().expect("one round at least").push(blend);
            }
        }
        changes
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

/// Shifts the hues of `values`, whole numbers `[N, 3, H, W]`, by `shifts` `[N, 1, 1, 1]` of 256 steps, through Pillow's
/// HSV in bytes; `table` is [`SIXTHS`].
fn shift_hue(values: &Tensor, shifts: &Tensor, table: &Tensor) -> Result<Tensor, TchError> {
    let (hue, saturation, value) = to_hsv(values)?;
    // Bytes wrap around the circle.
    let shifts = shifts.f_to_kind(Kind::Uint8)?.f_view([-1, 1, 1])?;
    let hue = hue.f_to_kind(Kind::Uint8)?.f_add(&shifts)?.f_to_kind(Kind::Float)?;
    to_rgb(&hue, &saturation, &value, table)
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

/// Index of value, q, p and t for red, green and blue in each sixth of the circle; hue 255 begins the seventh.
const SIXTHS: [[i64; 7]; 3] = [[0, 1, 2, 2, 3, 0, 0], [3, 0, 0, 1, 2, 2, 3], [2, 2, 3, 0, 0, 1, 2]];

/// Converts hue, saturation and value in [0, 255] to colours `[M, 3, H, W]`, whole.
fn to_rgb(hue: &Tensor, saturation: &Tensor, value: &Tensor, table: &Tensor) -> Result<Tensor, TchError> {
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
    let sixth = sixth.f_to_kind(Kind::Int64)?;
    let (count, height, width) = sixth.size3()?;
    let which = table.f_index_select(1, &sixth.f_view([-1])?)?.f_view([3, count, height, width])?;
    choices.f_gather(1, &which.f_transpose(0, 1)?, false)
}
