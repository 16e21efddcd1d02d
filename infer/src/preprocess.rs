//! Preprocessing: from an RGB8 image to the network's input, as the model card says.
//!
//! The steps are torchvision's `Resize(size)`, `CenterCrop(crop)`, `ToTensor()`, `Normalize(mean, std)`, with Pillow's
//! results. Training's evaluation and inference use this one implementation.

use std::borrow::Borrow;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use ferronnx_models::card::{ColorOrder, InputForm, Preprocessing, ResizeFilter};
use image::RgbImage;
use ndarray::Array4;

use crate::session::Input;

/// Channels of an image and of the network's input.
pub const CHANNELS: usize = 3;

/// Preprocessing steps of a model: resize, crop and normalise.
#[derive(Debug, Clone)]
pub struct Preprocessor {
    resize: u32,
    crop: u32,
    filter: FilterType,
    mean: [f32; CHANNELS],
    std: [f32; CHANNELS],
    /// Normalised value of each of the 256 byte values, per channel.
    normalized: [[f32; 256]; CHANNELS],
}

/// Batch of images in the form that a model's input takes.
#[derive(Debug, Clone, PartialEq)]
pub enum Batch {
    /// Normalised images, `[N, C, H, W]`.
    Float(Array4<f32>),
    /// Images as bytes, `[N, H, W, C]`: the model normalises them itself.
    Bytes(Array4<u8>),
}

impl<'a> From<&'a Batch> for Input<'a> {
    fn from(batch: &'a Batch) -> Self {
        match batch {
            Batch::Float(values) => values.view().into(),
            Batch::Bytes(values) => values.view().into(),
        }
    }
}

impl Preprocessor {
    /// Prepares the steps that `preprocessing` describes.
    ///
    /// # Panics
    /// When the crop is empty or larger than the resized image; [`ModelCard`](ferronnx_models::card::ModelCard) refuses
    /// such cards.
    pub fn new(preprocessing: &Preprocessing) -> Self {
        let Preprocessing { color: ColorOrder::Rgb, filter, resize, crop, mean, std } = *preprocessing;
        assert!(0 < crop && crop <= resize, "a crop of {crop} from a shorter side of {resize}");
        let filter = match filter {
            ResizeFilter::BilinearAntialias => FilterType::Bilinear,
        };
        let normalized = std::array::from_fn(|channel| {
            std::array::from_fn(|value| (value as f32 / 255.0 - mean[channel]) / std[channel])
        });
        Self { resize, crop, filter, mean, std, normalized }
    }

    /// Height and width of the input tensor, in pixels.
    pub fn size(&self) -> u32 {
        self.crop
    }

    /// Mean and standard deviation per channel, of values in [0, 1]; training normalises whole batches with them on the
    /// device.
    pub fn mean_and_std(&self) -> [[f32; CHANNELS]; 2] {
        [self.mean, self.std]
    }

    /// Shape `[C, H, W]` of one image in the input tensor.
    pub fn input_shape(&self) -> [usize; 3] {
        [CHANNELS, self.crop as usize, self.crop as usize]
    }

    /// Number of values of one image in the input tensor, `C * H * W`.
    pub fn input_len(&self) -> usize {
        self.input_shape().iter().product()
    }

