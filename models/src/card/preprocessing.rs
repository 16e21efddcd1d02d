//! Preprocessing of images, as a card describes it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::is_default;

/// Preprocessing of an image to the input tensor; the steps are in the order of the fields.
///
/// RGB8 becomes the channels of `color`, is [fitted](Fit) to `crop` with the `filter`, is divided by 255 and becomes
/// `(x - mean) / std` per channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// Channels of the input tensor and their order.
    pub color: ColorOrder,
    /// Size that an image is resized for, before the centre is cut out; see [`Fit`].
    pub resize: Size,
    /// Resampling filter.
    pub filter: ResizeFilter,
    /// Height and width of the input tensor.
    pub crop: Size,
    /// Mean of each channel, for values in [0, 1].
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, for values in [0, 1].
    pub std: Vec<f32>,
    /// Way in which an image of another aspect ratio becomes an input.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fit: Fit,
    /// Layout of the input tensor; the usual one of the [form](super::InputForm) of the input if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// Rounding of the centre's left and top where the margin is odd.
    #[serde(default, skip_serializing_if = "is_default")]
    pub centre: CentreRounding,
    /// Colour of the border of [`Fit::Letterbox`].
    #[serde(default, skip_serializing_if = "is_default")]
    pub border: Border,
}

/// Height and width, in pixels. In JSON it is one number for a square, else `[height, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Sides", into = "Sides")]
pub struct Size {
    /// Height, in pixels.
    pub height: u32,
    /// Width, in pixels.
    pub width: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Sides {
    Square(u32),
    Rectangle([u32; 2]),
}

impl From<Sides> for Size {
    fn from(sides: Sides) -> Self {
        match sides {
            Sides::Square(side) => side.into(),
            Sides::Rectangle([height, width]) => Self { height, width },
        }
    }
}

impl From<Size> for Sides {
    fn from(Size { height, width }: Size) -> Self {
        if height == width { Self::Square(height) } else { Self::Rectangle([height, width]) }
    }
}

impl From<u32> for Size {
    /// Makes a square.
    fn from(side: u32) -> Self {
        Self { height: side, width: side }
    }
}

impl Size {
    /// Tells whether height and width are equal.
    pub fn is_square(self) -> bool {
        self.height == self.width
    }
}

/// Writes `HEIGHTxWIDTH`.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.height, self.width)
    }
}

/// Text that is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a number of pixels from 1 to {MOST}, or HEIGHTxWIDTH, as 224 or 192x256")]
pub struct ParseSizeError;

/// Longest side of an input, in pixels.
const MOST: u32 = 8192;

/// Parses `224` as a square, and `192x256` as height and width, up to 8192 pixels.
impl FromStr for Size {
    type Err = ParseSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let side = |text: &str| text.parse().ok().filter(|side| (1..=MOST).contains(side));
        let size = match text.split_once('x') {
            Some((height, width)) => {
                side(height).zip(side(width)).map(|(height, width)| Self { height, width })
            }
            None => side(text).map(Self::from),
        };
        size.ok_or(ParseSizeError)
    }
}

/// Channels of the input tensor and their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColorOrder {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// Luma of ITU-R BT.601, as Pillow's `L`: one channel.
    Gray,
}

impl ColorOrder {
    /// Number of channels.
    pub fn channels(self) -> usize {
        if self == Self::Gray { 1 } else { 3 }
    }

    /// Name in JSON: `rgb`, `bgr` or `gray`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rgb => "rgb",
            Self::Bgr => "bgr",
            Self::Gray => "gray",
        }
    }
}

/// Way in which an image of another aspect ratio becomes an input. After resizing, the centre of the size `crop` is cut
/// out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// The image is resized, with its aspect ratio kept, until it just covers `resize`. For squares this is torchvision's
    /// `Resize`, for rectangles timm's `ResizeKeepRatio`.
    #[default]
    Crop,
    /// The image is resized to `resize`, whatever its aspect ratio.
    Squash,
    /// The image is resized, with its aspect ratio kept, until it just fits into `resize`. A border fills what is missing.
    Letterbox,
}

/// Rounding of the left and top of a centre that is cut out, where the margin is odd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CentreRounding {
    /// Halves to the even neighbour, as torchvision, timm and Ultralytics do.
    #[default]
    Even,
    /// Down, as Hugging Face transformers and Keras do.
    Down,
}

impl CentreRounding {
    /// Name in JSON: `even` or `down`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Even => "even",
            Self::Down => "down",
        }
    }
}

