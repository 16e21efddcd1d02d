//! Preprocessing: from an RGB8 image to the network's input, as the model card says.
//!
//! With [`Fit::Crop`] the steps are torchvision's `Resize(size)`, `CenterCrop(crop)`, `ToTensor()`,
//! `Normalize(mean, std)`, with Pillow's results. Training's evaluation and inference use this one implementation.

mod resample;

use std::borrow::{Borrow, Cow};

use ferronnx_models::card::{
    Border, CentreRounding, ColorOrder, Fit, InputForm, Layout, Preprocessing, ResizeFilter, Size,
};
use image::RgbImage;
use ndarray::Array4;

pub use resample::resample;

use crate::session::Input;

/// Channels of an RGB image.
pub const CHANNELS: usize = 3;

/// Preprocessing steps of a model: resize, crop and normalise.
#[derive(Debug, Clone)]
pub struct Preprocessor {
    resize: Size,
    crop: Size,
    fit: Fit,
    centre: CentreRounding,
    border: Border,
    filter: ResizeFilter,
    color: ColorOrder,
    layout: Option<Layout>,
    mean: Vec<f32>,
    std: Vec<f32>,
    /// Normalised value of each of the 256 byte values, per channel of the input.
    normalized: Vec<[f32; 256]>,
}

/// Batch of images in the form that a model's input takes; the dimensions are in the order of the input's layout.
#[derive(Debug, Clone, PartialEq)]
pub enum Batch {
    /// Normalised images, `[N, C, H, W]` or `[N, H, W, C]`.
    Float(Array4<f32>),
    /// Images as bytes, `[N, H, W, C]` or `[N, C, H, W]`: the model normalises them itself.
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
    /// When [`Preprocessing::check`] refuses them, as [`ModelCard`](ferronnx_models::card::ModelCard) does.
    pub fn new(preprocessing: &Preprocessing) -> Self {
        preprocessing.check().expect("steps that can be carried out");
        let Preprocessing { color, resize, filter, crop, mean, std, fit, layout, centre, border } =
            preprocessing.clone();
        let normalized = mean
            .iter()
            .zip(&std)
            .map(|(mean, std)| std::array::from_fn(|value| (value as f32 / 255.0 - mean) / std));
        let normalized = normalized.collect();
        Self { resize, crop, fit, centre, border, filter, color, layout, mean, std, normalized }
    }

    /// Height and width of the input tensor.
    pub fn size(&self) -> Size {
        self.crop
    }

    /// Mean and standard deviation per channel, of values in [0, 1]; training normalises whole batches with them on the
    /// device.
    pub fn mean_and_std(&self) -> [&[f32]; 2] {
        [&self.mean, &self.std]
    }

    /// Shape `[C, H, W]` of one image in the input tensor.
    pub fn input_shape(&self) -> [usize; 3] {
        [self.color.channels(), self.crop.height as usize, self.crop.width as usize]
    }

    /// Number of values of one image in the input tensor, `C * H * W`.
    pub fn input_len(&self) -> usize {
        self.input_shape().iter().product()
    }

    /// Fits an image to [`size`](Self::size). The result is RGB8; for a network of one channel, all three are its luma.
    ///
    /// # Panics
    /// When the image has no pixels, which no decoder returns.
    pub fn prepare(&self, image: &RgbImage) -> RgbImage {
        self.fitted(&self.recolored(image))
    }

