//! Vectorised kernel for CBAM ([Woo et al. 2018](https://arxiv.org/abs/1807.06521)), squeeze-and-excitation and ECA, in two
//! or three passes over an image.
//!
//! | pass | reads | computes |
//! |---|---|---|
//! | 1 | `x[c, p]` | mean and maximum of each channel; [`Scores`] turn them into the channel's weight `s[c]` |
//! | 2 | `x[c, p]` | mean and maximum over the channels of `x[c, p] s[c]`; the convolution turns them into the mask `m[p]` |
//! | 3 | `x[c, p]` | `x[c, p] s[c] m[p]` |
//!
//! Three passes are the minimum: `s` needs all of `x`, and `m` needs all of `s`. No intermediate result is as large as `x`.
//! Attention over channels alone takes the first and third pass, spatial attention alone the second and third.
//!
//! The code is written once for blocks of 16 values and compiled for each [`Level`] of SIMD instructions, without `unsafe`.

mod blocks;
mod channel;
mod spatial;

use fearless_simd::prelude::*;
use fearless_simd::{Level, Simd, dispatch, f32x16};
use ferronnx_models::layers::Gate;

use blocks::{load, starts, store};

pub use blocks::LANES;

/// Number of values of the images that are processed as one group.
///
/// A group stays in a core's cache between the passes, and the MLP's weights are read once for it.
const TOGETHER: usize = 32 << 10;

/// Size of a feature map: channels, height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// Channels, `C`.
    pub channels: usize,
    /// Height, `H`.
    pub height: usize,
    /// Width, `W`.
    pub width: usize,
}

impl Sizes {
    /// Number of values, `C * H * W`.
    pub fn values(self) -> usize {
        self.channels * self.area()
    }

    /// Number of pixels, `H * W`.
    fn area(self) -> usize {
        self.height * self.width
    }

    /// Number of channels, rounded up to whole blocks.
    fn padded(self) -> usize {
        self.channels.next_multiple_of(LANES)
    }

    /// Number of values of the images that are best processed as one group; at least one image.
    pub fn together(self) -> usize {
        let values = self.values().max(1);
        (TOGETHER / values).max(1) * values
    }
}

/// Weights of an MLP; rows lie along the channels, padded with zeros to `P`, a multiple of [`LANES`].
#[derive(Debug, Clone, Copy)]
pub struct Mlp<'a> {
    /// First layer, `[hidden, P]`.
    pub squeeze: &'a [f32],
    /// Second layer, transposed: `[hidden, P]`.
    pub excite: &'a [f32],
}

/// Biases of an [`Mlp`].
#[derive(Debug, Clone, Copy)]
pub struct Biases<'a> {
    /// First layer, `[hidden]`.
    pub squeeze: &'a [f32],
    /// Second layer, `[P]`.
    pub excite: &'a [f32],
}

/// Function from the pooled channels to their scores.
#[derive(Debug, Clone, Copy)]
pub enum Scores<'a> {
    /// CBAM: the MLP of the means plus the MLP of the maxima, without biases.
    MeansAndMaxima(Mlp<'a>),
    /// Squeeze-and-excitation: the MLP of the means.
    Means(Mlp<'a>, Biases<'a>),
    /// ECA: a convolution of the means along the channels, with a kernel of odd length.
    Neighbours(&'a [f32]),
}

impl Scores<'_> {
    /// Checks the lengths of the weights.
    fn fit(&self, sizes: Sizes) -> bool {
        let whole = |mlp: &Mlp<'_>| {
            mlp.squeeze.len() == mlp.excite.len() && mlp.squeeze.len().is_multiple_of(sizes.padded())
        };
        match self {
            Self::MeansAndMaxima(mlp) => whole(mlp),
            Self::Means(mlp, Biases { squeeze, excite }) => {
                whole(mlp)
                    && squeeze.len() * sizes.padded() == mlp.squeeze.len()
                    && excite.len() == sizes.padded()
            }
            Self::Neighbours(taps) => taps.len() % 2 == 1,
        }
    }
}

/// Weights of attention over channels.
#[derive(Debug, Clone, Copy)]
pub struct Channel<'a> {
    /// Function from the pooled channels to their scores.
    pub scores: Scores<'a>,
    /// Function from scores to weights.
    pub gate: Gate,
}

/// Weights of spatial attention's convolution, without bias.
#[derive(Debug, Clone, Copy)]
pub struct Convolution<'a> {
    /// Height and width of the kernel, `k`; odd.
    pub side: usize,
    /// Kernel, `[1, 2, k, k]`.
    pub taps: &'a [f32],
}

/// Weights of an attention block; an absent part is not computed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weights<'a> {
    /// Weights of attention over channels, which comes first.
    pub channel: Option<Channel<'a>>,
    /// Weights of spatial attention, which comes second.
    pub spatial: Option<Convolution<'a>>,
}

/// Length of a slice that does not match the size of the images.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("attention weights for other images than [{}, {}, {}]", .0.channels, .0.height, .0.width)]
pub struct ShapeMismatch(Sizes);

/// Reusable memory for intermediate results.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Mean of each channel of a group of images, later replaced by the channel's weight.
    means: Vec<f32>,
    /// Maximum of each channel of a group of images.
    maxima: Vec<f32>,
    /// Hidden layer of the MLP, or the means of an image with a border of zeros.
    hidden: Vec<f32>,
    /// Sum over the channels of each pixel.
    sums: Vec<f32>,
    /// Maximum over the channels of each pixel.
    largest: Vec<f32>,
    /// Mean and maximum of each pixel, with a border of zeros and in rows of whole blocks.
    planes: Vec<f32>,
    /// Size of the images and side of the kernel that the border was made for.
    bordered: (Sizes, usize),
    /// Mask of spatial attention.
    mask: Vec<f32>,
}

/// Applies attention to the images `x` `[N, C, H, W]` and writes `out`, of the same shape.
///
/// # Errors
/// [`ShapeMismatch`] when a slice is not as long as `sizes` demands.
pub fn attention(
    level: Level,
    sizes: Sizes,
    weights: Weights<'_>,
    x: &[f32],
    out: &mut [f32],
    scratch: &mut Scratch,
) -> Result<(), ShapeMismatch> {
    let square = |conv: Convolution<'_>| conv.side % 2 == 1 && conv.taps.len() == 2 * conv.side * conv.side;
    let fits = x.len() == out.len() && x.len().is_multiple_of(sizes.values());
    if !(fits
        && weights.channel.is_none_or(|channel| channel.scores.fit(sizes))
        && weights.spatial.is_none_or(square))
    {
        return Err(ShapeMismatch(sizes));
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

/// Applies attention to a group of images. `LONG` means that each plane has at least one block of pixels.
///
/// It is inlined with everything it calls, so that all of it is compiled for the instructions of `S`.
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
        Some(channel) => channel::weights::<S, LONG>(simd, sizes, channel, x, scratch),
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

/// Computes the third pass, `x[c, p] s[c] m[p]`; without `MASK`, `x[c, p] s[c]`.
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
