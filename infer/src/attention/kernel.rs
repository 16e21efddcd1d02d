//! CBAM on one picture, in three passes over its values ([Woo et al. 2018](https://arxiv.org/abs/1807.06521)).
//!
//! | pass | reads | gives |
//! |---|---|---|
//! | 1 | `x[c, p]` | mean and maximum of each channel, from which the MLP makes its weight `s[c]` |
//! | 2 | `x[c, p]` | mean and maximum over the channels of `x[c, p] s[c]`, from which the convolution makes `m[p]` |
//! | 3 | `x[c, p]` | `x[c, p] s[c] m[p]` |
//!
//! No pass can be spared: `s` needs all of `x`, `m` needs all of `s`. Between them is nothing as large as `x`.
//!
//! The loops are plain Rust over blocks of 16 values, compiled once for each set of instructions in
//! [`Instructions`], of which the best that the machine has is chosen when it runs.

/// Values that are computed side by side: a register of AVX-512, two of AVX2, four of SSE or NEON.
const LANES: usize = 16;

/// Rows of the mask that are computed side by side, so that additions need not wait for each other.
const ROWS: usize = 4;

type Block = [f32; LANES];

/// A set of instructions that the kernel is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instructions {
    /// What every machine of this architecture has.
    Portable,
    /// AVX2 with fused multiplication and addition.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 (F).
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Instructions {
    /// The sets that this machine has, the best first.
    pub fn here() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let fused = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if fused && is_x86_feature_detected!("avx512f") {
                found.push(Self::Avx512);
            }
            if fused {
                found.push(Self::Avx2);
            }
        }
        found.push(Self::Portable);
        found
    }
}

/// Sizes of a picture and its attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// `C`.
    pub channels: usize,
    /// `H`.
    pub height: usize,
    /// `W`.
    pub width: usize,
    /// Values of the MLP's hidden layer.
    pub hidden: usize,
    /// Side of the convolution's kernel, which is odd.
    pub kernel: usize,
}

/// The weights, as PyTorch stores them.
#[derive(Debug, Clone, Copy)]
pub struct Weights<'a> {
    /// `[hidden, C]`.
    pub squeeze: &'a [f32],
    /// `[C, hidden]`.
    pub excite: &'a [f32],
    /// `[1, 2, k, k]`.
    pub conv: &'a [f32],
}

/// Memory for what lies between the passes; made once, and used again.
#[derive(Debug, Default)]
pub struct Scratch {
    sizes: Sizes,
    /// Mean, maximum and weight of each channel.
    mean: Vec<f32>,
    max: Vec<f32>,
    weight: Vec<f32>,
    hidden: Vec<f32>,
    /// Sum and maximum over the channels of each pixel.
    sums: Vec<f32>,
    maxima: Vec<f32>,
    /// Both with a border of zeros, in rows of whole blocks.
    planes: Vec<f32>,
    mask: Vec<f32>,
}

impl Scratch {
    fn fit(&mut self, sizes: Sizes) {
        if self.sizes == sizes {
            return;
        }
        let Sizes { channels, height, width, hidden, kernel } = sizes;
        let (rows, stride) = padded(sizes);
        for (values, length) in [
            (&mut self.mean, channels),
            (&mut self.max, channels),
            (&mut self.weight, channels),
            (&mut self.hidden, hidden),
            (&mut self.sums, height * width),
            (&mut self.maxima, height * width),
            (&mut self.planes, 2 * rows * stride),
            (&mut self.mask, height * width),
        ] {
            values.clear();
            values.resize(length, 0.0);
        }
        debug_assert!(kernel % 2 == 1);
        self.sizes = sizes;
    }
}

/// Rows and length of a row of a plane with its border.
fn padded(Sizes { height, width, kernel, .. }: Sizes) -> (usize, usize) {
    (height.next_multiple_of(ROWS) + kernel - 1, width.next_multiple_of(LANES) + kernel - 1)
}

/// CBAM of the picture `x` `[C, H, W]` to `out`.
///
/// # Panics
/// When a slice has not the length that `sizes` say.
pub fn cbam(
    instructions: Instructions,
    sizes: Sizes,
    x: &[f32],
    out: &mut [f32],
    weights: Weights<'_>,
    scratch: &mut Scratch,
) {
    let Sizes { channels, height, width, hidden, kernel } = sizes;
    assert!(x.len() == channels * height * width && out.len() == x.len());
    assert!(weights.squeeze.len() == hidden * channels && weights.excite.len() == hidden * channels);
    assert_eq!(weights.conv.len(), 2 * kernel * kernel);
    if x.is_empty() {
        return;
    }
    scratch.fit(sizes);
    match instructions {
        Instructions::Portable => picture::<false>(sizes, x, out, weights, scratch),
        // SAFETY: `Instructions::here` gives this variant on machines with these features alone.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 => unsafe { avx2(sizes, x, out, weights, scratch) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512 => unsafe { avx512(sizes, x, out, weights, scratch) },
    }
}

