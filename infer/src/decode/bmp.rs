//! Checks of BMP files that the decoder of the crate `image` lacks.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use super::DecodeError;

/// Position of the field with the position of the pixels.
const OFFSET: usize = 10;

/// Sizes of the headers that have all the fields used here.
const HEADERS: RangeInclusive<u32> = 40..=124;

/// Mark of the end of run-length codes.
const END: [u8; 2] = [0, 1];

/// Checks that run-length codes reach the end of the image, and corrects a position of the pixels that is a wrong one.
///
/// # Errors
/// [`DecodeError::Truncated`]
pub(super) fn corrected(encoded: &[u8]) -> Result<Cow<'_, [u8]>, DecodeError> {
    let field =
        |at: usize| encoded.get(at..at + 4).and_then(|four| Some(u32::from_le_bytes(four.try_into().ok()?)));
    let fields = [OFFSET, 14, 18, 22, 30, 46].map(field);
    let [Some(offset), Some(header), Some(width), Some(height), Some(compression), Some(used)] = fields
    else {
        return Ok(encoded.into());
    };
    let bits = encoded[28];
    if !HEADERS.contains(&header) || !matches!(bits, 1 | 2 | 4 | 8) {
        return Ok(encoded.into());
    }
    if matches!((compression, bits), (1, 8) | (2, 4)) {
        let data = encoded.get(offset as usize..).unwrap_or_default();
        if !reaches_end(data, bits, width, height) {
            return Err(DecodeError::Truncated { format: "BMP".into() });
        }
        // The mark of the end may be missing when all pixels are there.
        return Ok([encoded, &END].concat().into());
    }
    let colors = if used == 0 { 1 << bits } else { used.min(256) };
    // The colour table lies between the header and the pixels, so that they cannot begin here.
    if offset == 14 + header {
        let mut corrected = encoded.to_vec();
        corrected[OFFSET..OFFSET + 4].copy_from_slice(&(offset + 4 * colors).to_le_bytes());
        return Ok(corrected.into());
    }
    Ok(encoded.into())
}

/// Tells whether run-length codes have an end, or give all pixels.
fn reaches_end(mut data: &[u8], bits: u8, width: u32, height: u32) -> bool {
    let (mut x, mut y) = (0u32, 0u32);
    while y < height && (y + 1 < height || x < width) {
        let (skipped, right, down) = match *data {
            [0, 0, ..] => (2, 0, 1),
            [0, 1, ..] => return true,
            [0, 2, right, down, ..] => (4, right, down),
            // Literal pixels fill whole words.
            [0, count, ..] if count > 2 => {
                (2 + (usize::from(count) * usize::from(bits)).div_ceil(16) * 2, count, 0)
            }
            [count, _, ..] if count > 0 => (2, count, 0),
            _ => return false,
        };
        x = if matches!(data, [0, 0, ..]) { 0 } else { x.saturating_add(right.into()) };
        y = y.saturating_add(down.into());
        let Some(rest) = data.get(skipped..) else { return false };
        data = rest;
    }
    true
}
