//! Blocks of values that are computed side by side.

use fearless_simd::prelude::*;
use fearless_simd::{Simd, f32x16, u32x16};

/// Values of a block: a register of AVX-512, two of AVX2, four of SSE or NEON.
pub const LANES: usize = 16;

/// Blocks that are computed side by side, so that additions need not wait for each other.
pub const GROUP: usize = 4;

/// The block that begins at `start`.
#[inline(always)]
pub fn block<S: Simd>(simd: S, values: &[f32], start: usize) -> f32x16<S> {
    f32x16::from_slice(simd, &values[start..start + LANES])
}

/// As [`block`]; where `values` are not `LONG`, they are fewer than a block, and zeros follow them.
///
/// The choice is the compiler's: a call for a rest, in a loop, costs it all its registers.
#[inline(always)]
pub fn load<S: Simd, const LONG: bool>(simd: S, values: &[f32], start: usize) -> f32x16<S> {
    if LONG {
        return block(simd, values, start);
    }
    let mut part = [0.0; LANES];
    part[..values.len()].copy_from_slice(values);
    f32x16::from_slice(simd, &part)
}

/// The other way.
#[inline(always)]
pub fn store<S: Simd, const LONG: bool>(block: f32x16<S>, values: &mut [f32], start: usize) {
    if LONG {
        return block.store_slice(&mut values[start..start + LANES]);
    }
    let length = values.len();
    values.copy_from_slice(&block.as_slice()[..length]);
}

/// Where blocks begin that cover `length` values: the last overlaps the one before if need be.
#[inline(always)]
pub fn starts(length: usize) -> impl Iterator<Item = usize> {
    let whole = length / LANES * LANES;
    let last = (whole < length).then(|| length.saturating_sub(LANES));
    (0..whole).step_by(LANES).chain(last)
}

/// `1 / (1 + exp(-x))`, within 1e-7.
///
/// Below -18 it is 0, as ONNX Runtime has it: infinity times it is no number then, there and here.
#[inline(always)]
pub fn sigmoid<S: Simd>(simd: S, x: f32x16<S>) -> f32x16<S> {
    const LIMIT: f32 = 18.0;
    let one = f32x16::splat(simd, 1.0);
    // What is not a number is neither, and stays.
    let (high, low) = (x.simd_gt(LIMIT), x.simd_le(-LIMIT));
    let inside = high.select(f32x16::splat(simd, LIMIT), low.select(f32x16::splat(simd, -LIMIT), x));
    let value = one / (one + exp(simd, -inside));
    low.select(f32x16::splat(simd, 0.0), value)
}

/// The exponential of what is between -18 and 18: `2^n e^r` with `n` whole and `r` at most half of `ln 2`, whose series
/// ends with the sixth power.
#[inline(always)]
fn exp<S: Simd>(simd: S, x: f32x16<S>) -> f32x16<S> {
    /// Adding it rounds to whole numbers, which are then the lowest bits.
    const MAGIC: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let shifted = x.mul_add(std::f32::consts::LOG2_E, MAGIC);
    let n = shifted - MAGIC;
    let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, x));
    let mut power = f32x16::splat(simd, 1.0 / 720.0);
    for factor in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        power = power.mul_add(r, factor);
    }
    // The exponent of n; of what is not a number it does not matter, for the power is not one either.
    let exponent: u32x16<S> = (shifted.to_bits() << 23) + 1.0_f32.to_bits();
    power * f32x16::from_bits(exponent)
}
