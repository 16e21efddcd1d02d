//! Tar shards: images, with labels beside them as in [WebDataset](https://github.com/webdataset/webdataset).
//!
//! Members that share a name up to its first dot are a sample. `KEY.cls`, `KEY.json` or `KEY.txt` label `KEY.jpg`; without
//! them a folder of the member's name is its class. Nothing is written to disk, so a name may be anything.

mod sample;
mod watched;

use std::collections::HashSet;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::sync::Arc;

use ::tar::{Archive, Entry, EntryType};

use super::shard::Emit;
use super::{PlaceError, Unit, names};
use crate::decode::{MAX_BYTES, bytes_too_large};
use crate::error::{Error, Result};
use crate::{escape, files};
use sample::{Sample, is_sidecar};
use watched::{State, Watched};

/// Largest size of a file with a label, in bytes.
const MAX_SIDECAR: u64 = 4 << 20;

/// Passes the images of the archive in `reader` to `emit`.
///
/// # Errors
/// [`PlaceError::CutOff`] and [`PlaceError::Damaged`] with the number of images before, and [`PlaceError::NoImages`].
pub(super) fn read(unit: &Arc<Unit>, reader: impl Read, emit: Emit<'_>) -> Result<()> {
    let (reader, state) = Watched::new(reader);
    let mut archive = Archive::new(reader);
    // Archives that were joined by `cat` have zeros between them.
    archive.set_ignore_zeros(true);
    let mut shard =
        Shard { unit, emit, sample: Sample::default(), names: HashSet::new(), images: 0, unread: 0 };
    let read = shard.each(&mut archive, &state);
    if matches!(read, Ok(ControlFlow::Break(()))) || shard.flush().is_break() {
        return Ok(());
    }
    let (kind, images) = (unit.kind, shard.images);
    match read {
        Err(error) => Err(state.failure(error, kind, images)),
        Ok(_) if !state.has_end_mark() => {
            let reason = "the mark at its end is missing".into();
            Err(PlaceError::CutOff { kind, images, reason }.into())
        }
        Ok(_) if images == 0 => Err(PlaceError::NoImages { kind }.into()),
        Ok(_) => Ok(()),
    }
}

/// Shard that is being read.
struct Shard<'a, 'e> {
    unit: &'a Arc<Unit>,
    emit: Emit<'e>,
    sample: Sample,
    names: HashSet<String>,
    /// Number of images passed on.
    images: u64,
    /// Bytes of the last member that were not read.
    unread: u64,
}

impl Shard<'_, '_> {
    fn each<R: Read>(&mut self, archive: &mut Archive<R>, state: &State) -> io::Result<ControlFlow<()>> {
        let mut entries = archive.entries()?;
        loop {
            state.expect_header(std::mem::take(&mut self.unread));
            let Some(entry) = entries.next() else { return Ok(ControlFlow::Continue(())) };
            state.expect_data();
            if self.add(&mut entry?)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }

    /// Takes in a member: an image, a label or something else, which is passed over.
    fn add<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> io::Result<ControlFlow<()>> {
        let name = name_of(&entry.path_bytes());
        let is_image = files::has_image_extension(name.as_ref()) && !names::is_ignored(&name);
        if let Some(what) = not_a_file(entry.header().entry_type()) {
            // The holes of a sparse file are as long as it likes, so that it is not read.
            self.unread = entry.header().entry_size()?;
            let error = PlaceError::NoFile(what).into();
            return Ok(if is_image { self.fail(&name, error) } else { ControlFlow::Continue(()) });
        }
        if !is_image && (names::is_ignored(&name) || !is_sidecar(&name)) {
            return skip(entry).map(ControlFlow::Continue);
        }
        if !self.sample.holds(&name) && self.flush().is_break() {
            return Ok(ControlFlow::Break(()));
        }
        if !self.names.insert(name.clone()) {
            skip(entry)?;
            let copy = format!("{name} (again)");
            return Ok(self.fail(&copy, PlaceError::SameName.into()));
        }
        let limit = if is_image { MAX_BYTES } else { MAX_SIDECAR };
        if entry.size() > limit {
            skip(entry)?;
            return Ok(if is_image {
                self.fail(&name, bytes_too_large())
            } else {
                ControlFlow::Continue(())
            });
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        if bytes.len() as u64 != entry.size() {
            let place = escape::name(&name);
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("it ends in the middle of {place}"),
            ));
        }
        self.sample.add(name, bytes, is_image);
        Ok(ControlFlow::Continue(()))
    }

    /// Passes on the images of the sample, which is complete.
    fn flush(&mut self) -> ControlFlow<()> {
        for (name, labels, bytes) in self.sample.take() {
            self.images += 1;
            let item = self.unit.member(name, labels, Ok(super::Content::Bytes(bytes)));
            if (self.emit)(item).is_err() {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    /// Passes on an image that cannot be read, after those of its sample before it.
    fn fail(&mut self, name: &str, error: Error) -> ControlFlow<()> {
        self.flush()?;
        self.images += 1;
        match (self.emit)(self.unit.member(name, None, Err(error))) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

/// Name of a member, with bytes that are not UTF-8 as `\xE9`.
fn name_of(bytes: &[u8]) -> String {
    let mut name = String::new();
    for chunk in bytes.utf8_chunks() {
        name.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| name.push_str(&format!("\\x{byte:02X}")));
    }
    name.strip_prefix("./").map(str::to_owned).unwrap_or(name)
}

/// Kind of a member that holds no bytes of its own.
fn not_a_file(kind: EntryType) -> Option<&'static str> {
    match kind {
        EntryType::Regular | EntryType::Continuous => None,
        EntryType::Directory => Some("folder"),
        EntryType::Symlink => Some("symbolic link"),
        EntryType::Link => Some("hard link"),
        EntryType::GNUSparse => Some("sparse file"),
        _ => Some("special file"),
    }
}

/// Reads to the end of a member; its bytes have to be there.
fn skip<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<()> {
    let size = entry.size();
    if io::copy(entry, &mut io::sink())? < size {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ends in the middle of a member"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
