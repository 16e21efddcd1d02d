//! Blocks of values that one SIMD instruction processes.

use fearless_simd::prelude::*;
use fearless_simd::{Simd, f32x16, u32x16};

/// Number of values in a block: one register of AVX-512, two of AVX2, four of SSE or NEON.
///
/// Rows of the fused operator's weights are padded to a multiple of it.
pub const LANES: usize = 16;

/// Number of blocks that are accumulated in parallel, so that an addition does not wait for the one before.
pub const GROUP: usize = 4;

/// Loads the block that begins at `start`.
#[inline(always)]
pub fn block<S: Simd>(simd: S, values: &[f32], start: usize) -> f32x16<S> {
    f32x16::from_slice(simd, &values[start..start + LANES])
}

/// Loads a block; without `LONG`, `values` are fewer than a block, and zeros fill it.
///
/// `LONG` is a constant, so that loops contain no call for a rest: a call would spill all registers.
#[inline(always)]
pub fn load<S: Simd, const LONG: bool>(simd: S, values: &[f32], start: usize) -> f32x16<S> {
    if LONG {
        return block(simd, values, start);
    }
    let mut part = [0.0; LANES];
    part[..values.len()].copy_from_slice(values);
    f32x16::from_slice(simd, &part)
}

/// Stores a block; without `LONG`, only as many values as there are.
#[inline(always)]
pub fn store<S: Simd, const LONG: bool>(block: f32x16<S>, values: &mut [f32], start: usize) {
    if LONG {
        return block.store_slice(&mut values[start..start + LANES]);
    }
    let length = values.len();
    values.copy_from_slice(&block.as_slice()[..length]);
}

/// Start of each block that is needed to cover `length` values; the last may overlap the one before.
#[inline(always)]
pub fn starts(length: usize) -> impl Iterator<Item = usize> {
    let whole = length / LANES * LANES;
    let last = (whole < length).then(|| length.saturating_sub(LANES));
    (0..whole).step_by(LANES).chain(last)
}

/// Sigmoid, `1 / (1 + exp(-x))`, within 1e-7.
///
/// From -18 down it is exactly 0, as in ONNX Runtime, so that infinity times it is NaN in both.
#[inline(always)]
pub fn sigmoid<S: Simd>(simd: S, x: f32x16<S>) -> f32x16<S> {
    const LIMIT: f32 = 18.0;
    let one = f32x16::splat(simd, 1.0);
    // NaN is neither high nor low and passes through.
    let (high, low) = (x.simd_gt(LIMIT), x.simd_le(-LIMIT));
    let inside = high.select(f32x16::splat(simd, LIMIT), low.select(f32x16::splat(simd, -LIMIT), x));
    let value = one / (one + exp(simd, -inside));
    low.select(f32x16::splat(simd, 0.0), value)
}

/// Hard sigmoid, `clamp(x / 6 + 1/2, 0, 1)`.
#[inline(always)]
pub fn hard_sigmoid<S: Simd>(simd: S, x: f32x16<S>) -> f32x16<S> {
    let (zero, one) = (f32x16::splat(simd, 0.0), f32x16::splat(simd, 1.0));
    let value = x.mul_add(1.0 / 6.0, 0.5);
    // NaN is neither high nor low and passes through.
    value.simd_gt(1.0).select(one, value.simd_lt(0.0).select(zero, value))
}

/// Exponential for `x` in [-18, 18]: `2^n e^r` with an integer `n` and `|r| <= ln(2) / 2`, by a series of degree 6.
#[inline(always)]
fn exp<S: Simd>(simd: S, x: f32x16<S>) -> f32x16<S> {
    /// Adding it rounds to an integer, which then stands in the lowest bits.
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
    // For NaN the exponent is irrelevant: `power` is NaN already.
    let exponent: u32x16<S> = (shifted.to_bits() << 23) + 1.0_f32.to_bits();
    power * f32x16::from_bits(exponent)
}
