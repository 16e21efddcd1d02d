//! Requests for images, many at once.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::body::Reading;
use super::object::Object;
use super::runtime;
use crate::decode::{MAX_BYTES, bytes_too_large};
use crate::error::Result;
use crate::places::{Content, Item, Place, PlaceError, Unit};

/// Bytes that are taken from the window for an image whose size is unknown.
const USUAL: u64 = 1 << 20;

/// Bytes that an image takes from the window.
pub(in crate::places) fn expected_bytes(unit: &Unit) -> usize {
    unit.size.unwrap_or(USUAL).min(MAX_BYTES) as usize
}

/// Image that is on its way; it is given up when this is dropped.
pub(in crate::places) struct Fetch {
    unit: Arc<Unit>,
    work: Result<JoinHandle<Result<Vec<u8>>>>,
}

impl Fetch {
    /// Asks for the image of a unit.
    pub fn start(unit: Arc<Unit>) -> Self {
        let object = match &unit.place {
            Place::Remote(url) => Object::open(url),
            Place::Local(_) => Err(PlaceError::NotFound),
        };
        let work = object.map_err(Into::into).and_then(|object| runtime::spawn(read(object)));
        Self { unit, work }
    }

    /// Waits for the image.
    pub fn wait(mut self) -> Item {
        let unreachable = || PlaceError::Refused("the request was given up".into()).into();
        let work = std::mem::replace(&mut self.work, Err(unreachable()));
        let bytes =
            work.and_then(|work| runtime::wait(async { work.await.unwrap_or_else(|_| Err(unreachable())) }));
        self.unit.item(bytes.map(Content::Bytes))
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        if let Ok(work) = &self.work {
            work.abort();
        }
    }
}

/// Reads a whole object, unless it is larger than an image may be.
async fn read(object: Object) -> Result<Vec<u8>> {
    let mut reading = Reading::new(object);
    let mut bytes = Vec::new();
    while let Some(part) = reading.next().await? {
        let size = reading.size().unwrap_or(0).max((bytes.len() + part.len()) as u64);
        if size > MAX_BYTES {
            return Err(bytes_too_large());
        }
        bytes.reserve_exact((size as usize).saturating_sub(bytes.len()));
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}