    /// Converts an image to the colours of the input: for a network of one channel, all three become the luma.
    pub fn recolored<'i>(&self, image: &'i RgbImage) -> Cow<'i, RgbImage> {
        match self.color {
            ColorOrder::Gray => Cow::Owned(gray(image)),
            ColorOrder::Rgb | ColorOrder::Bgr => Cow::Borrowed(image),
        }
    }

    fn fitted(&self, image: &RgbImage) -> RgbImage {
        let original = Size { height: image.height(), width: image.width() };
        let [x, y] = self.spans(original);
        let inner = if self.resized(original) == original {
            image::imageops::crop_imm(image, x.start, y.start, x.length, y.length).to_image()
        } else {
            // Only the pixels that are left are computed. The values are the same, and a panorama costs no more than a
            // square.
            let size = Size { height: y.length, width: x.length };
            resample(image, self.seen(original.width, original.height), size, self.filter)
        };
        let Size { height, width } = self.crop;
        if inner.dimensions() == (width, height) {
            return inner;
        }
        let mut boxed = RgbImage::from_pixel(width, height, image::Rgb(self.border.0));
        let (left, top) = ((width - x.length) / 2, (height - y.length) / 2);
        image::imageops::replace(&mut boxed, &inner, left.into(), top.into());
        boxed
    }

    /// Size of an image after resizing.
    fn resized(&self, original: Size) -> Size {
        match self.fit {
            Fit::Crop => covering(original, self.resize),
            Fit::Squash => self.resize,
            Fit::Letterbox => inside(original, self.resize),
        }
    }

    /// Columns and rows of the resized image that are in the input.
    fn spans(&self, original: Size) -> [Span; 2] {
        let (resized, crop) = (self.resized(original), self.crop);
        [(resized.width, crop.width), (resized.height, crop.height)].map(|(resized, crop)| {
            let length = crop.min(resized);
            Span { start: centre(resized, length, self.centre), length }
        })
    }

    /// Part of an image that the network sees: left, top, width and height, in pixels of the original.
    pub fn seen(&self, width: u32, height: u32) -> [f64; 4] {
        let original = Size { height, width };
        let (resized, [x, y]) = (self.resized(original), self.spans(original));
        let (x, w) = x.in_original(width, resized.width);
        let (y, h) = y.in_original(height, resized.height);
        [x, y, w, h]
    }

    /// Joins [prepared](Self::prepare) images to a batch in the form of the model's input.
    ///
    /// # Panics
    /// When an image does not have the input's size.
    pub fn batch(&self, images: &[impl Borrow<RgbImage>], form: InputForm) -> Batch {
        let ([channels, height, width], item) = (self.input_shape(), self.input_len());
        let layout = self.layout.unwrap_or(form.usual_layout());
        let shape = match layout {
            Layout::Nchw => (images.len(), channels, height, width),
            Layout::Nhwc => (images.len(), height, width, channels),
        };
        let size = "each image has the input's size";
        match form {
            InputForm::Float => {
                let mut values = vec![0.0; images.len() * item];
                for (image, out) in images.iter().zip(values.chunks_exact_mut(item)) {
                    self.arrange(image.borrow(), layout, out, |channel, byte| {
                        self.normalized[channel][usize::from(byte)]
                    });
                }
                Batch::Float(Array4::from_shape_vec(shape, values).expect(size))
            }
            InputForm::Uint8 if layout == Layout::Nhwc && self.color == ColorOrder::Rgb => {
                let mut bytes = Vec::with_capacity(images.len() * item);
                images.iter().for_each(|image| bytes.extend_from_slice(image.borrow().as_raw()));
                Batch::Bytes(Array4::from_shape_vec(shape, bytes).expect(size))
            }
            InputForm::Uint8 => {
                let mut bytes = vec![0; images.len() * item];
                for (image, out) in images.iter().zip(bytes.chunks_exact_mut(item)) {
                    self.arrange(image.borrow(), layout, out, |_, byte| byte);
                }
                Batch::Bytes(Array4::from_shape_vec(shape, bytes).expect(size))
            }
        }
    }

    /// Normalises `image`, `[H, W, 3]` bytes, into `out`, `[C, H, W]` floats: `(x / 255 - mean) / std`.
    ///
    /// # Panics
    /// When `out` does not have `C * H * W` elements.
    pub fn normalize_into(&self, image: &RgbImage, out: &mut [f32]) {
        self.arrange(image, Layout::Nchw, out, |channel, byte| self.normalized[channel][usize::from(byte)]);
    }

    /// Writes the channels of `image` in the order of the input, each byte as `value(channel, byte)`.
    fn arrange<T>(&self, image: &RgbImage, layout: Layout, out: &mut [T], value: impl Fn(usize, u8) -> T) {
        let (pixels, channels) = (image.as_raw(), self.color.channels());
        let count = pixels.len() / CHANNELS;
        assert_eq!(out.len(), count * channels, "one value for each channel of each pixel");
        let is_bgr = self.color == ColorOrder::Bgr;
        let from = |channel: usize| if is_bgr { CHANNELS - 1 - channel } else { channel };
        let pixels = pixels.chunks_exact(CHANNELS);
        match layout {
            Layout::Nchw => {
                for (channel, plane) in out.chunks_exact_mut(count).enumerate() {
                    let from = from(channel);
                    for (to, pixel) in plane.iter_mut().zip(pixels.clone()) {
                        *to = value(channel, pixel[from]);
                    }
                }
            }
            Layout::Nhwc => {
                for (item, pixel) in out.chunks_exact_mut(channels).zip(pixels) {
                    for (channel, to) in item.iter_mut().enumerate() {
                        *to = value(channel, pixel[from(channel)]);
                    }
                }
            }
        }
    }
}

