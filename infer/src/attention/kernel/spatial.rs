//! Spatial attention: pooling over the channels, and the convolution that gives the mask.

use fearless_simd::prelude::*;
use fearless_simd::{Simd, f32x16};

use super::blocks::{GROUP, LANES, block, load, sigmoid, store};
use super::{Convolution, Scratch, Sizes};

/// Number of rows of the mask that are computed in parallel, so that an addition does not wait for the one before.
const ROWS: usize = 4;

/// Computes the mask of the image `x`; the weights of its channels begin at `weights` in `scratch.means`.
#[inline(always)]
pub fn mask<S: Simd, const LONG: bool>(
    simd: S,
    sizes: Sizes,
    convolution: Convolution<'_>,
    x: &[f32],
    weights: usize,
    scratch: &mut Scratch,
) {
    let Scratch { means, sums, largest, planes, bordered, mask, .. } = scratch;
    let (area, (rows, stride)) = (sizes.area(), plane(sizes, convolution.side));
    for pixels in [&mut *sums, &mut *largest, &mut *mask] {
        pixels.resize(area, 0.0);
    }
    if *bordered != (sizes, convolution.side) {
        planes.clear();
        planes.resize(2 * rows * stride, 0.0);
        *bordered = (sizes, convolution.side);
    }
    over_channels::<S, LONG>(simd, area, x, &means[weights..][..sizes.channels], sums, largest);
    let (of_means, of_maxima) = planes.split_at_mut(rows * stride);
    let inverse = 1.0 / sizes.channels as f32;
    sums.iter_mut().for_each(|sum| *sum *= inverse);
    for (plane, values) in [(of_means, &*sums), (of_maxima, &*largest)] {
        let inside = plane.chunks_exact_mut(stride).skip(convolution.side / 2);
        for (row, values) in inside.zip(values.chunks_exact(sizes.width)) {
            row[convolution.side / 2..][..sizes.width].copy_from_slice(values);
        }
    }
    convolve(simd, sizes, convolution, planes, mask);
}

/// Number of rows, and length of a row, of a plane with its border.
#[inline(always)]
fn plane(sizes: Sizes, side: usize) -> (usize, usize) {
    (sizes.height.next_multiple_of(ROWS) + side - 1, sizes.width.next_multiple_of(LANES) + side - 1)
}

/// Computes sum and maximum over the channels of `x[c, p] s[c]`, for every pixel.
#[inline(always)]
fn over_channels<S: Simd, const LONG: bool>(
    simd: S,
    area: usize,
    x: &[f32],
    weight: &[f32],
    sums: &mut [f32],
    largest: &mut [f32],
) {
    let mut start = 0;
    while start + GROUP * LANES <= area {
        pixels::<S, LONG, GROUP>(simd, area, x, weight, start, sums, largest);
        start += GROUP * LANES;
    }
    while start + LANES <= area {
        pixels::<S, LONG, 1>(simd, area, x, weight, start, sums, largest);
        start += LANES;
    }
    if start < area {
        pixels::<S, LONG, 1>(simd, area, x, weight, area.saturating_sub(LANES), sums, largest);
    }
}

/// Computes sum and maximum over the channels for `N` blocks of pixels from `start` on.
#[inline(always)]
fn pixels<S: Simd, const LONG: bool, const N: usize>(
    simd: S,
    area: usize,
    x: &[f32],
    weight: &[f32],
    start: usize,
    sums: &mut [f32],
    largest: &mut [f32],
) {
    let mut sum = [f32x16::splat(simd, 0.0); N];
    let mut max = [f32x16::splat(simd, f32::NEG_INFINITY); N];
    for (plane, &weight) in x.chunks_exact(area).zip(weight) {
        let weight = f32x16::splat(simd, weight);
        for at in 0..N {
            let value = load::<S, LONG>(simd, plane, start + at * LANES) * weight;
            sum[at] += value;
            max[at] = value.max(max[at]);
        }
    }
    for at in 0..N {
        store::<S, LONG>(sum[at], sums, start + at * LANES);
        store::<S, LONG>(max[at], largest, start + at * LANES);
    }
}

/// Convolves both planes and applies the sigmoid.
#[inline(always)]
fn convolve<S: Simd>(simd: S, sizes: Sizes, convolution: Convolution<'_>, planes: &[f32], mask: &mut [f32]) {
    let (width, side) = (sizes.width, convolution.side);
    let (rows, stride) = plane(sizes, side);
    let zero = f32x16::splat(simd, 0.0);
    let both = || planes.chunks_exact(rows * stride).zip(convolution.taps.chunks_exact(side * side));
    for (band, mask) in mask.chunks_mut(ROWS * width).enumerate() {
        for left in (0..width).step_by(LANES) {
            let mut sums = [zero; ROWS];
            for (plane, taps) in both() {
                for dx in 0..side {
                    let start = |row: usize| (band * ROWS + row) * stride + left + dx;
                    // Blocks under one tap of each row. As the tap moves down, only one new block is loaded.
                    let mut window = [zero; ROWS];
                    for (row, values) in window[1..].iter_mut().enumerate() {
                        *values = block(simd, plane, start(row));
                    }
                    for dy in 0..side {
                        for row in 1..ROWS {
                            window[row - 1] = window[row];
                        }
                        window[ROWS - 1] = block(simd, plane, start(dy + ROWS - 1));
                        let tap = f32x16::splat(simd, taps[dy * side + dx]);
                        for row in 0..ROWS {
                            sums[row] = window[row].mul_add(tap, sums[row]);
                        }
                    }
                }
            }
            let columns = LANES.min(width - left);
            for (row, sum) in mask.chunks_exact_mut(width).zip(sums) {
                row[left..][..columns].copy_from_slice(&sigmoid(simd, sum).as_slice()[..columns]);
            }
        }
    }
}
