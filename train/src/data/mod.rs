//! Data: images in folders, lists, shards and stores; splits, augmentation and batches.

pub mod augment;
pub mod batches;
mod cache;
pub mod cifar;
pub mod content;
pub mod duplicates;
mod error;
pub mod folder;
pub mod images;
mod parcel;
mod prefetch;
pub(crate) mod random;
mod sampling;
pub mod shards;
mod slices;
mod source;
pub mod split;
pub mod survey;

pub use error::{BadImages, DataError, ScanError};
pub use ferronnx_infer::data_set::Sample;
pub use ferronnx_infer::image_folder::Split;

pub use self::sampling::Sampling;
pub use self::source::Source;