/// Luma of an image in all three channels, rounded as Pillow's `convert("L")`.
fn gray(image: &RgbImage) -> RgbImage {
    let mut gray = image.clone();
    for pixel in gray.pixels_mut() {
        let [r, g, b] = pixel.0.map(u32::from);
        pixel.0 = [((r * 19_595 + g * 38_470 + b * 7_471 + 0x8000) >> 16) as u8; CHANNELS];
    }
    gray
}

/// Size of an image that just covers `target`, with its aspect ratio kept. One side is the target's. The other is rounded
/// down for a square, as in torchvision, and to the nearest pixel for a rectangle, as in timm's `ResizeKeepRatio`.
fn covering(image: Size, target: Size) -> Size {
    let scaled = |side: u32, along: u32, other: u32| {
        let (product, other) = (u64::from(along) * u64::from(side), u64::from(other));
        let length = if target.is_square() { product / other } else { (2 * product + other) / (2 * other) };
        u32::try_from(length).unwrap_or(u32::MAX)
    };
    let [height, width] = [image.height, image.width].map(u64::from);
    match width * u64::from(target.height) <= height * u64::from(target.width) {
        true => Size {
            height: scaled(image.height, target.width, image.width).max(target.height),
            width: target.width,
        },
        false => Size {
            height: target.height,
            width: scaled(image.width, target.height, image.height).max(target.width),
        },
    }
}

/// Size of an image that just fits into `target`, with its aspect ratio kept; sides are rounded as in Ultralytics'
/// `LetterBox`.
fn inside(image: Size, target: Size) -> Size {
    let [height, width] = [image.height, image.width].map(f64::from);
    let scale = (f64::from(target.height) / height).min(f64::from(target.width) / width);
    let side = |side: f64, most: u32| ((side * scale).round_ties_even() as u32).clamp(1, most);
    Size { height: side(height, target.height), width: side(width, target.width) }
}

/// Columns or rows of a resized image.
#[derive(Clone, Copy)]
struct Span {
    start: u32,
    length: u32,
}

impl Span {
    /// Start and length in pixels of the original, which is `original` long before and `resized` long after resizing.
    fn in_original(self, original: u32, resized: u32) -> (f64, f64) {
        let scale = f64::from(original) / f64::from(resized);
        let start = f64::from(self.start) * scale;
        (start, (f64::from(self.length) * scale).min(f64::from(original) - start))
    }
}

