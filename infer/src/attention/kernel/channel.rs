//! Attention over channels: pooling over the pixels, and the scores and weights of the channels.

use fearless_simd::prelude::*;
use fearless_simd::{Simd, f32x16};
use ferronnx_models::layers::Gate;

use super::blocks::{GROUP, LANES, block, hard_sigmoid, load, sigmoid, store};
use super::{Biases, Channel, Mlp, Scores, Scratch, Sizes};

/// Computes the weights of the channels of the images `x` into `scratch.means`, `[images, P]`.
#[inline(always)]
pub fn weights<S: Simd, const LONG: bool>(
    simd: S,
    sizes: Sizes,
    channel: Channel<'_>,
    x: &[f32],
    scratch: &mut Scratch,
) {
    let padded = sizes.padded();
    let values = x.len() / sizes.values() * padded;
    scratch.means.resize(values, 0.0);
    scratch.maxima.resize(values, 0.0);
    match channel.scores {
        Scores::MeansAndMaxima(mlp) => {
            pools::<S, LONG, true>(simd, sizes, x, scratch);
            let biases = Biases { squeeze: &[], excite: &[] };
            run_mlp::<S, true>(simd, mlp, biases, channel.gate, padded, scratch);
        }
        Scores::Means(mlp, biases) => {
            pools::<S, LONG, false>(simd, sizes, x, scratch);
            run_mlp::<S, false>(simd, mlp, biases, channel.gate, padded, scratch);
        }
        Scores::Neighbours(taps) => {
            pools::<S, LONG, false>(simd, sizes, x, scratch);
            let Scratch { means, hidden, .. } = scratch;
            for means in means.chunks_exact_mut(padded) {
                convolve(simd, taps, channel.gate, sizes.channels, means, hidden);
            }
        }
    }
}

/// Computes the mean of each channel of the images `x`; with `MAX`, the maximum too.
#[inline(always)]
fn pools<S: Simd, const LONG: bool, const MAX: bool>(
    simd: S,
    sizes: Sizes,
    x: &[f32],
    scratch: &mut Scratch,
) {
    let Scratch { means, maxima, .. } = scratch;
    let pooled = means.chunks_exact_mut(sizes.padded()).zip(maxima.chunks_exact_mut(sizes.padded()));
    for (x, (means, maxima)) in x.chunks_exact(sizes.values()).zip(pooled) {
        pool::<S, LONG, MAX>(simd, sizes, x, means, maxima);
        // Padding channels have weights of zero. They are set to zero too: NaN times zero is NaN.
        means[sizes.channels..].fill(0.0);
        maxima[sizes.channels..].fill(0.0);
    }
}

/// Computes mean and maximum of each channel of an image.
#[inline(always)]
fn pool<S: Simd, const LONG: bool, const MAX: bool>(
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
                (sums[half], largest[half]) = add::<S, MAX>((sums[half], largest[half]), values, values);
            }
        }
        if let Some(single) = pairs.remainder().get(..LANES) {
            let values = block(simd, single, 0);
            (sums[0], largest[0]) = add::<S, MAX>((sums[0], largest[0]), values, values);
        }
        if whole < area {
            let values = load::<S, LONG>(simd, plane, last);
            let (values, candidates) = (fresh.select(values, zero), fresh.select(values, least));
            (sums[1], largest[1]) = add::<S, MAX>((sums[1], largest[1]), values, candidates);
        }
        *mean = (sums[0] + sums[1]).reduce_sum() * inverse;
        if MAX {
            *max = largest[0].max(largest[1]).reduce_max();
        }
    }
}

/// Adds a block to a sum, and with `MAX` to a maximum.
#[inline(always)]
fn add<S: Simd, const MAX: bool>(
    (sum, largest): (f32x16<S>, f32x16<S>),
    values: f32x16<S>,
    candidates: f32x16<S>,
) -> (f32x16<S>, f32x16<S>) {
    // The maximum may lose a NaN. The sum keeps it and passes it on to all weights.
    (sum + values, if MAX { candidates.max(largest) } else { largest })
}

