//! From a folder of pictures to batches.

mod ahead;
pub mod augment;
pub mod batches;
pub mod cifar;
mod error;
pub mod folder;
pub mod pictures;
mod random;
pub mod split;

pub use error::{BadPictures, DataError};
pub use infer::labelled::Sample;
