//! Resampling of a part of an image to another size, with the same bytes as Pillow.

use ferronnx_models::card::{ResizeFilter, Size};
use image::RgbImage;

mod convolution;

/// Resamples a part of an image (left, top, width and height, in pixels) to `size`.
///
/// With antialiasing filters the bytes are those that Pillow's `Image.resize` gives. [`ResizeFilter::Nearest`] takes the
/// pixels that Pillow takes. Filters without antialiasing round as the others do.
///
/// # Panics
/// When the part does not lie inside the image, or is empty.
pub fn resample(image: &RgbImage, part: [f64; 4], size: Size, filter: ResizeFilter) -> RgbImage {
    use convolution::{Kernel, cubic, lanczos, triangle};
    let [left, top, width, height] = part;
    let columns = Axis { from: left, length: width, original: image.width(), size: size.width };
    let rows = Axis { from: top, length: height, original: image.height(), size: size.height };
    assert!(columns.is_valid() && rows.is_valid(), "a part of {part:?} of {:?}", image.dimensions());
    let (weight, support, antialias): (fn(f64) -> f64, f64, bool) = match filter {
        ResizeFilter::BilinearAntialias => (triangle, 1.0, true),
        ResizeFilter::BicubicAntialias => (cubic, 2.0, true),
        ResizeFilter::LanczosAntialias => (lanczos, 3.0, true),
        ResizeFilter::Bilinear => (triangle, 1.0, false),
        ResizeFilter::Bicubic => (cubic, 2.0, false),
        ResizeFilter::Nearest => return nearest(image, columns, rows),
    };
    let kernel = Kernel { weight, support, antialias };
    let bytes = convolution::resample(image.as_raw(), columns, rows, &kernel);
    RgbImage::from_raw(size.width, size.height, bytes).expect("three bytes for each pixel of the new size")
}

/// Columns or rows: a part of `length` pixels out of `original`, which becomes `size` pixels.
#[derive(Debug, Clone, Copy)]
struct Axis {
    from: f64,
    length: f64,
    original: u32,
    size: u32,
}

impl Axis {
    fn is_valid(self) -> bool {
        let end = self.from + self.length;
        self.from >= 0.0 && self.length > 0.0 && end <= f64::from(self.original) + 1e-6 && self.size > 0
    }

    /// Pixels of the original for one new pixel.
    fn scale(self) -> f64 {
        self.length / f64::from(self.size)
    }

    /// Nearest pixel of the original for each new pixel. The step is added up, as in Pillow, whose ties this decides.
    fn nearest(self) -> Vec<usize> {
        let (step, last) = (self.scale(), self.original as usize - 1);
        let mut at = self.from + step * 0.5;
        let next = |_| {
            let pixel = (at as usize).min(last);
            at += step;
            pixel
        };
        (0..self.size).map(next).collect()
    }
}

fn nearest(image: &RgbImage, columns: Axis, rows: Axis) -> RgbImage {
    let (columns, rows) = (columns.nearest(), rows.nearest());
    RgbImage::from_fn(columns.len() as u32, rows.len() as u32, |x, y| {
        *image.get_pixel(columns[x as usize] as u32, rows[y as usize] as u32)
    })
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    fn image(height: u32) -> RgbImage {
        RgbImage::from_fn(7, height, |x, y| {
            let (red, green, blue) = (x * 37 + y * y * 11, 511 - x * x * 7 + y * 3, x * y * 19 + 5);
            Rgb([red, green, blue].map(|value| (value % 256) as u8))
        })
    }

    /// Pillow 13: `image.resize((3, 2), filter)`.
    #[test]
    fn bytes_are_pillows() {
        for (filter, expected) in [
            (
                ResizeFilter::BilinearAntialias,
                [51, 182, 21, 129, 187, 61, 179, 69, 94, 139, 84, 54, 154, 183, 146, 113, 75, 134],
            ),
            (
                ResizeFilter::BicubicAntialias,
                [39, 189, 17, 131, 197, 56, 186, 62, 93, 144, 73, 52, 161, 198, 157, 105, 69, 141],
            ),
            (
                ResizeFilter::LanczosAntialias,
                [31, 191, 14, 135, 204, 55, 189, 54, 94, 144, 68, 51, 165, 206, 161, 102, 63, 146],
            ),
            (
                ResizeFilter::Nearest,
                [48, 251, 24, 122, 195, 62, 196, 83, 100, 136, 1, 62, 210, 201, 176, 28, 89, 34],
            ),
        ] {
            let size = Size { height: 2, width: 3 };
            let found = resample(&image(5), [0.0, 0.0, 7.0, 5.0], size, filter);
            assert_eq!(found.into_raw(), expected, "{filter:?}");
        }
    }

    /// Pillow 13, which resizes the columns of a tall image first: `image.resize((5, 3), Image.BICUBIC)`.
    #[test]
    fn columns_of_a_tall_image_come_first() {
        let tall = resample(
            &image(12),
            [0.0, 0.0, 7.0, 12.0],
            Size { height: 3, width: 5 },
            ResizeFilter::BicubicAntialias,
        );
        let expected = [
            57, 88, 12, 108, 217, 58, 142, 201, 102, 172, 122, 106, 141, 27, 119, 113, 0, 34, 149, 148, 135,
            141, 223, 134, 120, 134, 136, 157, 39, 129, 112, 19, 62, 132, 86, 142, 157, 210, 98, 120, 147,
            147, 93, 50, 119,
        ];
        assert_eq!(tall.into_raw(), expected);
    }

    #[test]
    fn a_part_is_what_a_crop_after_resizing_gives() {
        for filter in
            [ResizeFilter::BilinearAntialias, ResizeFilter::BicubicAntialias, ResizeFilter::Bilinear]
        {
            let size = |height, width| Size { height, width };
            let whole = resample(&image(5), [0.0, 0.0, 7.0, 5.0], size(4, 6), filter);
            let part = [7.0 / 6.0, 5.0 / 4.0, 7.0 / 6.0 * 3.0, 5.0 / 4.0 * 2.0];
            let centre = image::imageops::crop_imm(&whole, 1, 1, 3, 2).to_image();
            assert_eq!(resample(&image(5), part, size(2, 3), filter), centre, "{filter:?}");
        }
    }

    #[test]
    fn without_antialiasing_only_neighbours_count() {
        let mut image = RgbImage::new(100, 1);
        image.put_pixel(50, 0, Rgb([255; 3]));
        let bright = |filter| {
            let small = resample(&image, [0.0, 0.0, 100.0, 1.0], Size { height: 1, width: 4 }, filter);
            small.pixels().map(|pixel| pixel.0[0]).max().unwrap()
        };
        assert_eq!((bright(ResizeFilter::Bilinear), bright(ResizeFilter::BilinearAntialias) > 0), (0, true));
    }
}