/// # Safety
/// The machine has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(sizes: Sizes, x: &[f32], out: &mut [f32], weights: Weights<'_>, scratch: &mut Scratch) {
    picture::<true>(sizes, x, out, weights, scratch);
}

/// # Safety
/// The machine has AVX-512F, AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn avx512(sizes: Sizes, x: &[f32], out: &mut [f32], weights: Weights<'_>, scratch: &mut Scratch) {
    picture::<true>(sizes, x, out, weights, scratch);
}

/// Everything below is inlined here, so that it is compiled for the instructions of the caller.
#[inline(always)]
fn picture<const FMA: bool>(
    sizes: Sizes,
    x: &[f32],
    out: &mut [f32],
    weights: Weights<'_>,
    scratch: &mut Scratch,
) {
    let area = sizes.height * sizes.width;
    pool(x, area, &mut scratch.mean, &mut scratch.max);
    channel_weights::<FMA>(weights, scratch);
    over_channels::<FMA>(x, area, &scratch.weight, &mut scratch.sums, &mut scratch.maxima);
    spread(sizes, scratch);
    mask::<FMA>(sizes, weights.conv, &scratch.planes, &mut scratch.mask);
    for ((x, out), &weight) in x.chunks_exact(area).zip(out.chunks_exact_mut(area)).zip(&scratch.weight) {
        for ((x, out), mask) in x.iter().zip(out).zip(&scratch.mask) {
            *out = x * weight * mask;
        }
    }
}

/// Mean and maximum of each channel.
#[inline(always)]
fn pool(x: &[f32], area: usize, mean: &mut [f32], max: &mut [f32]) {
    let inverse = 1.0 / area as f32;
    for ((plane, mean), max) in x.chunks_exact(area).zip(mean).zip(max) {
        // Two of each, so that additions need not wait for each other.
        let (mut sums, mut maxima) = ([[0.0; LANES]; 2], [[f32::NEG_INFINITY; LANES]; 2]);
        let mut pairs = plane.chunks_exact(2 * LANES);
        for pair in &mut pairs {
            for half in 0..2 {
                for lane in 0..LANES {
                    let value = pair[half * LANES + lane];
                    sums[half][lane] += value;
                    maxima[half][lane] = larger(maxima[half][lane], value);
                }
            }
        }
        for (at, &value) in pairs.remainder().iter().enumerate() {
            let (half, lane) = (at / LANES, at % LANES);
            sums[half][lane] += value;
            maxima[half][lane] = larger(maxima[half][lane], value);
        }
        *mean = sums.iter().flatten().sum::<f32>() * inverse;
        *max = maxima.iter().flatten().fold(f32::NEG_INFINITY, |a, &b| larger(a, b));
    }
}

/// The MLP, of means and maxima, and the sigmoid of the sum of both.
#[inline(always)]
fn channel_weights<const FMA: bool>(weights: Weights<'_>, scratch: &mut Scratch) {
    let Scratch { mean, max, weight, hidden, .. } = scratch;
    let (channels, width) = (mean.len(), hidden.len());
    // The second layer is linear, so that it takes both at once.
    for (hidden, row) in hidden.iter_mut().zip(weights.squeeze.chunks_exact(channels)) {
        *hidden = relu(dot::<FMA>(row, mean)) + relu(dot::<FMA>(row, max));
    }
    for (weight, row) in weight.iter_mut().zip(weights.excite.chunks_exact(width)) {
        *weight = dot::<FMA>(row, hidden);
    }
    sigmoid::<FMA>(weight);
}

/// Sum and maximum over the channels of `x[c, p] s[c]`.
#[inline(always)]
fn over_channels<const FMA: bool>(
    x: &[f32],
    area: usize,
    weight: &[f32],
    sums: &mut [f32],
    maxima: &mut [f32],
) {
    const TOGETHER: usize = 4;
    sums.fill(0.0);
    maxima.fill(f32::NEG_INFINITY);
    let groups = x.chunks_exact(TOGETHER * area);
    let rest = groups.remainder();
    let (whole, single) = weight.split_at(weight.len() - rest.len() / area);
    for (group, weight) in groups.zip(whole.chunks_exact(TOGETHER)) {
        let (a, b) = group.split_at(2 * area);
        let ((a, b), (c, d)) = (a.split_at(area), b.split_at(area));
        let planes = a.iter().zip(b).zip(c.iter().zip(d));
        for ((sum, max), ((a, b), (c, d))) in sums.iter_mut().zip(maxima.iter_mut()).zip(planes) {
            let (a, b, c, d) = (a * weight[0], b * weight[1], c * weight[2], d * weight[3]);
            *sum += (a + b) + (c + d);
            *max = larger(larger(larger(a, b), larger(c, d)), *max);
        }
    }
    for (plane, weight) in rest.chunks_exact(area).zip(single) {
        for ((sum, max), x) in sums.iter_mut().zip(maxima.iter_mut()).zip(plane) {
            let value = x * weight;
            *sum += value;
            *max = larger(*max, value);
        }
    }
}

