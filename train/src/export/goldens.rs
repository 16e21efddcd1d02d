//! Pictures for the certificate.
//!
//! They are made up, so that nobody's photographs travel inside a file that is handed on.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{ImageFormat, ImageResult, Rgb, RgbImage};
use infer::decode;
use models::Module;
use models::certificate::{Bytes, Golden};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::ExportError;
use super::reference::Reference;

/// A picture in the making: width and height in hundredths of the input's side, points of random colour across it,
/// and how it is encoded. One fits as it is; the others are scaled down and up, and cropped in both directions.
const PICTURES: [([u32; 2], u32, ImageFormat); 4] = [
    ([100, 100], 3, ImageFormat::Png),
    ([210, 160], 5, ImageFormat::Jpeg),
    ([70, 90], 9, ImageFormat::Png),
    ([130, 300], 4, ImageFormat::Jpeg),
];

/// Quality of JPEGs, of 100.
const QUALITY: u8 = 90;

/// Pictures with all that the network on libtorch makes of them.
pub(super) fn make(reference: &Reference<'_, impl Module>) -> Result<Vec<Golden>, ExportError> {
    let preprocessor = &reference.preprocessor;
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut goldens = Vec::with_capacity(PICTURES.len());
    for (size, points, format) in PICTURES {
        let [width, height] = size.map(|hundredths| (preprocessor.size() * hundredths).div_ceil(100));
        let colours = RgbImage::from_fn(points, points, |_, _| Rgb(rng.random()));
        let picture = imageops::resize(&colours, width, height, FilterType::Triangle);
        let picture = encoded(&picture, format)?;
        let prepared = preprocessor.prepare(&decode::bytes(&picture)?);
        let logits = reference.logits(std::slice::from_ref(&prepared))?;
        goldens.push(Golden {
            picture: Bytes(picture),
            prepared: Bytes(encoded(&prepared, ImageFormat::Png)?),
            logits: logits.into_iter().collect(),
        });
    }
    Ok(goldens)
}

fn encoded(picture: &RgbImage, format: ImageFormat) -> ImageResult<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    match format {
        ImageFormat::Jpeg => {
            picture.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, QUALITY))?;
        }
        _ => picture.write_to(&mut bytes, format)?,
    }
    Ok(bytes.into_inner())
}
