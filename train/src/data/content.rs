//! Digests of image files and of pixels, by which equal content is found.

use std::fmt;
use std::str::FromStr;

use image::RgbImage;
use sha2::{Digest as _, Sha256};

/// Digest of content: the first 128 bits of its SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(u128);

impl Digest {
    /// Digest of the bytes of a file.
    pub fn of_file(encoded: &[u8]) -> Self {
        Self::first(Sha256::new().chain_update(encoded))
    }

    /// Digest of pixels and their size, whatever the format of the file.
    pub fn of_pixels(image: &RgbImage) -> Self {
        let sides = [image.width(), image.height()].map(u32::to_le_bytes);
        Self::first(Sha256::new().chain_update(sides.as_flattened()).chain_update(image.as_raw()))
    }

    fn first(hasher: Sha256) -> Self {
        let digest = hasher.finalize();
        Self(digest.iter().take(16).fold(0, |number, &byte| number << 8 | u128::from(byte)))
    }
}

/// First 64 bits of a SHA-256 as 16 hexadecimal digits, for digests of names.
pub(crate) fn short_hex(hasher: Sha256) -> String {
    hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Writes 32 hexadecimal digits.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Text that is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected 32 hexadecimal digits")]
pub struct ParseDigestError;

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten().map(Self).ok_or(ParseDigestError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_the_beginning_of_sha256() {
        let digest = Digest::of_file(b"abc");
        assert_eq!(digest.to_string(), "ba7816bf8f01cfea414140de5dae2223");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for wrong in ["", "ba78", "+a7816bf8f01cfea414140de5dae2223", &"g".repeat(32)] {
            assert_eq!(wrong.parse::<Digest>(), Err(ParseDigestError), "{wrong}");
        }
    }

    #[test]
    fn the_size_belongs_to_the_pixels() {
        let [wide, high] =
            [(4, 1), (1, 4)].map(|(width, height)| Digest::of_pixels(&RgbImage::new(width, height)));
        assert_ne!(wide, high);
    }
}
