//! Resampling of a part of an image to another size.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use ferronnx_models::card::{ResizeFilter, Size};
use image::RgbImage;

/// Resamples a part of an image (left, top, width and height, in pixels) to `size`.
///
/// With antialiasing filters and [`ResizeFilter::Nearest`] the values are Pillow's.
///
/// # Panics
/// When the part does not lie inside the image, or is empty.
pub fn resample(image: &RgbImage, part: [f64; 4], size: Size, filter: ResizeFilter) -> RgbImage {
    let [left, top, width, height] = part;
    let options = ResizeOptions::new().resize_alg(algorithm(filter)).crop(left, top, width, height);
    let source = TypedImageRef::<U8x3>::from_buffer(image.width(), image.height(), image.as_raw())
        .expect("an RGB8 image holds three bytes a pixel");
    let mut target = RgbImage::new(size.width, size.height);
    let mut view = TypedImage::<U8x3>::from_buffer(size.width, size.height, &mut target)
        .expect("an RGB8 image holds three bytes a pixel");
    // The resizer is generic over the type of pixels: naming the one that occurs here compiles one of eighteen.
    Resizer::new().resize_typed(&source, &mut view, &options).expect("the part lies inside the image");
    target
}

fn algorithm(filter: ResizeFilter) -> ResizeAlg {
    match filter {
        ResizeFilter::BilinearAntialias => ResizeAlg::Convolution(FilterType::Bilinear),
        ResizeFilter::BicubicAntialias => ResizeAlg::Convolution(FilterType::CatmullRom),
        ResizeFilter::LanczosAntialias => ResizeAlg::Convolution(FilterType::Lanczos3),
        ResizeFilter::Bilinear => ResizeAlg::Interpolation(FilterType::Bilinear),
        ResizeFilter::Bicubic => ResizeAlg::Interpolation(FilterType::CatmullRom),
        ResizeFilter::Nearest => ResizeAlg::Nearest,
    }
}
