//! Channel attention: pooling over the pixels, and the MLP that weights the channels.

use fearless_simd::prelude::*;
use fearless_simd::{Simd, f32x16};

use super::blocks::{GROUP, LANES, block, load, sigmoid, store};
use super::{Mlp, Sizes};

/// Computes mean and maximum of each channel of an image.
#[inline(always)]
pub fn pool<S: Simd, const LONG: bool>(
    simd: S,
    sizes: Sizes,
    x: &[f32],
    means: &mut [f32],
    maxima: &mut [f32],
) {
    let area = sizes.area();
    let inverse = 1.0 / area as f32;
    let whole = area / LANES * LANES;
    let last = area.saturating_sub(LANES);
    let zero = f32x16::splat(simd, 0.0);
    let least = f32x16::splat(simd, f32::NEG_INFINITY);
    // Lanes of the last block that the block before does not cover and that lie inside the plane.
    let places = f32x16::from_fn(simd, |lane| (last + lane) as f32);
    let fresh = places.simd_ge(whole as f32) & places.simd_lt(area as f32);
    let pooled = means.iter_mut().zip(maxima.iter_mut());
    for (plane, (mean, max)) in x.chunks_exact(area).zip(pooled) {
        let (mut sums, mut largest) = ([zero; 2], [least; 2]);
        let mut pairs = plane.chunks_exact(2 * LANES);
        for pair in &mut pairs {
            for half in 0..2 {
                let values = block(simd, pair, half * LANES);
                sums[half] += values;
                // The maximum may lose a NaN. The sum keeps it and passes it on to all weights.
                largest[half] = values.max(largest[half]);
            }
        }
        if let Some(single) = pairs.remainder().get(..LANES) {
            let values = block(simd, single, 0);
            sums[0] += values;
            largest[0] = values.max(largest[0]);
        }
        if whole < area {
            let values = load::<S, LONG>(simd, plane, last);
            sums[1] += fresh.select(values, zero);
            largest[1] = fresh.select(values, least).max(largest[1]);
        }
        *mean = (sums[0] + sums[1]).reduce_sum() * inverse;
        *max = largest[0].max(largest[1]).reduce_max();
    }
    // Padding channels have weights of zero. They are set to zero too: NaN times zero is NaN.
    means[sizes.channels..].fill(0.0);
    maxima[sizes.channels..].fill(0.0);
}

/// Runs the MLP on means and maxima `[images, P]`, and replaces the means by the sigmoid of the summed outputs.
#[inline(always)]
pub fn weigh<S: Simd>(
    simd: S,
    mlp: Mlp<'_>,
    padded: usize,
    means: &mut [f32],
    maxima: &[f32],
    hidden: &mut Vec<f32>,
) {
    let width = mlp.squeeze.len() / padded;
    hidden.resize(means.len() / padded * width, 0.0);
    // Each row of weights is read once for all images of the group.
    for at in (0..width).step_by(GROUP) {
        let rows = &mlp.squeeze[at * padded..];
        let images = means.chunks_exact(padded).zip(maxima.chunks_exact(padded));
        for ((means, maxima), hidden) in images.zip(hidden.chunks_exact_mut(width)) {
            match &mut hidden[at..] {
                [a, b, c, d, ..] => {
                    [*a, *b, *c, *d] = squeeze::<S, GROUP>(simd, rows, means, maxima);
                }
                rest => {
                    for (hidden, row) in rest.iter_mut().zip(rows.chunks_exact(padded)) {
                        [*hidden] = squeeze::<S, 1>(simd, row, means, maxima);
                    }
                }
            }
        }
    }
    for (weights, hidden) in means.chunks_exact_mut(padded).zip(hidden.chunks_exact(width)) {
        let mut start = 0;
        while start + GROUP * LANES <= padded {
            excite::<S, GROUP>(simd, mlp.excite, hidden, start, weights);
            start += GROUP * LANES;
        }
        while start < padded {
            excite::<S, 1>(simd, mlp.excite, hidden, start, weights);
            start += LANES;
        }
    }
}

/// Computes `N` hidden units, summed for means and maxima: the next layer is linear, so the sum is all it needs.
#[inline(always)]
fn squeeze<S: Simd, const N: usize>(simd: S, rows: &[f32], means: &[f32], maxima: &[f32]) -> [f32; N] {
    let padded = means.len();
    let zero = f32x16::splat(simd, 0.0);
    let (mut of_means, mut of_maxima) = ([zero; N], [zero; N]);
    for start in (0..padded).step_by(LANES) {
        let (means, maxima) = (block(simd, means, start), block(simd, maxima, start));
        for row in 0..N {
            let weights = block(simd, rows, row * padded + start);
            of_means[row] = weights.mul_add(means, of_means[row]);
            of_maxima[row] = weights.mul_add(maxima, of_maxima[row]);
        }
    }
    let mut sums = [0.0; N];
    for row in 0..N {
        sums[row] = relu(of_means[row].reduce_sum()) + relu(of_maxima[row].reduce_sum());
    }
    sums
}

/// Computes the weights of `N` blocks of channels from `start` on.
#[inline(always)]
fn excite<S: Simd, const N: usize>(simd: S, rows: &[f32], hidden: &[f32], start: usize, weights: &mut [f32]) {
    let mut sums = [f32x16::splat(simd, 0.0); N];
    for (row, &hidden) in rows.chunks_exact(weights.len()).zip(hidden) {
        let hidden = f32x16::splat(simd, hidden);
        for (at, sum) in sums.iter_mut().enumerate() {
            *sum = block(simd, row, start + at * LANES).mul_add(hidden, *sum);
        }
    }
    for (at, sum) in sums.into_iter().enumerate() {
        store::<S, true>(sigmoid(simd, sum), weights, start + at * LANES);
    }
}

#[inline(always)]
fn relu(x: f32) -> f32 {
    // NaN passes through, which `x.max(0.0)` would not do.
    if x < 0.0 { 0.0 } else { x }
}
