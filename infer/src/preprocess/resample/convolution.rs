//! Resampling by convolution in fixed-point numbers along rows and along columns, with bytes in between, as in
//! [Pillow](https://github.com/python-pillow/Pillow/blob/13.0.0/src/libImaging/Resample.c).

use std::f64::consts::PI;
use std::ops::Range;

use fearless_simd::{Level, Simd, dispatch};

use super::Axis;
use crate::preprocess::CHANNELS;

/// Bits behind the point of a weight; a byte and a sum of weights up to two have room above it.
const PRECISION: u32 = 32 - 8 - 2;

/// Resampling filter: a weight for each distance up to `support`, in pixels.
pub(super) struct Kernel {
    pub(super) weight: fn(f64) -> f64,
    pub(super) support: f64,
    /// True if the filter grows with the reduction.
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

/// Rows that are convolved side by side.
const LANES: usize = 16;

/// Bytes at the same place of so many rows.
type Lanes = [u8; LANES];

/// Resamples `pixels`, `[rows, columns, 3]`.
pub(super) fn resample(pixels: &[u8], columns: Axis, rows: Axis, kernel: &Kernel) -> Vec<u8> {
    let (across, down) = (taps(columns, kernel), taps(rows, kernel));
    let row = columns.original as usize * CHANNELS;
    let used = used(&down);
    let pixels = &pixels[used.start * row..used.end * row];
    dispatch!(Level::new(), simd => if columns_first(columns, rows) {
        let shortened = along_columns(simd, pixels, row, used.start, &down);
        along_rows(simd, &shortened, row, &across)
    } else {
        let narrowed = along_rows(simd, pixels, row, &across);
        along_columns(simd, &narrowed, across.len() * CHANNELS, used.start, &down)
    })
}

/// Tells whether columns are convolved before rows: Pillow 13 does so where an image loses more than twice as many rows
/// as columns. The order shows in the rounding of the bytes in between.
fn columns_first(columns: Axis, rows: Axis) -> bool {
    let lost = |axis: Axis| {
        let original = f64::from(axis.original);
        original - (original / axis.scale()).round()
    };
    lost(rows) > 0.0 && lost(rows) > 2.0 * lost(columns)
}

/// Pixels of the original that make any of the new ones.
fn used(taps: &[Taps]) -> Range<usize> {
    let first = taps.iter().map(|taps| taps.first).min().unwrap_or(0);
    first..taps.iter().map(|taps| taps.range().end).max().unwrap_or(first)
}

/// Convolves each row of `row` bytes.
#[inline(always)] // compiled for each instruction set
fn along_rows<S: Simd>(simd: S, pixels: &[u8], row: usize, across: &[Taps]) -> Vec<u8> {
    simd.vectorize(
        #[inline(always)]
        || {
            let (used, new_row) = (used(across), across.len() * CHANNELS);
            let mut narrowed = vec![0; pixels.len() / row * new_row];
            let mut turned = vec![[0; LANES]; used.len() * CHANNELS];
            let blocks = pixels.chunks(LANES * row).zip(narrowed.chunks_mut(LANES * new_row));
            for (rows, new_rows) in blocks {
                turn(rows, row, used.start * CHANNELS, &mut turned);
                for (column, taps) in across.iter().enumerate() {
                    let from = &turned[(taps.first - used.start) * CHANNELS..];
                    for channel in 0..CHANNELS {
                        let bytes = weighted(from.iter().skip(channel).step_by(CHANNELS), &taps.weights);
                        for (new, byte) in new_rows.chunks_exact_mut(new_row).zip(bytes) {
                            new[column * CHANNELS + channel] = byte;
                        }
                    }
                }
            }
            narrowed
        },
    )
}

/// Weighted sums, rounded to bytes.
#[inline(always)]
fn weighted<'a>(values: impl Iterator<Item = &'a Lanes>, weights: &[i32]) -> Lanes {
    let mut sums = [HALF; LANES];
    for (lanes, weight) in values.zip(weights) {
        sums.iter_mut().zip(lanes).for_each(|(sum, byte)| *sum += i32::from(*byte) * weight);
    }
    sums.map(byte)
}

/// Transposes up to [`LANES`] rows of `row` bytes, from the byte `from` on; what is missing is copied from the first row.
#[inline(always)]
fn turn(rows: &[u8], row: usize, from: usize, turned: &mut [Lanes]) {
    const SIDE: usize = 8;
    let part = from..from + turned.len();
    let mut rows = rows.chunks_exact(row).map(|row| &row[part.clone()]);
    let first = rows.next().unwrap_or(&[]);
    let lines: [&[u8]; LANES] =
        std::array::from_fn(|lane| if lane == 0 { first } else { rows.next().unwrap_or(first) });
    let mut blocks = turned.chunks_exact_mut(SIDE);
    let mut at = 0;
    for block in &mut blocks {
        for lane in (0..LANES).step_by(SIDE) {
            let mut words: [[u8; SIDE]; SIDE] = [[0; SIDE]; SIDE];
            words
                .iter_mut()
                .zip(&lines[lane..])
                .for_each(|(word, line)| word.copy_from_slice(&line[at..at + SIDE]));
            let words = transposed(words.map(u64::from_le_bytes)).map(u64::to_le_bytes);
            block
                .iter_mut()
                .zip(words)
                .for_each(|(lanes, word)| lanes[lane..lane + SIDE].copy_from_slice(&word));
        }
        at += SIDE;
    }
    for (lanes, at) in blocks.into_remainder().iter_mut().zip(at..) {
        *lanes = lines.map(|line| line[at]);
    }
}

/// Transposes 8 x 8 bytes: halves, quarters and single bytes change places.
#[inline(always)]
fn transposed(mut words: [u64; 8]) -> [u64; 8] {
    const HALVES: [(usize, u64); 3] =
        [(4, 0x0000_0000_ffff_ffff), (2, 0x0000_ffff_0000_ffff), (1, 0x00ff_00ff_00ff_00ff)];
    for (step, low) in HALVES {
        for at in (0..8).filter(|at| at & step == 0) {
            let (a, b) = (words[at], words[at + step]);
            words[at] = (a & low) | ((b & low) << (8 * step));
            words[at + step] = ((a >> (8 * step)) & low) | (b & !low);
        }
    }
    words
}

/// Convolves the columns of `pixels`, rows of `row` bytes of which the first is `first` of the original.
#[inline(always)] // compiled for each instruction set
fn along_columns<S: Simd>(simd: S, pixels: &[u8], row: usize, first: usize, down: &[Taps]) -> Vec<u8> {
    simd.vectorize(
        #[inline(always)]
        || {
            let mut result = vec![0; down.len() * row];
            let mut sums = vec![0; row];
            for (new, taps) in result.chunks_exact_mut(row).zip(down) {
                sums.fill(HALF);
                let lines = pixels.chunks_exact(row).skip(taps.first - first);
                for (line, weight) in lines.zip(&taps.weights) {
                    sums.iter_mut().zip(line).for_each(|(sum, byte)| *sum += i32::from(*byte) * weight);
                }
                new.iter_mut().zip(&sums).for_each(|(new, sum)| *new = byte(*sum));
            }
            result
        },
    )
}

/// Half of a level, so that cutting off rounds to the nearest.
const HALF: i32 = 1 << (PRECISION - 1);

#[inline(always)]
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