/// Start of the centre of `crop` pixels.
fn centre(length: u32, crop: u32, rounding: CentreRounding) -> u32 {
    let margin = length - crop;
    match rounding {
        CentreRounding::Even => (f64::from(margin) / 2.0).round_ties_even() as u32,
        CentreRounding::Down => margin / 2,
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    fn preprocessor(resize: u32, crop: u32) -> Preprocessor {
        let (resize, crop) = (resize.into(), crop.into());
        Preprocessor::new(&Preprocessing { resize, crop, ..Preprocessing::for_size(32) })
    }

    #[test]
    fn sizes_are_torchvisions() {
        let size = |height, width| Size { height, width };
        assert_eq!(covering(size(427, 640), 256.into()), size(256, 383));
        assert_eq!(covering(size(640, 427), 256.into()), size(383, 256));
        assert_eq!(covering(size(427, 640), size(256, 512)), size(342, 512));
        assert_eq!(inside(size(427, 640), 224.into()), size(149, 224));
        assert_eq!(inside(size(1, 9000), 224.into()), size(1, 224));
        let starts = |rounding| [1, 2, 3, 5].map(|margin| centre(10 + margin, 10, rounding));
        assert_eq!(starts(CentreRounding::Even), [0, 1, 2, 2]);
        assert_eq!(starts(CentreRounding::Down), [0, 1, 1, 2]);
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

    /// Two pixels, red above blue, prepared with `change` as a batch of bytes.
    fn bytes(change: impl Fn(&mut Preprocessing)) -> Array4<u8> {
        let mut preprocessing = Preprocessing::for_size(Size { height: 2, width: 1 });
        change(&mut preprocessing);
        let image =
            RgbImage::from_fn(1, 2, |_, y| if y == 0 { Rgb([250, 10, 20]) } else { Rgb([30, 40, 240]) });
        let preprocessor = Preprocessor::new(&preprocessing);
        match preprocessor.batch(&[preprocessor.prepare(&image)], InputForm::Uint8) {
            Batch::Bytes(bytes) => bytes,
            Batch::Float(_) => unreachable!("bytes were asked for"),
        }
    }

    #[test]
    fn channels_and_layouts() {
        let flat = |bytes: Array4<u8>| (bytes.shape().to_vec(), bytes.into_iter().collect::<Vec<_>>());
        assert_eq!(flat(bytes(|_| {})), (vec![1, 2, 1, 3], vec![250, 10, 20, 30, 40, 240]));
        let bgr = |p: &mut Preprocessing| p.color = ColorOrder::Bgr;
        assert_eq!(flat(bytes(bgr)), (vec![1, 2, 1, 3], vec![20, 10, 250, 240, 40, 30]));
        let planes = |p: &mut Preprocessing| (p.layout, p.color) = (Some(Layout::Nchw), ColorOrder::Bgr);
        assert_eq!(flat(bytes(planes)), (vec![1, 3, 2, 1], vec![20, 240, 10, 40, 250, 30]));
        // Luma of Pillow: `Image.new("RGB", (1, 1), (250, 10, 20)).convert("L")`.
        let gray = |p: &mut Preprocessing| {
            (p.color, p.mean, p.std) = (ColorOrder::Gray, vec![0.0], vec![1.0]);
        };
        assert_eq!(flat(bytes(gray)), (vec![1, 2, 1, 1], vec![83, 60]));
    }

    #[test]
    fn a_letterbox_has_grey_borders_and_a_squashed_image_none() {
        let image = RgbImage::from_pixel(40, 20, Rgb([200, 0, 0]));
        let mut preprocessing = Preprocessing { fit: Fit::Letterbox, ..Preprocessing::for_size(20) };
        let boxed = Preprocessor::new(&preprocessing).prepare(&image);
        assert_eq!([0, 4, 5, 14, 15].map(|y| boxed.get_pixel(7, y).0[0]), [114, 114, 200, 200, 114]);
        preprocessing.fit = Fit::Squash;
        let squashed = Preprocessor::new(&preprocessing).prepare(&image);
        assert!(squashed.pixels().all(|pixel| pixel.0 == [200, 0, 0]));
        assert_eq!(Preprocessor::new(&preprocessing).seen(40, 20), [0.0, 0.0, 40.0, 20.0]);
    }

    #[test]
    fn a_margin_is_cut_off_however_an_image_is_fitted() {
        let image = RgbImage::from_fn(40, 20, |x, _| Rgb([x as u8, 0, 0]));
        let margin =
            Preprocessing { resize: 40.into(), border: Border([1, 2, 3]), ..Preprocessing::for_size(20) };
        let squash = Preprocessor::new(&Preprocessing { fit: Fit::Squash, ..margin.clone() });
        assert_eq!(squash.seen(40, 20), [10.0, 5.0, 20.0, 10.0]);
        assert_eq!(squash.prepare(&image).get_pixel(0, 0).0[0], 10);
        // 40 x 20 fits as it is; 20 x 20 of it are left.
        let boxed = Preprocessor::new(&Preprocessing { fit: Fit::Letterbox, ..margin });
        assert_eq!(boxed.prepare(&image).get_pixel(0, 19).0[0], 10);
        let narrow = RgbImage::from_pixel(10, 40, Rgb([9, 9, 9]));
        let boxed = boxed.prepare(&narrow);
        assert_eq!([4, 5, 14, 15].map(|x| boxed.get_pixel(x, 0).0), [[1, 2, 3], [9; 3], [9; 3], [1, 2, 3]]);
    }
}
