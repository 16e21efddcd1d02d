//! TIFF images with one sample of few bits for a pixel: colour tables, and gray of 2 or 4 bits.

use std::io::Cursor;

use image::{ImageFormat, Rgb, RgbImage};
use tiff::decoder::{Decoder, DecodingResult};

use super::super::directory::Directory;
use super::super::error::damaged;
use super::super::{Limits, Result};
use super::{BITS_PER_SAMPLE, PHOTOMETRIC};

const WIDTH: u16 = 256;
const HEIGHT: u16 = 257;
const COLOR_MAP: u16 = 320;

/// Value of the photometric interpretation for gray where 0 is black.
const BLACK_IS_ZERO: u8 = 1;

/// Decodes the samples as numbers and looks their colours up; `photometric` is 0 or 1 for gray, 3 for a colour table.
pub(super) fn decode(
    encoded: &[u8],
    directory: &Directory,
    photometric: u64,
    limits: &Limits,
) -> Result<RgbImage> {
    let wrong = |reason: &str| damaged(ImageFormat::Tiff, reason);
    let side = |tag| directory.number(tag).and_then(|side| u32::try_from(side).ok());
    let (Some(width), Some(height)) = (side(WIDTH), side(HEIGHT)) else {
        return Err(wrong("it has no size"));
    };
    limits.check(width, height, 3)?;
    let bits = directory.number(BITS_PER_SAMPLE).unwrap_or(1) as u32;
    let colors =
        colors(directory, photometric, bits).ok_or_else(|| wrong("its colour table is incomplete"))?;
    let samples = samples(encoded, directory, limits).map_err(|error| damaged(ImageFormat::Tiff, error))?;
    // Rows begin with a byte.
    let row = (width as usize * bits as usize).div_ceil(8);
    if samples.len() < row * height as usize {
        return Err(wrong("pixels are missing"));
    }
    Ok(RgbImage::from_fn(width, height, |x, y| {
        let bit = x as usize * bits as usize;
        let byte = u32::from(samples[y as usize * row + bit / 8]);
        let index = byte >> (8 - bits as usize - bit % 8) & ((1 << bits) - 1);
        Rgb(colors[index as usize])
    }))
}

/// Colour of each value.
fn colors(directory: &Directory, photometric: u64, bits: u32) -> Option<Vec<[u8; 3]>> {
    let count = 1usize << bits;
    let gray = |index: usize| [(index * 255 / (count - 1)) as u8; 3];
    match photometric {
        0 => Some((0..count).rev().map(gray).collect()),
        1 => Some((0..count).map(gray).collect()),
        _ => {
            // All reds, all greens, all blues, of 16 bits each.
            let map = directory.numbers(COLOR_MAP).filter(|map| map.len() == 3 * count)?;
            Some(
                (0..count)
                    .map(|index| [0, 1, 2].map(|color| (map[color * count + index] >> 8) as u8))
                    .collect(),
            )
        }
    }
}

/// Unpacked samples; the decoder is told that they are gray, for it knows no colour tables.
fn samples(
    encoded: &[u8],
    directory: &Directory,
    limits: &Limits,
) -> std::result::Result<Vec<u8>, tiff::TiffError> {
    let mut gray = encoded.to_vec();
    if let Some(value) = directory.position(PHOTOMETRIC) {
        gray[value] = BLACK_IS_ZERO;
    }
    let mut allocation = tiff::decoder::Limits::default();
    allocation.decoding_buffer_size = limits.max_bytes as usize;
    let mut decoder = Decoder::new(Cursor::new(gray))?.with_limits(allocation);
    match decoder.read_image()? {
        DecodingResult::U8(samples) => Ok(samples),
        _ => Ok(Vec::new()),
    }
}
