//! Settings of augmentation: the `[augment]` table of a recipe.

use serde::{Deserialize, Serialize};

use crate::error::SettingError;

/// Random changes to training images, drawn per image with torchvision's distributions; the default changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Crop of the network's square from an image.
    pub crop: Crop,
    /// Border before a padded crop back to the size, as a fraction of the side: 0.125 is 4 pixels at 32x32.
    pub crop_padding: f64,
    /// Pixels of that border.
    #[serde(skip_serializing_if = "Border::is_zero")]
    pub crop_border: Border,
    /// Smallest and largest area of a resized crop, as a fraction of the image's.
    pub resized_scale: [f64; 2],
    /// Smallest and largest width of a resized crop, as a multiple of its height.
    pub resized_ratio: [f64; 2],
    /// Probability of a horizontal flip.
    pub horizontal_flip: f64,
    /// Brightness: the image is multiplied by a factor from `[max(0, 1 - brightness), 1 + brightness]`.
    pub brightness: f64,
    /// Contrast: differences to the mean gray are multiplied by a factor drawn likewise.
    pub contrast: f64,
    /// Saturation: differences to the pixel's gray are multiplied by a factor drawn likewise.
    pub saturation: f64,
    /// Hue: colours are shifted by up to this part of their circle, at most 0.5, either way.
    pub hue: f64,
    /// Largest angle of a rotation, in degrees, either way.
    pub rotation: f64,
    /// Side of the square that cutout erases, as a fraction of the image's (DeVries and Taylor 2017, arXiv:1708.04552):
    /// 0.25 is 8 pixels at 32x32; 0 for none.
    #[serde(skip_serializing_if = "is_zero")]
    pub cutout: f64,
    /// Alpha of mixup's beta distribution (Zhang et al. 2018, arXiv:1710.09412); 0 for none.
    pub mixup: f64,
    /// Alpha of cutmix's beta distribution (Yun et al. 2019, arXiv:1905.04899); 0 for none. With mixup, a coin
    /// decides for each batch.
    pub cutmix: f64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

/// Pixels outside an image, for crops.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Border {
    /// Black.
    #[default]
    Zero,
    /// The image, mirrored at its first and last pixels.
    Reflect,
}

impl Border {
    #[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
    fn is_zero(&self) -> bool {
        *self == Self::Zero
    }
}

/// Crop of the network's square from an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Crop {
    /// `Padded` for small networks and `Resized` from 224 on.
    Auto,
    /// The evaluation crop, moved by up to the padding.
    #[default]
    Padded,
    /// A part of random size and shape, resized: torchvision's `RandomResizedCrop`.
    Resized,
    /// The evaluation crop.
    None,
}

/// Smallest size at which `auto` crops as ImageNet's recipes do.
const RESIZED_FROM: u32 = 224;

impl Crop {
    /// Resolves `Auto` for a network of this size.
    pub fn for_size(self, size: u32) -> Self {
        match self {
            Self::Auto if size < RESIZED_FROM => Self::Padded,
            Self::Auto => Self::Resized,
            crop => crop,
        }
    }
}

/// Upper bound of settings that have none: larger values are typing errors.
const LARGEST: f64 = 100.0;

impl Default for Augment {
    fn default() -> Self {
        Self {
            crop: Crop::default(),
            crop_padding: 0.0,
            crop_border: Border::default(),
            resized_scale: [0.08, 1.0],
            resized_ratio: [3.0 / 4.0, 4.0 / 3.0],
            horizontal_flip: 0.0,
            brightness: 0.0,
            contrast: 0.0,
            saturation: 0.0,
            hue: 0.0,
            rotation: 0.0,
            cutout: 0.0,
            mixup: 0.0,
            cutmix: 0.0,
        }
    }
}

impl Augment {
    /// True if a network of this size is trained on resized crops, which need full images.
    pub fn needs_originals(&self, size: u32) -> bool {
        self.crop.for_size(size) == Crop::Resized
    }

    /// Checks that every setting is in range.
    ///
    /// # Errors
    /// [`SettingError`] for the first setting that is not.
    pub fn check(&self) -> Result<(), SettingError> {
        let error = |name: &str, expected: String, found: String| {
            Err(SettingError::new(format!("augment.{name}"), expected, found))
        };
        let within = |value: f64, most: f64, name: &str| match (0.0..=most).contains(&value) {
            true => Ok(()),
            false => error(name, format!("from 0 to {most}"), value.to_string()),
        };
        let range =
            |[low, high]: [f64; 2], most: f64, name: &str| match 0.0 < low && low <= high && high <= most {
                true => Ok(()),
                false => {
                    let expected = format!("a smallest and a largest value above 0 and up to {most}");
                    error(name, expected, format!("[{low}, {high}]"))
                }
            };
        if !(0.0..1.0).contains(&self.crop_padding) {
            let expected = "a fraction of the side from 0 to below 1".into();
            return error("crop_padding", expected, self.crop_padding.to_string());
        }
        range(self.resized_scale, 1.0, "resized_scale")?;
        range(self.resized_ratio, LARGEST, "resized_ratio")?;
        within(self.horizontal_flip, 1.0, "horizontal_flip")?;
        within(self.brightness, LARGEST, "brightness")?;
        within(self.contrast, LARGEST, "contrast")?;
        within(self.saturation, LARGEST, "saturation")?;
        within(self.hue, 0.5, "hue")?;
        within(self.rotation, 180.0, "rotation")?;
        within(self.cutout, 1.0, "cutout")?;
        within(self.mixup, LARGEST, "mixup")?;
        within(self.cutmix, LARGEST, "cutmix")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(table: &str) -> String {
        let parsed = toml::from_str::<Augment>(table).map_err(|error| error.to_string());
        parsed.and_then(|augment| augment.check().map_err(|error| error.to_string())).unwrap_err()
    }

    #[test]
    fn an_empty_table_is_the_default() {
        assert_eq!(toml::from_str::<Augment>("").unwrap(), Augment::default());
        Augment::default().check().unwrap();
    }

    #[test]
    fn auto_crops_by_size() {
        assert_eq!(
            [32, 223, 224].map(|size| Crop::Auto.for_size(size)),
            [Crop::Padded, Crop::Padded, Crop::Resized]
        );
        assert_eq!(Crop::None.for_size(224), Crop::None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(refusal("crop_padding = 1.0").contains("augment.crop_padding must be a fraction"));
        assert!(
            refusal("horizontal_flip = 1.5").contains("augment.horizontal_flip must be from 0 to 1, not 1.5")
        );
        assert!(refusal("hue = 0.6").contains("augment.hue must be from 0 to 0.5"));
        assert!(refusal("rotation = -1").contains("augment.rotation must be from 0 to 180"));
        assert!(refusal("brightness = nan").contains("augment.brightness must be from 0 to 100, not NaN"));
        assert!(refusal("mixup = inf").contains("augment.mixup"));
        assert!(refusal("resized_scale = [0.5, 0.1]").contains("[0.5, 0.1]"));
        assert!(refusal("resized_scale = [0.5, 2.0]").contains("up to 1"));
        assert!(refusal("resized_ratio = [0.0, 2.0]").contains("augment.resized_ratio"));
        assert!(refusal("crop = \"central\"").contains("auto"), "the choices are named");
        assert!(refusal("flip = 0.5").contains("horizontal_flip"), "the fields are named");
    }
}