    /// Resizes and crops an image to [`size`](Self::size) x `size` pixels.
    ///
    /// # Panics
    /// When the image has no pixels, which no decoder returns.
    pub fn prepare(&self, image: &RgbImage) -> RgbImage {
        let (width, height) = image.dimensions();
        let (resized_width, resized_height) = self.resized(width, height);
        let (left, top) = (centre(resized_width, self.crop), centre(resized_height, self.crop));
        if (resized_width, resized_height) == (width, height) {
            return image::imageops::crop_imm(image, left, top, self.crop, self.crop).to_image();
        }
        // Only the pixels inside the crop are computed. The values are the same, and a panorama costs no more than a square.
        let [x, y, w, h] = self.seen(width, height);
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(self.filter))
            .crop(x, y, w, h)
            .use_alpha(false);
        let source = ImageRef::new(width, height, image.as_raw(), PixelType::U8x3)
            .expect("an RGB8 image holds three bytes a pixel");
        let mut target = Image::new(self.crop, self.crop, PixelType::U8x3);
        Resizer::new()
            .resize(&source, &mut target, &options)
            .expect("both are RGB8 and the span lies inside the source");
        RgbImage::from_raw(self.crop, self.crop, target.into_vec()).expect("the target is RGB8")
    }

    /// Part of an image that is left after the crop: left, top, width and height, in pixels of the original.
    pub fn seen(&self, width: u32, height: u32) -> [f64; 4] {
        let (resized_width, resized_height) = self.resized(width, height);
        let (left, top) = (centre(resized_width, self.crop), centre(resized_height, self.crop));
        let (x, w) = source_span(left, self.crop, width, resized_width);
        let (y, h) = source_span(top, self.crop, height, resized_height);
        [x, y, w, h]
    }

    /// Joins [prepared](Self::prepare) images to a batch in the form of the model's input.
    ///
    /// # Panics
    /// When an image does not have the input's size.
    pub fn batch(&self, images: &[impl Borrow<RgbImage>], form: InputForm) -> Batch {
        let ([channels, height, width], item) = (self.input_shape(), self.input_len());
        let size = "each image has the input's size";
        match form {
            InputForm::Float => {
                let mut values = vec![0.0; images.len() * item];
                for (image, out) in images.iter().zip(values.chunks_exact_mut(item)) {
                    self.normalize_into(image.borrow(), out);
                }
                let shape = (images.len(), channels, height, width);
                Batch::Float(Array4::from_shape_vec(shape, values).expect(size))
            }
            InputForm::Uint8 => {
                let mut bytes = Vec::with_capacity(images.len() * item);
                images.iter().for_each(|image| bytes.extend_from_slice(image.borrow().as_raw()));
                let shape = (images.len(), height, width, channels);
                Batch::Bytes(Array4::from_shape_vec(shape, bytes).expect(size))
            }
        }
    }

    /// Normalises `image`, `[H, W, C]` bytes, into `out`, `[C, H, W]` floats: `(x / 255 - mean) / std`.
    ///
    /// # Panics
    /// When `out` does not have `C * H * W` elements.
    pub fn normalize_into(&self, image: &RgbImage, out: &mut [f32]) {
        let pixels = image.as_raw();
        assert_eq!(out.len(), pixels.len(), "one float for each byte of the image");
        let plane = pixels.len() / CHANNELS;
        for (channel, (plane, table)) in out.chunks_exact_mut(plane).zip(&self.normalized).enumerate() {
            for (to, pixel) in plane.iter_mut().zip(pixels.chunks_exact(CHANNELS)) {
                *to = table[usize::from(pixel[channel])];
            }
        }
    }

    /// Width and height after resizing: the shorter side is `resize`, the longer one is rounded down as in torchvision.
    fn resized(&self, width: u32, height: u32) -> (u32, u32) {
        let long = |long: u32, short: u32| {
            let length = u64::from(self.resize) * u64::from(long) / u64::from(short);
            u32::try_from(length).unwrap_or(u32::MAX)
        };
        match width <= height {
            true => (self.resize, long(height, width)),
            false => (long(width, height), self.resize),
        }
    }
}

/// Start of a centred crop, with halves rounded to even as in Python's `round`.
fn centre(length: u32, crop: u32) -> u32 {
    (f64::from(length - crop) / 2.0).round_ties_even() as u32
}

/// Start and length, in pixels of the original, of the `crop` pixels from `start` on after resizing `length` to `resized`.
fn source_span(start: u32, crop: u32, length: u32, resized: u32) -> (f64, f64) {
    let scale = f64::from(length) / f64::from(resized);
    let start = f64::from(start) * scale;
    (start, (f64::from(crop) * scale).min(f64::from(length) - start))
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    fn preprocessor(resize: u32, crop: u32) -> Preprocessor {
        Preprocessor::new(&Preprocessing { resize, crop, ..Preprocessing::for_size(32) })
    }

    #[test]
    fn sizes_are_torchvisions() {
        assert_eq!(preprocessor(256, 224).resized(640, 427), (383, 256));
        assert_eq!(preprocessor(256, 224).resized(427, 640), (256, 383));
        assert_eq!([1, 2, 3, 5].map(|margin| centre(10 + margin, 10)), [0, 1, 2, 2]);
    }

    #[test]
    fn a_fitting_image_stays_as_it_is() {
        let image = RgbImage::from_fn(32, 32, |x, y| Rgb([x as u8, y as u8, 7]));
        assert_eq!(preprocessor(32, 32).prepare(&image), image);
    }

    #[test]
    fn a_fitting_shorter_side_is_only_cropped() {
        let image = RgbImage::from_fn(37, 32, |x, y| Rgb([x as u8, y as u8, 7]));
        let cropped = preprocessor(32, 32).prepare(&image);
        assert_eq!(cropped.get_pixel(0, 0).0, [2, 0, 7]);
    }

    #[test]
    fn an_extremely_wide_image_costs_no_more_than_a_square() {
        let image = RgbImage::from_pixel(16_384, 1, Rgb([9, 8, 7]));
        let prepared = preprocessor(256, 224).prepare(&image);
        assert!(prepared.pixels().all(|pixel| pixel.0 == [9, 8, 7]));
    }

    #[test]
    fn values_are_planar_and_normalised() {
        let preprocessor = preprocessor(32, 32);
        let image = RgbImage::from_fn(2, 1, |x, _| Rgb([0, 255, x as u8]));
        let mut out = [0.0; 6];
        preprocessor.normalize_into(&image, &mut out);
        let Preprocessing { mean, std, .. } = Preprocessing::for_size(32);
        let expected = |value: f32, channel: usize| (value / 255.0 - mean[channel]) / std[channel];
        let channels = [(0.0, 0), (0.0, 0), (255.0, 1), (255.0, 1), (0.0, 2), (1.0, 2)];
        assert_eq!(out, channels.map(|(value, channel)| expected(value, channel)));
        assert_eq!(preprocessor.input_shape(), [3, 32, 32]);
    }
}