/// Means and maxima into planes with a border, which stays zero.
#[inline(always)]
fn spread(sizes: Sizes, scratch: &mut Scratch) {
    let (rows, stride) = padded(sizes);
    let border = sizes.kernel / 2;
    let inverse = 1.0 / sizes.channels as f32;
    let (means, maxima) = scratch.planes.split_at_mut(rows * stride);
    let inside = |plane: usize| (plane + border) * stride + border;
    for (row, values) in scratch.sums.chunks_exact(sizes.width).enumerate() {
        for (place, value) in means[inside(row)..].iter_mut().zip(values) {
            *place = value * inverse;
        }
    }
    for (row, values) in scratch.maxima.chunks_exact(sizes.width).enumerate() {
        maxima[inside(row)..][..sizes.width].copy_from_slice(values);
    }
}

/// The sigmoid of the convolution over both planes.
#[inline(always)]
fn mask<const FMA: bool>(sizes: Sizes, conv: &[f32], planes: &[f32], mask: &mut [f32]) {
    let Sizes { width, kernel, .. } = sizes;
    let (rows, stride) = padded(sizes);
    for (band, mask) in mask.chunks_mut(ROWS * width).enumerate() {
        for left in (0..width).step_by(LANES) {
            let mut sums = [[0.0; LANES]; ROWS];
            for (plane, taps) in planes.chunks_exact(rows * stride).zip(conv.chunks_exact(kernel * kernel)) {
                for (dy, taps) in taps.chunks_exact(kernel).enumerate() {
                    for (dx, &tap) in taps.iter().enumerate() {
                        for (row, sums) in sums.iter_mut().enumerate() {
                            let start = (band * ROWS + dy + row) * stride + left + dx;
                            let values: &Block = plane[start..][..LANES].try_into().expect("a block");
                            for (sum, value) in sums.iter_mut().zip(values) {
                                *sum = fused::<FMA>(*value, tap, *sum);
                            }
                        }
                    }
                }
            }
            let columns = LANES.min(width - left);
            for (row, sums) in mask.chunks_exact_mut(width).zip(&sums) {
                row[left..][..columns].copy_from_slice(&sums[..columns]);
            }
        }
    }
    sigmoid::<FMA>(mask);
}

#[inline(always)]
fn dot<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    let (left, right) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = left.remainder().iter().zip(right.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in left.zip(right) {
        for lane in 0..LANES {
            sums[lane] = fused::<FMA>(a[lane], b[lane], sums[lane]);
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// `1 / (1 + exp(-x))` in place, within 1e-7.
///
/// Below -18 it is 0, as ONNX Runtime has it: infinity is no number then, there and here.
#[inline(always)]
fn sigmoid<const FMA: bool>(values: &mut [f32]) {
    let mut blocks = values.chunks_exact_mut(LANES);
    for block in &mut blocks {
        for value in block {
            *value = logistic::<FMA>(*value);
        }
    }
    for value in blocks.into_remainder() {
        *value = logistic::<FMA>(*value);
    }
}

#[inline(always)]
fn logistic<const FMA: bool>(x: f32) -> f32 {
    const LIMIT: f32 = 18.0;
    // Comparisons, and not `clamp`, let NaN through.
    let x = if x > LIMIT { LIMIT } else { x };
    let x = if x < -LIMIT { -LIMIT } else { x };
    let value = 1.0 / (1.0 + exp::<FMA>(-x));
    if x <= -LIMIT { 0.0 } else { value }
}

/// The exponential of what is between -18 and 18: `2^n e^r` with `n` whole and `r` at most half of `ln 2`, whose series
/// ends with the sixth power.
#[inline(always)]
fn exp<const FMA: bool>(x: f32) -> f32 {
    /// Adding it rounds to whole numbers, which are then the lowest bits.
    const MAGIC: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let shifted = fused::<FMA>(x, std::f32::consts::LOG2_E, MAGIC);
    let n = shifted - MAGIC;
    let r = fused::<FMA>(n, -LN_2_LOW, fused::<FMA>(n, -LN_2_HIGH, x));
    let series = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    let power = series.into_iter().fold(0.0, |sum, factor| fused::<FMA>(sum, r, factor));
    // The exponent of n; of NaN it does not matter, for the power is NaN too.
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()));
    power * scale
}

#[inline(always)]
fn fused<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    // Without the instruction, `mul_add` is a function call.
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// What is not a number may be lost here, but is in the mean too, from where it comes to all values.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
fn relu(x: f32) -> f32 {
    // NaN stays.
    if x < 0.0 { 0.0 } else { x }
}
