//! Lists of images and shards in any place: `path,label[,split]`, or one name a line.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::list::Stream;
use super::names::{self, Named};
use super::queue::{Sender, queue};
use super::{Label, Options, Place, PlaceError, Unit, UnitKind};
use crate::error::Error;
use crate::image_list::table::Table;
use crate::image_list::{self, ListError, ListErrorKind, MAX_BYTES};

/// Bytes of names that are listed ahead.
const AHEAD: usize = 1 << 20;

/// Lists the units that the list at `place` names; names without `://` are relative to it.
pub(super) fn units(place: &Place, options: &Options) -> Result<Stream, Error> {
    let bytes = super::output::read_up_to(place, MAX_BYTES, options)?;
    let base = place.parent();
    let name = place.name();
    let (sender, receiver) = queue(AHEAD);
    std::thread::spawn(move || {
        if let Err((line, kind)) = each(&bytes, &base, &sender) {
            let error = PlaceError::from(ListError { path: name.into(), line, kind });
            // Nobody wants the error of a list that is no longer read.
            let _ = sender.send(Err(error.into()), 0);
        }
    });
    Ok(Box::new(std::iter::from_fn(move || receiver.recv())))
}

type Failure = (Option<u64>, ListErrorKind);

/// Sends the units that the content of a list names.
fn each(bytes: &[u8], base: &Place, sender: &Sender<Result<Unit, Error>>) -> Result<(), Failure> {
    let mut seen = Seen::default();
    let mut is_wanted = true;
    let mut add = |line, name: &str, labels: Option<Vec<Label>>, split| {
        if is_wanted {
            seen.add(line, name)?;
            let unit = unit(base, name).map(|unit| {
                // No label in the line of a shard: those of its images are in it.
                let labels = labels.filter(|labels| !(unit.kind.is_shard() && labels.is_empty()));
                Unit { labels, split, ..unit }
            });
            is_wanted = sender.send(unit, name.len() + 100).is_ok();
        }
        Ok(())
    };
    match Table::new(bytes) {
        Ok(table) => table.each(|line, row| {
            let image = image_list::labelled(row, "".as_ref(), line)?;
            let name = image.path.to_str().ok_or(ListErrorKind::NotUtf8)?;
            let labels = image.labels.iter().map(|label| Label::named(label)).collect();
            add(line, name, Some(labels), image.split)
        }),
        Err(ListErrorKind::NoColumns { found }) => {
            names_in(bytes, found, |line, name| add(line, name, None, None))
        }
        Err(kind) => return Err((None, kind)),
    }
    .map_err(|(line, kind)| (Some(line), kind))?;
    if seen.0.is_empty() { Err((None, ListErrorKind::Empty)) } else { Ok(()) }
}

/// Calls `see` with each line of a list without columns; a header `path` is left out.
fn names_in(
    bytes: &[u8],
    found: String,
    mut see: impl FnMut(u64, &str) -> Result<(), ListErrorKind>,
) -> Result<(), (u64, ListErrorKind)> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|_| (1, ListErrorKind::NotUtf8))?;
    let lines = (1..).zip(text.lines().map(str::trim)).filter(|(_, line)| !line.is_empty());
    for (line, name) in lines {
        // A line with a separator would be one of a table whose columns are unknown.
        if name.contains(['\t', ';', '"']) || (name.contains(',') && !name.contains("://")) {
            return Err((line, ListErrorKind::NoColumns { found }));
        }
        if !(line == 1 && image_list::table::is_path_header(name)) {
            see(line, name).map_err(|kind| (line, kind))?;
        }
    }
    Ok(())
}

/// Unit that a line names.
fn unit(base: &Place, name: &str) -> Result<Unit, Error> {
    let mut place = Place::parse(name)?;
    if let Place::Local(path) = &place {
        place = match base {
            Place::Local(base) => {
                let path = base.join(path);
                Place::Local(image_list::existing(&path).unwrap_or(path))
            }
            Place::Remote(_) => base.join(name),
        };
    }
    let at = |error: PlaceError| Error::from(error).at(place.name());
    let kind = match names::named(place.file_name()) {
        Named::Unit(kind) => kind,
        Named::Archive(extension) => return Err(at(PlaceError::Archive(extension))),
        Named::List | Named::Other => UnitKind::Image,
    };
    names::check_built(kind).map_err(at)?;
    if cfg!(not(feature = "cloud")) && place.path().is_none() {
        return Err(at(PlaceError::NeedsCloud));
    }
    Ok(Unit::new(place, kind))
}

/// Names seen before, by their hashes: eight bytes a name instead of the name.
#[derive(Default)]
struct Seen(HashMap<u64, u64>, RandomState);

impl Seen {
    fn add(&mut self, line: u64, name: &str) -> Result<(), ListErrorKind> {
        match self.0.insert(self.1.hash_one(name), line) {
            Some(first) => Err(ListErrorKind::Duplicate { path: name.into(), first }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
