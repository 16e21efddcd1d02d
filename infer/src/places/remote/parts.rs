//! Parts of objects in any order, with the next one read ahead.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::object::Object;
use super::retry::retry;
use super::runtime;
use crate::error::{Error, Result};
use crate::places::{PlaceError, Url};

/// Object whose parts are read; all of them are of one version.
pub(in crate::places) struct Parts {
    object: Object,
    size: u64,
    version: Option<String>,
    ahead: Mutex<Option<(Range<u64>, Work)>>,
}

/// Part that is being read.
type Work = JoinHandle<Result<Bytes>>;

impl Parts {
    /// Asks for the size and the version of an object.
    ///
    /// # Errors
    /// Those of the store, and [`PlaceError::Refused`] for a server that does not tell the size.
    pub fn open(url: &Url) -> Result<Self> {
        let object = Object::open(url)?;
        let meta = runtime::wait(retry(|| object.head()))?;
        let unknown = || PlaceError::Refused("the server does not tell the size of the file".into());
        let size = meta.size.ok_or_else(unknown)?;
        Ok(Self { object, size, version: meta.version, ahead: Mutex::default() })
    }

    /// Size of the object in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads a part, and begins to read the `next` one unless it is empty.
    ///
    /// # Errors
    /// Those of the store, and [`PlaceError::Changed`].
    pub fn read(&self, range: Range<u64>, next: Range<u64>) -> Result<Bytes> {
        let ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner).take();
        let work = match ahead {
            Some((ready, work)) if ready == range => work,
            other => {
                if let Some((_, unwanted)) = other {
                    unwanted.abort();
                }
                self.start(range)?
            }
        };
        let part = runtime::wait(async {
            let given_up = |_| Err(Error::from(PlaceError::Refused("the request was given up".into())));
            work.await.unwrap_or_else(given_up)
        })?;
        if !next.is_empty() {
            let work = self.start(next.clone())?;
            *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = Some((next, work));
        }
        Ok(part)
    }

    fn start(&self, range: Range<u64>) -> Result<Work> {
        let (object, version) = (self.object.clone(), self.version.clone());
        runtime::spawn(async move {
            let ask = || object.part(range.clone(), version.as_deref());
            retry(ask).await.map_err(Error::from)
        })
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        if let Some((_, work)) = self.ahead.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            work.abort();
        }
    }
}
