//! Augmentation: random changes to training images, on the device.
//!
//! [`Augment`] holds the settings, an [`ImageDraw`] the draws of one image; [`apply`] carries them out on bytes. For
//! the same draws the bytes are those of torchvision's transforms on Pillow's images, rounded after each operation.

mod colour;
mod cutout;
pub mod draw;
mod geometry;
pub mod mix;
pub mod resized;
mod settings;

use tch::{TchError, Tensor};

pub use draw::{Colour, ImageDraw};
pub use settings::{Augment, Border, Crop};

use self::colour::Jitter;
use self::geometry::Affine;
use crate::data::parcel::Parcel;
use crate::error::TorchError;
use crate::native;

/// Augments `images`, bytes `[N, 3, H, W]` or gray `[N, 1, H, W]`, each by its draw: crop and flip, then colours, then
/// rotation. Saturation and hue leave gray images as they are.
///
/// `border` fills what a crop takes from outside an image; a rotation takes zeros. The result is bytes of the same shape
/// on the same device. Nothing waits for the device.
///
/// # Errors
/// When libtorch fails, as it does when memory runs out or there are not `N` draws.
pub fn apply(images: &Tensor, draws: &[ImageDraw], border: Border) -> Result<Tensor, TorchError> {
    let (_, channels, height, width) = images.size4()?;
    let mut parcel = Parcel::default();
    let steps = Steps::pack(draws, [channels, height, width], &mut parcel);
    let packed = native::upload(&parcel.packed()?, images.device())?;
    Ok(steps.apply(images, &mut parcel.unpack(&packed)?.into_iter(), border)?)
}

/// Steps of a batch's augmentation, which tell what work there is; the numbers of each image lie in a parcel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Steps {
    crop: bool,
    jitter: Jitter,
    rotation: bool,
    cutout: bool,
}

impl Steps {
    /// Packs the draws of images of `[C, H, W]` pixels.
    pub fn pack(draws: &[ImageDraw], [channels, height, width]: [i64; 3], parcel: &mut Parcel) -> Self {
        let moves: Vec<_> = draws.iter().map(|draw| Affine::crop_and_flip(draw, width)).collect();
        let turns: Vec<_> = draws.iter().map(|draw| Affine::rotation(draw.angle, height, width)).collect();
        Self {
            crop: geometry::pack(&moves, parcel),
            jitter: Jitter::pack(draws, channels, parcel),
            rotation: geometry::pack(&turns, parcel),
            cutout: cutout::pack(draws, parcel),
        }
    }

    /// Numbers that the work depends on.
    pub fn constants(&self) -> [i64; 5] {
        let [blends, shifts] = self.jitter.constants();
        [self.crop.into(), blends, shifts, self.rotation.into(), self.cutout.into()]
    }

    /// Changes bytes `[N, C, H, W]` by the packed numbers, which it takes from `parts`.
    pub fn apply(
        &self,
        images: &Tensor,
        parts: &mut impl Iterator<Item = Tensor>,
        border: Border,
    ) -> Result<Tensor, TchError> {
        let mut images = images.shallow_clone();
        if let Some(maps) = next(self.crop, parts) {
            images = geometry::resample(&images, &maps, border)?;
        }
        images = self.jitter.apply(&images, parts)?;
        if let Some(maps) = next(self.rotation, parts) {
            images = geometry::resample(&images, &maps, Border::Zero)?;
        }
        Ok(images)
    }

    /// Erases a square of each normalised image `[N, C, H, W]`, in place, if the augmentation asks for it.
    pub fn erase(&self, images: &Tensor, parts: &mut impl Iterator<Item = Tensor>) -> Result<(), TchError> {
        next(self.cutout, parts).map_or(Ok(()), |edges| cutout::erase(images, &edges))
    }
}

fn next(wanted: bool, parts: &mut impl Iterator<Item = Tensor>) -> Option<Tensor> {
    if wanted { parts.next() } else { None }
}

#[cfg(test)]
mod tests;
