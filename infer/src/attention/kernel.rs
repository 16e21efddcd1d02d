//! Attention on images, in three passes over their values ([Woo et al. 2018](https://arxiv.org/abs/1807.06521)).
//!
//! | pass | reads | gives |
//! |---|---|---|
//! | 1 | `x[c, p]` | mean and maximum of each channel, from which the MLP makes its weight `s[c]` |
//! | 2 | `x[c, p]` | mean and maximum over the channels of `x[c, p] s[c]`, from which the convolution makes `m[p]` |
//! | 3 | `x[c, p]` | `x[c, p] s[c] m[p]` |
//!
//! No pass can be spared: `s` needs all of `x`, `m` needs all of `s`. Between them is nothing as large as `x`. Channel
//! attention alone is the first and the third, spatial attention alone the second and the third.
//!
//! All of it is written once, for blocks of 16 values, and compiled for each [`Level`] of instructions; there is no unsafe
//! code.

mod blocks;
mod channel;
mod spatial;

use fearless_simd::prelude::*;
use fearless_simd::{Level, Simd, dispatch, f32x16};

pub use blocks::LANES;
use blocks::{load, starts, store};

/// Values of images whose channels are weighted together: they stay in the cache of a core between their passes, and the
/// MLP's weights are fetched once for all.
const TOGETHER: usize = 32 << 10;

/// Sizes of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// `C`.
    pub channels: usize,
    /// `H`.
    pub height: usize,
    /// `W`.
    pub width: usize,
}

impl Sizes {
    /// Values of an image.
    pub fn values(self) -> usize {
        self.channels * self.area()
    }

    /// Pixels of an image.
    fn area(self) -> usize {
        self.height * self.width
    }

    /// Channels with those that fill the last block.
    fn padded(self) -> usize {
        self.channels.next_multiple_of(LANES)
    }

    /// Values of as many images as are best done together, at least of one.
    pub fn together(self) -> usize {
        let values = self.values().max(1);
        (TOGETHER / values).max(1) * values
    }
}

/// The MLP of channel attention, without biases: rows along the channels, as [`fuse`](mod@ferronnx_models::onnx::fuse) stores them.
#[derive(Debug, Clone, Copy)]
pub struct Mlp<'a> {
    /// `[hidden, P]`.
    pub squeeze: &'a [f32],
    /// `[hidden, P]`.
    pub excite: &'a [f32],
}

/// The convolution of spatial attention, without bias.
#[derive(Debug, Clone, Copy)]
pub struct Convolution<'a> {
    /// `k`, which is odd.
    pub side: usize,
    /// `[1, 2, k, k]`.
    pub taps: &'a [f32],
}

/// Which attention, and its weights.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weights<'a> {
    /// Channel attention, which comes first.
    pub channel: Option<Mlp<'a>>,
    /// Spatial attention, which comes second.
    pub spatial: Option<Convolution<'a>>,
}

/// Weights that do not fit the images.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("attention weights for other images than [{}, {}, {}]", .0.channels, .0.height, .0.width)]
pub struct Misfit(Sizes);

/// Memory for what lies between the passes; made once, and used again.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Mean and maximum of each channel of images that are done together; then, in place of the means, the weights.
    means: Vec<f32>,
    maxima: Vec<f32>,
    hidden: Vec<f32>,
    /// Sum and maximum over the channels of each pixel.
    sums: Vec<f32>,
    largest: Vec<f32>,
    /// Both with a border of zeros, in rows of whole blocks, for images and a convolution of these sizes.
    planes: Vec<f32>,
    bordered: (Sizes, usize),
    mask: Vec<f32>,
}

/// Attention over images `x` `[N, C, H, W]` to `out` of the same shape.
///
/// # Errors
/// When a slice is not as long as the sizes say.
pub fn attention(
    level: Level,
    sizes: Sizes,
    weights: Weights<'_>,
    x: &[f32],
    out: &mut [f32],
    scratch: &mut Scratch,
) -> Result<(), Misfit> {
    let whole = |mlp: Mlp<'_>| {
        mlp.squeeze.len() == mlp.excite.len() && mlp.squeeze.len().is_multiple_of(sizes.padded())
    };
    let square = |conv: Convolution<'_>| conv.side % 2 == 1 && conv.taps.len() == 2 * conv.side * conv.side;
    let fits = x.len() == out.len() && x.len().is_multiple_of(sizes.values());
    if !(fits && weights.channel.is_none_or(whole) && weights.spatial.is_none_or(square)) {
        return Err(Misfit(sizes));
    }
    if x.is_empty() {
        return Ok(());
    }
    for (x, out) in x.chunks(sizes.together()).zip(out.chunks_mut(sizes.together())) {
        dispatch!(level, simd => match sizes.area() >= LANES {
            true => images::<_, true>(simd, sizes, weights, x, out, scratch),
            false => images::<_, false>(simd, sizes, weights, x, out, scratch),
        });
    }
    Ok(())
}

/// A few images, whose planes are at least a block unless they are not `LONG`.
///
/// It is inlined with all that it calls, so that all is compiled for the instructions of `S`.
#[inline(always)]
fn images<S: Simd, const LONG: bool>(
    simd: S,
    sizes: Sizes,
    weights: Weights<'_>,
    x: &[f32],
    out: &mut [f32],
    scratch: &mut Scratch,
) {
    let (values, padded) = (sizes.values(), sizes.padded());
    let count = x.len() / values;
    match weights.channel {
        Some(mlp) => {
            let Scratch { means, maxima, hidden, .. } = scratch;
            means.resize(count * padded, 0.0);
            maxima.resize(count * padded, 0.0);
            let pooled = means.chunks_exact_mut(padded).zip(maxima.chunks_exact_mut(padded));
            for (x, (means, maxima)) in x.chunks_exact(values).zip(pooled) {
                channel::pool::<S, LONG>(simd, sizes, x, means, maxima);
            }
            channel::weigh(simd, mlp, padded, means, maxima, hidden);
        }
        None => {
            scratch.means.clear();
            scratch.means.resize(count * padded, 1.0);
        }
    }
    for (at, (x, out)) in x.chunks_exact(values).zip(out.chunks_exact_mut(values)).enumerate() {
        let start = at * padded;
        match weights.spatial {
            Some(convolution) => {
                spatial::mask::<S, LONG>(simd, sizes, convolution, x, start, scratch);
                product::<S, LONG, true>(simd, sizes, x, &scratch.means[start..], &scratch.mask, out);
            }
            None => product::<S, LONG, false>(simd, sizes, x, &scratch.means[start..], &[], out),
        }
    }
}

/// `x[c, p] s[c] m[p]`, without `MASK` `x[c, p] s[c]`.
#[inline(always)]
fn product<S: Simd, const LONG: bool, const MASK: bool>(
    simd: S,
    sizes: Sizes,
    x: &[f32],
    weight: &[f32],
    mask: &[f32],
    out: &mut [f32],
) {
    let area = sizes.area();
    for ((x, out), &weight) in x.chunks_exact(area).zip(out.chunks_exact_mut(area)).zip(weight) {
        let weight = f32x16::splat(simd, weight);
        for start in starts(area) {
            let value = load::<S, LONG>(simd, x, start) * weight;
            let value = if MASK { value * load::<S, LONG>(simd, mask, start) } else { value };
            store::<S, LONG>(value, out, start);
        }
    }
}
