//! Resampling by convolution in fixed-point numbers: first along rows, then along columns, with bytes in between, as in
//! [Pillow](https://github.com/python-pillow/Pillow/blob/13.0.0/src/libImaging/Resample.c).

use std::f64::consts::PI;
use std::ops::Range;

use super::Axis;
use crate::preprocess::CHANNELS;

/// Bits behind the point of a weight; a byte and a sum of weights up to two have room above it.
const PRECISION: u32 = 32 - 8 - 2;

/// Resampling filter: a weight for each distance up to `support`, in pixels.
pub(super) struct Kernel {
    pub(super) weight: fn(f64) -> f64,
    pub(super) support: f64,
    /// Whether the filter grows with the reduction.
    pub(super) antialias: bool,
}

/// Triangle of the bilinear filter.
pub(super) fn triangle(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

/// Cubic filter with a = -0.5.
pub(super) fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    match x.abs() {
        x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
        _ => 0.0,
    }
}

/// Lanczos filter with a = 3.
pub(super) fn lanczos(x: f64) -> f64 {
    let sinc = |x: f64| if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) };
    if (-3.0..3.0).contains(&x) { sinc(x) * sinc(x / 3.0) } else { 0.0 }
}

/// Pixels of the original that make one new pixel, with their weights.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

impl Taps {
    fn range(&self) -> Range<usize> {
        self.first..self.first + self.weights.len()
    }
}

/// Resamples `pixels`, `[rows, columns, 3]`.
pub(super) fn resample(pixels: &[u8], columns: Axis, rows: Axis, kernel: &Kernel) -> Vec<u8> {
    let (across, down) = (taps(columns, kernel), taps(rows, kernel));
    let first = down.iter().map(|taps| taps.first).min().unwrap_or(0);
    let last = down.iter().map(|taps| taps.range().end).max().unwrap_or(0);
    let (length, new_length) = (columns.original as usize * CHANNELS, columns.size as usize * CHANNELS);
    let mut narrowed = vec![0; (last - first) * new_length];
    let lines = pixels.chunks_exact(length).skip(first);
    let mut planes = Default::default();
    for (line, new) in lines.zip(narrowed.chunks_exact_mut(new_length)) {
        along_row(line, &mut planes, &across, new);
    }
    let mut result = vec![0; rows.size as usize * new_length];
    let mut sums = vec![0; new_length];
    for (new, taps) in result.chunks_exact_mut(new_length).zip(&down) {
        sums.fill(HALF);
        let lines = narrowed.chunks_exact(new_length).skip(taps.first - first);
        for (line, weight) in lines.zip(&taps.weights) {
            sums.iter_mut().zip(line).for_each(|(sum, byte)| *sum += i32::from(*byte) * weight);
        }
        new.iter_mut().zip(&sums).for_each(|(new, sum)| *new = byte(*sum));
    }
    result
}

/// Convolves a row. Its channels are taken apart first, so that sums run over neighbouring values.
fn along_row(line: &[u8], planes: &mut [Vec<u8>; CHANNELS], across: &[Taps], new: &mut [u8]) {
    for (channel, plane) in planes.iter_mut().enumerate() {
        plane.clear();
        plane.extend(line.iter().skip(channel).step_by(CHANNELS));
    }
    for (new, taps) in new.chunks_exact_mut(CHANNELS).zip(across) {
        for (new, plane) in new.iter_mut().zip(&*planes) {
            let products = plane[taps.range()].iter().zip(&taps.weights);
            *new = byte(HALF + products.map(|(byte, weight)| i32::from(*byte) * weight).sum::<i32>());
        }
    }
}

/// Half of a level, so that cutting off rounds to the nearest.
const HALF: i32 = 1 << (PRECISION - 1);

fn byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// Taps of each new pixel; the weights of a pixel add up to one.
fn taps(axis: Axis, kernel: &Kernel) -> Vec<Taps> {
    let scale = axis.scale();
    let stretch = if kernel.antialias { scale.max(1.0) } else { 1.0 };
    let support = kernel.support * stretch;
    let new = |at: u32| {
        let centre = axis.from + (f64::from(at) + 0.5) * scale;
        let first = (centre - support + 0.5).max(0.0) as usize;
        let end = ((centre + support + 0.5) as usize).min(axis.original as usize);
        let distance = |pixel: usize| (pixel as f64 - centre + 0.5) * (1.0 / stretch);
        let weights: Vec<f64> = (first..end).map(|pixel| (kernel.weight)(distance(pixel))).collect();
        let sum: f64 = weights.iter().sum();
        let fixed = |weight: f64| {
            let scaled = weight / sum * f64::from(1 << PRECISION);
            (scaled + if scaled < 0.0 { -0.5 } else { 0.5 }) as i32
        };
        Taps { first, weights: weights.into_iter().map(fixed).collect() }
    };
    (0..axis.size).map(new).collect()
}
