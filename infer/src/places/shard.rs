//! Shards: files and objects that hold many images.

use std::fs::File;
use std::io::{BufReader, Read};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;

use super::queue::Closed;
use super::{Item, Place, Unit, UnitKind, tar};
use crate::error::Error;

/// Takes an image; fails when nobody wants more.
pub(super) type Emit<'a> = &'a mut dyn FnMut(Item) -> Result<(), Closed>;

/// Bytes that are read from a file at once.
const BUFFER: usize = 1 << 18;

/// Passes the images of a shard to `emit`, in their order in it.
///
/// # Errors
/// Failures of the shard as a whole; those of single images are passed on as items.
pub(super) fn read(unit: &Arc<Unit>, emit: Emit<'_>) -> Result<(), Error> {
    match unit.kind {
        UnitKind::Tar => tar::read(unit, stream(&unit.place)?, emit),
        UnitKind::TarGz => tar::read(unit, MultiGzDecoder::new(stream(&unit.place)?), emit),
        #[cfg(feature = "cloud")]
        UnitKind::Parquet => super::parquet::read(unit, emit),
        #[cfg(not(feature = "cloud"))]
        UnitKind::Parquet => Err(super::PlaceError::NeedsCloud.into()),
        UnitKind::Image => Ok(()),
    }
}

/// Content of a file or object from its beginning to its end.
fn stream(place: &Place) -> Result<Box<dyn Read>, Error> {
    match place {
        Place::Local(path) => {
            let file = File::open(path).map_err(|error| Error::io(path, error))?;
            Ok(Box::new(BufReader::with_capacity(BUFFER, file)))
        }
        #[cfg(feature = "cloud")]
        Place::Remote(url) => Ok(Box::new(super::remote::Body::open(url)?)),
        #[cfg(not(feature = "cloud"))]
        Place::Remote(_) => Err(super::PlaceError::NeedsCloud.into()),
    }
}
