//! JPEG decoder (ITU-T T.81).
//!
//! The pixels come from one of two crates. `zune-jpeg`, through `image`, is the faster one. `jpeg-decoder` reads what
//! `zune-jpeg` gets wrong: components in scans of their own, and rare sampling factors. Both fill with gray what they
//! cannot read, so that the whole file is walked through before (`scan`).

mod frame;
mod huffman;
mod scan;
mod standard;
#[cfg(feature = "formats")]
mod unusual;

use image::{ColorType, ImageFormat, RgbImage};

use super::error::{DecodeError, unsupported};
use super::{Decoded, Limits, Result, Stored, opaque, orientation, read};
use frame::{Component, Frame};
use huffman::{Codes, is_marker};
use scan::{Scan, Tables};
#[cfg(feature = "formats")]
use unusual::decode as unusual;

/// Most scans of one file, a limit for malicious ones.
const MAX_SCANS: usize = 100;

/// Damage of a JPEG that a decoder would pass over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damage {
    #[error("the file ends within the image")]
    Truncated,
    #[error("a header contradicts itself")]
    Header,
    #[error("a table is missing or wrong")]
    Table,
    #[error("a Huffman code does not exist")]
    Code,
    #[error("a block has impossible coefficients")]
    Coefficient,
    #[error("pixels are missing")]
    EndsEarly,
    #[error("there is more data than pixels")]
    Left,
    #[error("a restart marker is missing")]
    Restart,
    #[error("scans are missing")]
    Scans,
}

impl From<Damage> for DecodeError {
    fn from(damage: Damage) -> Self {
        let format = "JPEG".into();
        match damage {
            Damage::Truncated => Self::Truncated { format },
            damage => Self::Damaged { format, reason: damage.to_string() },
        }
    }
}

impl From<Damage> for crate::Error {
    fn from(damage: Damage) -> Self {
        DecodeError::from(damage).into()
    }
}

/// Decodes a JPEG.
pub(super) fn decode(encoded: &[u8], limits: &Limits) -> Result<Decoded> {
    let checked = check(encoded, limits)?;
    let image = if checked.is_usual {
        let image = usual(encoded, limits);
        // `zune-jpeg` is stricter than libjpeg in a few headers.
        image.or_else(|error| unusual(encoded, limits).map_err(|_| error))?
    } else {
        unusual(encoded, limits)?
    };
    let stored =
        Stored::new(ImageFormat::Jpeg, if checked.is_gray { ColorType::L8 } else { ColorType::Rgb8 });
    Ok(Decoded { image, stored }.upright(orientation::of(checked.exif, checked.xmp)))
}

/// Decodes with `zune-jpeg`.
#[cfg(not(feature = "libjpeg"))]
fn usual(encoded: &[u8], limits: &Limits) -> Result<RgbImage> {
    read(ImageFormat::Jpeg, encoded, limits).map(|(image, _)| opaque(image))
}

/// Decodes with libjpeg-turbo's code. Its errors are panics, which [`guard`](super::guard) catches.
#[cfg(feature = "libjpeg")]
fn usual(encoded: &[u8], limits: &Limits) -> Result<RgbImage> {
    let failed = |error: std::io::Error| super::error::damaged(ImageFormat::Jpeg, error);
    let decoder = mozjpeg::Decompress::new_mem(encoded).map_err(failed)?;
    if decoder.components().len() > 3 {
        return read(ImageFormat::Jpeg, encoded, limits).map(|(image, _)| opaque(image));
    }
    let [width, height] = [decoder.width(), decoder.height()].map(|side| side as u32);
    limits.check(width, height, 3)?;
    let mut decoder = decoder.rgb().map_err(failed)?;
    let pixels = decoder.read_scanlines::<u8>().map_err(failed)?;
    let image = RgbImage::from_raw(width, height, pixels);
    image.ok_or_else(|| super::error::damaged(ImageFormat::Jpeg, "pixels are missing"))
}

/// Refuses what only `jpeg-decoder` reads.
#[cfg(not(feature = "formats"))]
fn unusual(_: &[u8], _: &Limits) -> Result<RgbImage> {
    Err(DecodeError::UnsupportedFormat { format: "JPEG with unusual scans", feature: Some("formats") }.into())
}

