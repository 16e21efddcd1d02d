//! Uploads in parts, which become an object when the last one is there.

use std::io;

use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutPayload};

use super::failure::Failure;
use super::object;
use super::runtime;
use super::store::{self, Store};
use crate::error::Result;
use crate::places::{PlaceError, Url};

/// Bytes of a part; S3 allows 10,000 parts.
const PART: usize = 16 << 20;

/// Object that is uploaded; it appears when it is [finished](Self::finish).
pub(in crate::places) struct Upload {
    store: Store,
    path: Path,
    buffer: Vec<u8>,
    /// Parts that were sent; none while everything fits into one request.
    parts: Option<Box<dyn MultipartUpload>>,
}

/// Client that repeats requests by itself, as parts of an upload need it, and the path of the object.
pub(super) fn target(url: &Url) -> Result<(Store, Path)> {
    Ok((store::open_for_uploads(url)?, object::path(url.key())?))
}

impl Upload {
    /// Begins an object; nothing is sent yet.
    pub fn start(url: &Url) -> Result<Self> {
        let (store, path) = target(url)?;
        Ok(Self { store, path, buffer: Vec::new(), parts: None })
    }

    /// Takes bytes, and sends a part when there are enough.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PART {
            self.send().map_err(io::Error::other)?;
        }
        Ok(bytes.len())
    }

    /// Sends what is left and makes the object appear.
    ///
    /// # Errors
    /// Those of the store; the object then does not appear.
    pub fn finish(mut self) -> Result<()> {
        if self.parts.is_none() {
            let payload = PutPayload::from(std::mem::take(&mut self.buffer));
            return runtime::wait(async {
                self.store.put(&self.path, payload).await.map(drop).map_err(given_up)
            });
        }
        self.send()?;
        if let Some(parts) = &mut self.parts {
            runtime::wait(async { parts.complete().await.map_err(given_up) })?;
        }
        self.parts = None;
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        let payload = PutPayload::from(std::mem::take(&mut self.buffer));
        let parts = match &mut self.parts {
            Some(parts) => parts,
            None => {
                let parts =
                    runtime::wait(async { self.store.put_multipart(&self.path).await.map_err(given_up) })?;
                self.parts.insert(parts)
            }
        };
        let part = parts.put_part(payload);
        runtime::wait(async { part.await.map_err(given_up) })
    }
}

/// Writes an object in one request, unless there is one; tells whether it did.
///
/// # Errors
/// Those of the store.
pub(in crate::places) fn create_new(url: &Url, bytes: &[u8]) -> Result<bool> {
    let (store, path) = target(url)?;
    let payload = PutPayload::from(bytes.to_vec());
    runtime::wait(async {
        match store.put_opts(&path, payload, PutMode::Create.into()).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(given_up(error)),
        }
    })
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(mut parts) = self.parts.take() {
            // What cannot be removed now is removed by the bucket's own rules for unfinished uploads.
            let _ = runtime::wait(async move { parts.abort().await.map_err(given_up) });
        }
    }
}

/// Converts the failure of a request that the client repeated by itself.
fn given_up(error: object_store::Error) -> PlaceError {
    match Failure::from(error) {
        Failure::Final(error) => error,
        Failure::Busy(reason) | Failure::Broken(reason) => {
            PlaceError::GaveUp { attempts: store::UPLOAD_ATTEMPTS, reason }
        }
    }
}
