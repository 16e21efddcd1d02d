//! Images where they lie: folders, lists, object stores, web addresses, tar shards and parquet files.
//!
//! [`units`] lists what places hold, [`items()`] reads the images of these units in order, and [`Output`] writes a file or
//! an object that appears whole or not at all. All of them stream: a listing of millions of names does not lie in
//! memory, and of the images only a [window](Options::window_bytes).
//!
//! ```no_run
//! use ferronnx_infer::places::{self, Options, Place};
//!
//! # fn main() -> ferronnx_infer::Result<()> {
//! let options = Options::default();
//! let inputs = vec![Place::parse("s3://bucket/train-{000..099}.tar")?, Place::parse("photos")?];
//! let units: Vec<_> = places::units(inputs, &options).collect::<Result<_, _>>()?;
//! for item in places::items(units.into_iter(), &options) {
//!     println!("{}: {}", item.name, item.content.is_ok());
//! }
//! # Ok(()) }
//! ```

mod braces;
mod budget;
mod error;
mod items;
mod label;
mod list;
mod list_file;
mod names;
mod output;
#[cfg(feature = "cloud")]
mod parquet;
mod place;
mod queue;
#[cfg(feature = "cloud")]
mod remote;
mod shard;
mod tar;
mod unit;

pub use error::PlaceError;
pub use items::{Items, items};
pub use label::{Label, LabelError};
pub use list::{Units, units};
pub use names::{holds_many, is_shard};
pub use output::{Output, create_new, delete, exists, files, read};
pub use place::{Place, Scheme, Url};
pub use unit::{Content, Item, Unit, UnitKind};

/// Limits of what is read ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Bytes of images and shards that are read ahead of the one that is handed out.
    pub window_bytes: usize,
    /// Images that are read ahead, each by a request of its own.
    pub window_items: usize,
}

impl Default for Options {
    /// 128 MiB and 96 images.
    fn default() -> Self {
        Self { window_bytes: 128 << 20, window_items: 96 }
    }
}
