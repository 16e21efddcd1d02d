//! Output of a job: a folder or prefix with small records, and with parts that appear whole.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::BulkError;
use crate::error::{Error, ErrorKind};
use crate::places::{self, Output, Place, PlaceError};

/// Largest size of a file that is read, in bytes: a part of results, or a record.
const MAX_BYTES: u64 = 16 << 30;

/// Folder or prefix that a job writes into.
#[derive(Debug, Clone)]
pub(super) struct Store {
    place: Place,
}

impl Store {
    pub(super) fn new(place: Place) -> Self {
        Self { place }
    }

    /// Folder or prefix.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Name of a file for messages.
    pub(super) fn full_name(&self, name: &str) -> String {
        self.place.join(name).name()
    }

    /// Lists the names of the files directly in `folder`; none when it does not exist.
    pub(super) fn list(&self, folder: &str) -> Result<Vec<String>, BulkError> {
        let place = if folder.is_empty() { self.place.clone() } else { self.place.join(folder) };
        Ok(places::files(&place)?)
    }

    /// Reads a file, if there is one.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, BulkError> {
        match places::read(&self.place.join(name), MAX_BYTES) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads a record, if there is one.
    pub(super) fn json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, BulkError> {
        let Some(bytes) = self.read(name)? else { return Ok(None) };
        let damaged = |source| BulkError::Record { name: self.full_name(name), source };
        serde_json::from_slice(&bytes).map(Some).map_err(damaged)
    }

    /// Creates a file, unless there is one; tells whether it did. Of two processes that try, one does.
    pub(super) fn create(&self, name: &str, bytes: &[u8]) -> Result<bool, BulkError> {
        Ok(places::create_new(&self.place.join(name), bytes)?)
    }

    /// Writes a file in the place of one that may be there.
    pub(super) fn put(&self, name: &str, bytes: &[u8]) -> Result<(), BulkError> {
        let place = self.place.join(name);
        let mut output = Output::create(&place)?;
        let written = std::io::Write::write_all(&mut output, bytes);
        written.map_err(|source| BulkError::Write { name: place.name(), source })?;
        Ok(output.finish()?)
    }

    /// Writes a record.
    pub(super) fn put_json(&self, name: &str, record: &impl Serialize) -> Result<(), BulkError> {
        let json = serde_json::to_vec(record);
        let json = json.map_err(|source| BulkError::Record { name: self.full_name(name), source })?;
        self.put(name, &json)
    }

    /// Deletes a file; one that does not exist is no error.
    pub(super) fn delete(&self, name: &str) -> Result<(), BulkError> {
        Ok(places::delete(&self.place.join(name))?)
    }

    /// Begins a file that appears when it is finished.
    pub(super) fn file(&self, name: &str) -> Result<Output, BulkError> {
        Ok(Output::create(&self.place.join(name))?)
    }
}

fn is_missing(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Place(PlaceError::NotFound))
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}
