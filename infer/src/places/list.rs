//! Listing of places: units in the order of each input, streamed.

use std::path::{Path, PathBuf};

use super::names::{self, Named};
use super::{Label, Options, Place, PlaceError, Unit, UnitKind, braces, list_file};
use crate::error::{Error, ErrorKind, Result};
use crate::files::{self, Entry, LeftOutReason};

/// Units of places, one after the other; an error ends what its input has, and not the others.
pub struct Units(Stream);

/// Units of one input.
pub(super) type Stream = Box<dyn Iterator<Item = Result<Unit>> + Send>;

/// Lists the images and shards of `inputs`, in the order of the inputs.
///
/// Folders and prefixes are searched, each in the order of its names; what is neither an image nor a shard is left out.
/// Lists (`.csv`, `.tsv`, `.txt`) give the images and shards that they name, without looking at them. Braces name
/// several: `train-{000000..000099}.tar`. Another file is taken as an image.
pub fn units(inputs: Vec<Place>, options: &Options) -> Units {
    let options = *options;
    Units(Box::new(inputs.into_iter().flat_map(expanded).flat_map(move |input| match input {
        Ok(place) => of_place(place, &options).unwrap_or_else(failed),
        Err(error) => failed(error),
    })))
}

impl Iterator for Units {
    type Item = Result<Unit>;

    fn next(&mut self) -> Option<Result<Unit>> {
        self.0.next()
    }
}

fn failed(error: Error) -> Stream {
    Box::new(std::iter::once(Err(error)))
}

/// Places that the braces of an input name. A file with braces in its name is itself.
fn expanded(place: Place) -> Vec<Result<Place>> {
    let text = match &place {
        Place::Local(path) => path.to_str().filter(|_| !path.exists()),
        Place::Remote(url) => Some(url.key()),
    };
    let Some(text) = text.filter(|text| text.contains('{')) else { return vec![Ok(place)] };
    match braces::expand(text) {
        Ok(names) => names.into_iter().map(|name| Ok(place.renamed(&name))).collect(),
        Err(error) => vec![Err(Error::from(error).at(place.name()))],
    }
}

fn of_place(place: Place, options: &Options) -> Result<Stream> {
    match &place {
        Place::Local(path) => of_path(path, options),
        #[cfg(feature = "cloud")]
        Place::Remote(url) => super::remote::units(url, options).map_err(|error| error.at(place.name())),
        #[cfg(not(feature = "cloud"))]
        Place::Remote(_) => Err(Error::from(PlaceError::NeedsCloud).at(place.name())),
    }
}

fn of_path(path: &Path, options: &Options) -> Result<Stream> {
    if files::metadata(path)?.is_dir() { folder(path) } else { of_name(path.to_owned().into(), options) }
}

/// Units of the single file or object `place`.
pub(super) fn of_name(place: Place, options: &Options) -> Result<Stream> {
    let at = |error: PlaceError| Error::from(error).at(place.name());
    let kind = match names::named(place.file_name()) {
        Named::List => return list_file::units(&place, options),
        Named::Archive(extension) => return Err(at(PlaceError::Archive(extension))),
        Named::Unit(kind) => kind,
        Named::Other => UnitKind::Image,
    };
    names::check_built(kind).map_err(at)?;
    Ok(Box::new(std::iter::once(Ok(Unit::new(place, kind).measured()))))
}

/// Images and shards below a folder.
fn folder(dir: &Path) -> Result<Stream> {
    let root = dir.to_owned();
    let found = files::walk(dir)?.filter_map(move |entry| in_folder(&root, entry));
    Ok(Box::new(not_empty(found, ErrorKind::NoImages, dir.to_owned())))
}

fn in_folder(root: &Path, entry: Entry) -> Option<Result<Unit>> {
    let (path, kind) = match entry {
        Entry::Image(path) => (path, UnitKind::Image),
        Entry::LeftOut(path, LeftOutReason::NotAnImage) => {
            let Named::Unit(kind) = names::named(path.to_str()?) else { return None };
            (path, kind)
        }
        Entry::Failed(error) => return Some(Err(error)),
        Entry::Folder(_) | Entry::LeftOut(..) => return None,
    };
    let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
    let unit = names::check_built(kind).map_err(|error| Error::from(error).at(&path));
    Some(unit.map(|()| Unit::new(path.into(), kind).measured().in_folders(&relative)))
}

/// Passes on units, and an error if there are none.
pub(super) fn not_empty(
    units: impl Iterator<Item = Result<Unit>> + Send,
    error: impl Into<Error>,
    place: PathBuf,
) -> impl Iterator<Item = Result<Unit>> + Send {
    let mut if_empty = Some(error.into().at(place));
    let mut units = units.fuse();
    std::iter::from_fn(move || match units.next() {
        Some(unit) => {
            if_empty = None;
            Some(unit)
        }
        None => if_empty.take().map(Err),
    })
}

impl Unit {
    /// Adds the size and the time of the last change of a local file; a file that is missing fails when it is read.
    fn measured(mut self) -> Self {
        if let Some(metadata) = self.place.path().and_then(|path| path.metadata().ok()) {
            self.size = Some(metadata.len());
            let changed =
                metadata.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
            self.version = changed.map(|time| format!("{}.{:09}", time.as_secs(), time.subsec_nanos()));
        }
        self
    }

    /// Adds the class and the split that the folders of a relative name tell.
    pub(super) fn in_folders(mut self, relative: &str) -> Self {
        let (class, split) = names::class_of(relative);
        self.split = split;
        if !self.kind.is_shard() {
            self.labels = class.map(|class| vec![Label::named(class)]);
        }
        self
    }
}

#[cfg(test)]
mod tests;