/// Result of a walk through a whole JPEG.
pub(super) struct Checked<'a> {
    /// EXIF block.
    exif: Option<&'a [u8]>,
    /// XMP packet.
    xmp: Option<&'a [u8]>,
    /// True if `zune-jpeg` reads the layout right.
    pub(super) is_usual: bool,
    /// True if there is one component.
    is_gray: bool,
}

/// Walks through a JPEG.
///
/// # Errors
/// [`DecodeError`] for damage and for the kinds of JPEG that no decoder here reads;
/// [`TooLarge`](crate::ErrorKind::TooLarge).
pub(super) fn check<'a>(encoded: &'a [u8], limits: &Limits) -> Result<Checked<'a>> {
    let mut walk = Walk { encoded, at: 2, limits: *limits, ..Walk::default() };
    loop {
        let marker = walk.marker()?;
        match marker {
            0xd8 => return Err(Damage::Header.into()),
            0xd9 => break,
            0x01 | 0xd0..=0xd7 => continue,
            _ => {}
        }
        let segment = walk.segment()?;
        match marker {
            0xc4 => walk.huffman_tables(segment)?,
            0xc0..=0xcf if !matches!(marker, 0xc8 | 0xcc) => walk.frame(marker, segment)?,
            0xda => walk.scan(segment)?,
            0xdb => walk.quantization_tables(segment)?,
            0xdd => {
                walk.restart_interval =
                    segment.first_chunk().map_or(0, |&two| u16::from_be_bytes(two).into());
            }
            0xe1 => walk.metadata(segment),
            _ => {}
        }
    }
    let frame = walk.frame.ok_or(Damage::Header)?;
    if !frame.is_complete() {
        return Err(Damage::Scans.into());
    }
    let is_usual = is_usual(&frame, walk.scans, walk.restart_interval > 0);
    let most = frame.most_sampling();
    // `jpeg-decoder` gets factors between wrong where a component has a scan of its own.
    let is_plain = |one: &Component| (0..2).all(|axis| [1, most[axis]].contains(&one.sampling[axis]));
    if !is_usual && !frame.components.iter().all(is_plain) {
        return Err(unsupported("JPEG", "JPEG with rare sampling factors"));
    }
    Ok(Checked { exif: walk.exif, xmp: walk.xmp, is_usual, is_gray: frame.components.len() == 1 })
}

/// Tells whether `zune-jpeg` reads the layout right, as `tests/decoders` found.
fn is_usual(frame: &Frame, scans: usize, has_restarts: bool) -> bool {
    let most = frame.most_sampling();
    let first = frame.components[0].sampling;
    let has_one_row = matches!(most, [1 | 2, 1]) && !has_restarts;
    (frame.progressive || scans == 1 || has_one_row)
        && (frame.components.len() == 1 || first == most)
        && frame.components.iter().all(|one| !one.sampling.contains(&3))
}

/// State of a walk.
#[derive(Default)]
struct Walk<'a> {
    encoded: &'a [u8],
    limits: Limits,
    at: usize,
    frame: Option<Frame>,
    tables: Tables,
    /// Steps of the DC coefficient, by the numbers of the quantisation tables.
    quanta: [Option<u32>; 4],
    restart_interval: usize,
    scans: usize,
    exif: Option<&'a [u8]>,
    xmp: Option<&'a [u8]>,
}

impl<'a> Walk<'a> {
    /// Goes behind the next marker; what lies before it is skipped, as libjpeg does.
    fn marker(&mut self) -> std::result::Result<u8, Damage> {
        let rest = &self.encoded[self.at..];
        let position = rest.windows(2).position(is_marker).ok_or(Damage::Truncated)?;
        self.at += position + 2;
        Ok(rest[position + 1])
    }