/// Colour of a border, in RGB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Border(pub [u8; 3]);

impl Default for Border {
    /// Returns the grey of Ultralytics' `LetterBox`, 114 of 255.
    fn default() -> Self {
        Self([114; 3])
    }
}

impl Fit {
    /// Name in JSON: `crop`, `squash` or `letterbox`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crop => "crop",
            Self::Squash => "squash",
            Self::Letterbox => "letterbox",
        }
    }
}

/// Order of the dimensions of an input tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// `[N, C, H, W]`: a plane for each channel.
    Nchw,
    /// `[N, H, W, C]`: the channels of a pixel side by side.
    Nhwc,
}

impl Layout {
    /// Name in JSON: `nchw` or `nhwc`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nchw => "nchw",
            Self::Nhwc => "nhwc",
        }
    }
}

/// Resampling filter.
///
/// With antialiasing, the support of a filter grows with the reduction, as in Pillow. Without it the filter looks at
/// the neighbours of a point only, as in TensorFlow and OpenCV.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResizeFilter {
    /// Triangle (bilinear) filter with antialiasing, as Pillow's `BILINEAR`.
    BilinearAntialias,
    /// Cubic filter (a = -0.5) with antialiasing, as Pillow's `BICUBIC`.
    BicubicAntialias,
    /// Lanczos filter (a = 3) with antialiasing, as Pillow's `LANCZOS`.
    LanczosAntialias,
    /// Triangle (bilinear) filter without antialiasing.
    Bilinear,
    /// Cubic filter (a = -0.5) without antialiasing.
    Bicubic,
    /// Nearest pixel, as Pillow's `NEAREST`.
    Nearest,
}

impl ResizeFilter {
    /// Name in JSON, such as `bilinear-antialias`.
    pub fn name(self) -> &'static str {
        match self {
            Self::BilinearAntialias => "bilinear-antialias",
            Self::BicubicAntialias => "bicubic-antialias",
            Self::LanczosAntialias => "lanczos-antialias",
            Self::Bilinear => "bilinear",
            Self::Bicubic => "bicubic",
            Self::Nearest => "nearest",
        }
    }
}

/// Smallest image size for which the ImageNet conventions apply: its stem, its statistics and the 256/224 margin of the
/// crop.
pub const IMAGENET_MIN_SIZE: u32 = 64;

impl Preprocessing {
    /// Usual preprocessing for this image size: CIFAR-10's statistics and no margin for small images, ImageNet's statistics
    /// and its 256/224 margin from [`IMAGENET_MIN_SIZE`] on.
    pub fn for_size(size: impl Into<Size>) -> Self {
        let crop = size.into();
        let is_small = crop.height.min(crop.width) < IMAGENET_MIN_SIZE;
        let (mean, std) = match is_small {
            true => ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
            false => ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        };
        let margin = |side: u32| u32::try_from((u64::from(side) * 256).div_ceil(224)).unwrap_or(u32::MAX);
        let resize = match is_small {
            true => crop,
            false => Size { height: margin(crop.height), width: margin(crop.width) },
        };
        Self {
            color: ColorOrder::Rgb,
            resize,
            filter: ResizeFilter::BilinearAntialias,
            crop,
            mean: mean.into(),
            std: std.into(),
            fit: Fit::Crop,
            layout: None,
            centre: CentreRounding::Even,
            border: Border::default(),
        }
    }

    /// Preprocessing for a network of one channel: images become gray, with the luma of the means and of the standard
    /// deviations. Gray images stay so.
    #[must_use]
    pub fn into_gray(self) -> Self {
        match self.color {
            ColorOrder::Gray => self,
            ColorOrder::Rgb | ColorOrder::Bgr => {
                let luma = |values: &[f32]| {
                    let [r, g, b] = match (values, self.color) {
                        (&[b, g, r], ColorOrder::Bgr) => [r, g, b],
                        (&[r, g, b], _) => [r, g, b],
                        (other, _) => return other.to_vec(),
                    };
                    // The mean of the luma is the luma of the means. The deviation is that of channels that rise and
                    // fall together, as they nearly do in photos.
                    vec![0.299 * r + 0.587 * g + 0.114 * b]
                };
                Self { mean: luma(&self.mean), std: luma(&self.std), color: ColorOrder::Gray, ..self }
            }
        }
    }

