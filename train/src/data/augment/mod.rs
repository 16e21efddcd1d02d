//! Augmentation: random changes to training images, on the device.
//!
//! [`Augment`] holds the settings, an [`ImageDraw`] the draws of one image; [`apply`] carries them out on bytes. For
//! the same draws the bytes are those of torchvision's transforms on Pillow's images, rounded after each operation.

mod colour;
pub mod cutout;
pub mod draw;
mod geometry;
pub mod mix;
pub mod resized;
mod settings;

use tch::Tensor;

pub use draw::{Colour, ImageDraw};
pub use settings::{Augment, Border, Crop};

use crate::error::TorchError;
use geometry::Affine;

/// Augments `images`, bytes `[N, 3, H, W]` or gray `[N, 1, H, W]`, each by its draw: crop and flip, then colours, then
/// rotation. Saturation and hue leave gray images as they are.
///
/// `border` fills what a crop takes from outside an image; a rotation takes zeros. The result is bytes of the same shape
/// on the same device. Nothing waits for the device.
///
/// # Errors
/// When libtorch fails, as it does when memory runs out or there are not `N` draws.
pub fn apply(images: &Tensor, draws: &[ImageDraw], border: Border) -> Result<Tensor, TorchError> {
    let (_, _, height, width) = images.size4()?;
    let moves: Vec<_> = draws.iter().map(|draw| Affine::crop_and_flip(draw, width)).collect();
    let turns: Vec<_> = draws.iter().map(|draw| Affine::rotation(draw.angle, height, width)).collect();
    let moved = geometry::resample(images, &moves, border)?;
    let coloured = colour::jitter(&moved, draws)?;
    Ok(geometry::resample(&coloured, &turns, Border::Zero)?)
}

#[cfg(test)]
mod tests;