    /// Takes the segment of the marker that was read.
    fn segment(&mut self) -> std::result::Result<&'a [u8], Damage> {
        let rest = &self.encoded[self.at..];
        let length = usize::from(u16::from_be_bytes(*rest.first_chunk().ok_or(Damage::Truncated)?));
        if length < 2 {
            return Err(Damage::Header);
        }
        let segment = rest.get(2..length).ok_or(Damage::Truncated)?;
        self.at += length;
        Ok(segment)
    }

    fn metadata(&mut self, segment: &'a [u8]) {
        self.exif = self.exif.or_else(|| segment.strip_prefix(b"Exif\0\0"));
        self.xmp = self.xmp.or_else(|| segment.strip_prefix(b"http://ns.adobe.com/xap/1.0/\0"));
    }

    fn huffman_tables(&mut self, mut segment: &[u8]) -> std::result::Result<(), Damage> {
        while let [target, rest @ ..] = segment {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or(Damage::Table)?;
            let symbols = counts.iter().map(|&count| usize::from(count)).sum();
            let (symbols, rest) = rest.split_at_checked(symbols).ok_or(Damage::Table)?;
            let is_ac = target >> 4 != 0;
            let tables = if is_ac { &mut self.tables.ac } else { &mut self.tables.dc };
            let table = tables.get_mut(usize::from(target & 15)).ok_or(Damage::Table)?;
            *table = Some(Codes::new(counts, symbols, is_ac)?);
            segment = rest;
        }
        Ok(())
    }

    fn quantization_tables(&mut self, mut segment: &[u8]) -> std::result::Result<(), Damage> {
        while let [target, rest @ ..] = segment {
            let is_wide = target >> 4 == 1;
            let quantum = self.quanta.get_mut(usize::from(target & 15)).ok_or(Damage::Table)?;
            let (table, rest) = rest.split_at_checked(if is_wide { 128 } else { 64 }).ok_or(Damage::Table)?;
            *quantum =
                Some(if is_wide { u16::from_be_bytes([table[0], table[1]]).into() } else { table[0].into() });
            segment = rest;
        }
        Ok(())
    }

    fn frame(&mut self, marker: u8, segment: &[u8]) -> Result<()> {
        let refused = match marker {
            0xc0..=0xc2 => None,
            0xc3 => Some("lossless JPEG"),
            0xc5..=0xc7 => Some("hierarchical JPEG"),
            _ => Some("arithmetic-coded JPEG"),
        };
        if let Some(kind) = refused {
            return Err(unsupported("JPEG", kind));
        }
        let &[precision, h1, h0, w1, w0, count, ref rest @ ..] = segment else {
            return Err(Damage::Header.into());
        };
        if precision != 8 {
            return Err(unsupported("JPEG", format!("JPEG with {precision} bits per sample")));
        }
        let [width, height] = [[w1, w0], [h1, h0]].map(u16::from_be_bytes);
        if height == 0 {
            return Err(unsupported("JPEG", "JPEG that gives its height after the image"));
        }
        if self.frame.is_some() || width == 0 || rest.len() < 3 * usize::from(count) {
            return Err(Damage::Header.into());
        }
        if !matches!(count, 1 | 3 | 4) {
            return Err(unsupported("JPEG", format!("JPEG with {count} components")));
        }
        self.limits.check(width.into(), height.into(), 3)?;
        let component = |one: &[u8]| (one[0], [one[1] >> 4, one[1] & 15].map(usize::from), one[2]);
        let components: Vec<_> = rest.chunks_exact(3).take(count.into()).map(component).collect();
        if components.iter().any(|(_, sampling, _)| sampling.iter().any(|factor| !(1..=4).contains(factor))) {
            return Err(Damage::Header.into());
        }
        self.frame = Some(Frame::new(marker == 0xc2, [width, height].map(usize::from), &components));
        Ok(())
    }

    fn scan(&mut self, segment: &[u8]) -> std::result::Result<(), Damage> {
        if self.tables.is_empty() {
            self.huffman_tables(&standard::TABLES)?;
        }
        let frame = self.frame.as_mut().ok_or(Damage::Header)?;
        let scan = Scan::read(frame, segment)?;
        self.scans += 1;
        if self.scans > MAX_SCANS {
            return Err(Damage::Header);
        }
        for &(index, ..) in &scan.components {
            let component = &mut frame.components[index];
            let quantum = self.quanta.get(usize::from(component.table)).copied().flatten();
            component.quantum = quantum.filter(|&quantum| quantum > 0).ok_or(Damage::Table)?;
        }
        frame.give(&scan)?;
        self.at += scan::walk(frame, &scan, &self.tables, self.restart_interval, &self.encoded[self.at..])?;
        Ok(())
    }
}