/// Runs the MLP on the means `[images, P]`, and replaces them by the gate of its outputs; with `MAX`, by the gate of the
/// sum with its outputs for the maxima, and without biases.
#[inline(always)]
fn run_mlp<S: Simd, const MAX: bool>(
    simd: S,
    mlp: Mlp<'_>,
    biases: Biases<'_>,
    gate: Gate,
    padded: usize,
    scratch: &mut Scratch,
) {
    let Scratch { means, maxima, hidden, .. } = scratch;
    let width = mlp.squeeze.len() / padded;
    hidden.resize(means.len() / padded * width, 0.0);
    // Each row of weights is read once for all images of the group.
    for at in (0..width).step_by(GROUP) {
        let rows = &mlp.squeeze[at * padded..];
        let biases = biases.squeeze.get(at..).unwrap_or_default();
        let images = means.chunks_exact(padded).zip(maxima.chunks_exact(padded));
        for ((means, maxima), hidden) in images.zip(hidden.chunks_exact_mut(width)) {
            match &mut hidden[at..] {
                [a, b, c, d, ..] => {
                    [*a, *b, *c, *d] = squeeze::<S, GROUP, MAX>(simd, rows, biases, means, maxima);
                }
                rest => {
                    for (row, hidden) in rest.iter_mut().enumerate() {
                        let rows = &rows[row * padded..];
                        let biases = biases.get(row..).unwrap_or_default();
                        [*hidden] = squeeze::<S, 1, MAX>(simd, rows, biases, means, maxima);
                    }
                }
            }
        }
    }
    for (weights, hidden) in means.chunks_exact_mut(padded).zip(hidden.chunks_exact(width)) {
        let mut start = 0;
        while start + GROUP * LANES <= padded {
            excite::<S, GROUP>(simd, mlp.excite, biases.excite, gate, hidden, start, weights);
            start += GROUP * LANES;
        }
        while start < padded {
            excite::<S, 1>(simd, mlp.excite, biases.excite, gate, hidden, start, weights);
            start += LANES;
        }
    }
}

/// Computes `N` hidden units; with `MAX`, summed for means and maxima: the next layer is linear, so the sum is all it needs.
#[inline(always)]
fn squeeze<S: Simd, const N: usize, const MAX: bool>(
    simd: S,
    rows: &[f32],
    biases: &[f32],
    means: &[f32],
    maxima: &[f32],
) -> [f32; N] {
    let padded = means.len();
    let zero = f32x16::splat(simd, 0.0);
    let (mut of_means, mut of_maxima) = ([zero; N], [zero; N]);
    for start in (0..padded).step_by(LANES) {
        let (means, maxima) = (block(simd, means, start), block(simd, maxima, start));
        for row in 0..N {
            let weights = block(simd, rows, row * padded + start);
            of_means[row] = weights.mul_add(means, of_means[row]);
            if MAX {
                of_maxima[row] = weights.mul_add(maxima, of_maxima[row]);
            }
        }
    }
    let mut sums = [0.0; N];
    for row in 0..N {
        sums[row] = match MAX {
            true => relu(of_means[row].reduce_sum()) + relu(of_maxima[row].reduce_sum()),
            false => relu(of_means[row].reduce_sum() + biases[row]),
        };
    }
    sums
}

/// Computes the weights of `N` blocks of channels from `start` on.
#[inline(always)]
fn excite<S: Simd, const N: usize>(
    simd: S,
    rows: &[f32],
    biases: &[f32],
    gate: Gate,
    hidden: &[f32],
    start: usize,
    weights: &mut [f32],
) {
    let mut sums = [f32x16::splat(simd, 0.0); N];
    if !biases.is_empty() {
        for (at, sum) in sums.iter_mut().enumerate() {
            *sum = block(simd, biases, start + at * LANES);
        }
    }
    for (row, &hidden) in rows.chunks_exact(weights.len()).zip(hidden) {
        let hidden = f32x16::splat(simd, hidden);
        for (at, sum) in sums.iter_mut().enumerate() {
            *sum = block(simd, row, start + at * LANES).mul_add(hidden, *sum);
        }
    }
    for (at, sum) in sums.into_iter().enumerate() {
        store::<S, true>(apply(simd, gate, sum), weights, start + at * LANES);
    }
}

/// Convolves the means of an image along the channels, and replaces them by the gate of the result.
#[inline(always)]
fn convolve<S: Simd>(
    simd: S,
    taps: &[f32],
    gate: Gate,
    channels: usize,
    means: &mut [f32],
    bordered: &mut Vec<f32>,
) {
    bordered.clear();
    bordered.resize(means.len() + taps.len() - 1, 0.0);
    bordered[taps.len() / 2..][..channels].copy_from_slice(&means[..channels]);
    for start in (0..means.len()).step_by(LANES) {
        let mut sum = f32x16::splat(simd, 0.0);
        for (at, &tap) in taps.iter().enumerate() {
            sum = block(simd, bordered, start + at).mul_add(tap, sum);
        }
        store::<S, true>(apply(simd, gate, sum), means, start);
    }
}

/// Computes the weights of a block of channels from their scores.
#[inline(always)]
fn apply<S: Simd>(simd: S, gate: Gate, scores: f32x16<S>) -> f32x16<S> {
    match gate {
        Gate::Sigmoid => sigmoid(simd, scores),
        Gate::HardSigmoid => hard_sigmoid(simd, scores),
    }
}

#[inline(always)]
fn relu(x: f32) -> f32 {
    // NaN passes through, which `x.max(0.0)` would not do.
    if x < 0.0 { 0.0 } else { x }
}
