//! Test images of the certificate.
//!
//! They are generated, so that no photograph of a user is in the file.

use std::io::Cursor;

use ferronnx_infer::decode;
use ferronnx_models::Module;
use ferronnx_models::certificate::{Bytes, Golden};
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{ImageFormat, ImageResult, Rgb, RgbImage};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::ExportError;
use super::reference::Reference;

/// Recipe of a generated image: width and height in hundredths of the input's side, points of random colour across
/// it, and encoding. One fits as it is; the others are scaled down and up, and cropped in both directions.
const IMAGES: [([u32; 2], u32, ImageFormat); 4] = [
    ([100, 100], 3, ImageFormat::Png),
    ([210, 160], 5, ImageFormat::Jpeg),
    ([70, 90], 9, ImageFormat::Png),
    ([130, 300], 4, ImageFormat::Jpeg),
];

/// Quality of JPEGs, of 100.
const QUALITY: u8 = 90;

/// Generates the images with their cropped bytes and libtorch's logits.
pub(super) fn make(reference: &Reference<'_, impl Module>) -> Result<Vec<Golden>, ExportError> {
    let preprocessor = &reference.preprocessor;
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut goldens = Vec::with_capacity(IMAGES.len());
    for (size, points, format) in IMAGES {
        let [width, height] = size.map(|hundredths| (preprocessor.size().height * hundredths).div_ceil(100));
        let colours = RgbImage::from_fn(points, points, |_, _| Rgb(rng.random()));
        let image = imageops::resize(&colours, width, height, FilterType::Triangle);
        let image = encoded(&image, format)?;
        let prepared = preprocessor.prepare(&decode::bytes(&image)?);
        let logits = reference.logits(std::slice::from_ref(&prepared))?;
        goldens.push(Golden {
            image: Bytes(image),
            prepared: Bytes(encoded(&prepared, ImageFormat::Png)?),
            logits: logits.into_iter().collect(),
        });
    }
    Ok(goldens)
}

fn encoded(image: &RgbImage, format: ImageFormat) -> ImageResult<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    match format {
        ImageFormat::Jpeg => {
            image.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, QUALITY))?;
        }
        _ => image.write_to(&mut bytes, format)?,
    }
    Ok(bytes.into_inner())
}