    /// Checks that the steps can be carried out.
    ///
    /// # Errors
    /// [`PreprocessingError`] for an impossible crop, or statistics that are not one for each channel, not finite or not
    /// positive.
    pub fn check(&self) -> Result<(), PreprocessingError> {
        let Self { resize, crop, mean, std, .. } = self;
        let fits = resize.height >= crop.height && resize.width >= crop.width;
        if crop.height == 0 || crop.width == 0 || !fits {
            return Err(PreprocessingError::Crop { crop: *crop, resize: *resize });
        }
        let channels = self.color.channels();
        if mean.len() != channels || !mean.iter().all(|mean| mean.is_finite()) {
            return Err(PreprocessingError::Mean(mean.clone()));
        }
        if std.len() != channels || !std.iter().all(|std| std.is_finite() && *std > 0.0) {
            return Err(PreprocessingError::Std(std.clone()));
        }
        Ok(())
    }

    /// Tells whether the first format of cards cannot describe this.
    pub(super) fn needs_format_2(&self) -> bool {
        self.color != ColorOrder::Rgb
            || self.filter != ResizeFilter::BilinearAntialias
            || self.fit != Fit::Crop
            || self.layout.is_some()
            || self.centre != CentreRounding::Even
            || !self.crop.is_square()
            || !self.resize.is_square()
    }
}

/// Reason why preprocessing cannot be carried out.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PreprocessingError {
    /// The crop is empty or larger than the resized image.
    #[error("a crop of {crop} from an image resized to {resize}")]
    Crop {
        /// Size of the crop.
        crop: Size,
        /// Size that the image is resized for.
        resize: Size,
    },
    /// There is not one mean for each channel, or it is infinite or NaN.
    #[error("a mean of {0:?}")]
    Mean(Vec<f32>),
    /// There is not one standard deviation for each channel, or it is not positive, infinite or NaN.
    #[error("a standard deviation of {0:?}")]
    Std(Vec<f32>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_images_get_imagenets_margin() {
        let photo = Preprocessing::for_size(224);
        assert_eq!((photo.resize, photo.crop), (256.into(), 224.into()));
        let small = Preprocessing::for_size(32);
        assert_eq!((small.resize, small.crop), (32.into(), 32.into()));
    }

    #[test]
    fn a_square_is_one_number() {
        let json = |size: Size| serde_json::to_string(&size).unwrap();
        assert_eq!(json(32.into()), "32");
        let wide = Size { height: 2, width: 3 };
        assert_eq!(json(wide), "[2,3]");
        assert_eq!(serde_json::from_str::<Size>("[2,3]").unwrap(), wide);
        assert_eq!(wide.to_string(), "2x3");
        assert_eq!(["2x3".parse(), "32".parse()], [Ok(wide), Ok(Size::from(32))]);
        for wrong in ["", "0", "x", "3x", "9999", "-1", "1x2x3"] {
            assert_eq!(wrong.parse::<Size>(), Err(ParseSizeError), "{wrong}");
        }
    }

    #[test]
    fn gray_has_one_mean_and_deviation() {
        let gray = Preprocessing::for_size(32).into_gray();
        assert!((gray.mean[0] - 0.4809).abs() < 1e-4 && (gray.std[0] - 0.2004).abs() < 1e-4, "{gray:?}");
        assert!(gray.check().is_ok());
        assert_eq!(gray.clone().into_gray(), gray);
        let mut bgr = Preprocessing { color: ColorOrder::Bgr, ..Preprocessing::for_size(32) };
        bgr.mean.reverse();
        bgr.std.reverse();
        assert_eq!(bgr.into_gray(), gray);
    }

    #[test]
    fn what_cannot_be_carried_out() {
        let usual = Preprocessing::for_size(32);
        let check = |change: fn(&mut Preprocessing)| {
            let mut changed = usual.clone();
            change(&mut changed);
            changed.check().unwrap_err()
        };
        assert!(matches!(check(|p| p.crop = 0.into()), PreprocessingError::Crop { .. }));
        assert!(matches!(check(|p| p.resize.width = 31), PreprocessingError::Crop { .. }));
        assert!(matches!(check(|p| p.mean[2] = f32::NAN), PreprocessingError::Mean(_)));
        assert!(matches!(check(|p| p.color = ColorOrder::Gray), PreprocessingError::Mean(_)));
        assert!(matches!(check(|p| p.std[0] = 0.0), PreprocessingError::Std(_)));
        assert!(usual.check().is_ok());
    }
}
