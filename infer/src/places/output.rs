//! Files and objects that appear whole or not at all, and the small ones beside them.

use std::fs::{self, File};
use std::io::{self, Read, Write};

use ferronnx_models::files::StagedFile;

use super::{Options, Place, PlaceError};
use crate::error::{Error, ErrorKind, Result};

/// File or object that is written; others see it when it is [finished](Self::finish), and never if it is dropped before.
pub struct Output {
    name: String,
    inner: Inner,
}

enum Inner {
    File(StagedFile),
    #[cfg(feature = "cloud")]
    Object(super::remote::Upload),
}

impl Output {
    /// Begins a file or object; missing folders are made.
    ///
    /// # Errors
    /// [`PlaceError::Write`], [`PlaceError::ReadOnly`] for web addresses, and those of the store.
    pub fn create(place: &Place) -> Result<Self> {
        let name = place.name();
        let inner = match place {
            Place::Local(path) => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                let made = folder.map_or(Ok(()), fs::create_dir_all).and_then(|()| StagedFile::new(path));
                Inner::File(made.map_err(|error| failed(error, &name))?)
            }
            Place::Remote(url) if url.scheme().is_web() => {
                return Err(Error::from(PlaceError::ReadOnly).at(name));
            }
            #[cfg(feature = "cloud")]
            Place::Remote(url) => {
                Inner::Object(super::remote::Upload::start(url).map_err(|error| error.at(&name))?)
            }
            #[cfg(not(feature = "cloud"))]
            Place::Remote(_) => return Err(Error::from(PlaceError::NeedsCloud).at(name)),
        };
        Ok(Self { name, inner })
    }

    /// Makes the file or object appear, in the place of one that was there before.
    ///
    /// # Errors
    /// [`PlaceError::Write`] and those of the store; what was there before is then unchanged.
    pub fn finish(self) -> Result<()> {
        match self.inner {
            Inner::File(file) => file.replace().map_err(|error| failed(error, &self.name)),
            #[cfg(feature = "cloud")]
            Inner::Object(upload) => upload.finish().map_err(|error| error.at(&self.name)),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.inner {
            Inner::File(file) => file.write(bytes),
            #[cfg(feature = "cloud")]
            Inner::Object(upload) => upload.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.inner {
            Inner::File(file) => file.flush(),
            #[cfg(feature = "cloud")]
            Inner::Object(_) => Ok(()),
        }
    }
}

fn failed(error: io::Error, name: &str) -> Error {
    Error::from(PlaceError::Write(error)).at(name)
}

/// Writes a small file or object as a whole, unless there is one; tells whether it did. Of several that try, one does.
///
/// # Errors
/// Those of [`Output`].
pub fn create_new(place: &Place, bytes: &[u8]) -> Result<bool> {
    let output = match place {
        #[cfg(feature = "cloud")]
        Place::Remote(url) if !url.scheme().is_web() => {
            return super::remote::create_new(url, bytes).map_err(|error| error.at(place.name()));
        }
        _ => Output::create(place)?,
    };
    let Output { name, inner } = output;
    match inner {
        Inner::File(mut file) => {
            let created = file.write_all(bytes).and_then(|()| file.create());
            created.map_err(|error| failed(error, &name))
        }
        #[cfg(feature = "cloud")]
        Inner::Object(_) => unreachable!("objects are created above"),
    }
}

/// Reads a whole file or object of at most `limit` bytes.
///
/// # Errors
/// [`PlaceError::NotFound`] or [`ErrorKind::NotFound`] when there is none, [`ErrorKind::TooLarge`], and those of the
/// system or the store.
pub fn read(place: &Place, limit: u64) -> Result<Vec<u8>> {
    read_up_to(place, limit, &Options::default())
}

pub(super) fn read_up_to(place: &Place, limit: u64, _: &Options) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read =
        |reader: &mut dyn Read, bytes: &mut Vec<u8>| reader.take(limit + 1).read_to_end(bytes).map(drop);
    match place {
        Place::Local(path) => {
            let read = File::open(path).and_then(|mut file| read(&mut file, &mut bytes));
            read.map_err(|error| Error::io(path, error))?;
        }
        #[cfg(feature = "cloud")]
        Place::Remote(url) => {
            let mut body = super::remote::Body::open(url).map_err(|error| error.at(place.name()))?;
            read(&mut body, &mut bytes).map_err(|error| Error::io(place.name().as_ref(), error))?;
        }
        #[cfg(not(feature = "cloud"))]
        Place::Remote(_) => return Err(Error::from(PlaceError::NeedsCloud).at(place.name())),
    }
    if bytes.len() as u64 > limit {
        let kind = ErrorKind::TooLarge { size: "the file".into(), limit: format!("{limit} bytes") };
        return Err(Error::from(kind).at(place.name()));
    }
    Ok(bytes)
}

/// Tells whether there is a file or object.
///
/// # Errors
/// Those of the system or the store, when it does not tell.
pub fn exists(place: &Place) -> Result<bool> {
    match place {
        Place::Local(path) => path.try_exists().map_err(|error| Error::io(path, error)),
        #[cfg(feature = "cloud")]
        Place::Remote(url) => super::remote::exists(url).map_err(|error| error.at(place.name())),
        #[cfg(not(feature = "cloud"))]
        Place::Remote(_) => Err(Error::from(PlaceError::NeedsCloud).at(place.name())),
    }
}

/// Lists the names of the files or objects directly in a folder or prefix, sorted; none when it does not exist.
///
/// # Errors
/// Those of the system or the store.
pub fn files(place: &Place) -> Result<Vec<String>> {
    let mut names = match place {
        Place::Local(path) => {
            let entries = match fs::read_dir(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                entries => entries.map_err(|error| Error::io(path, error))?,
            };
            let mut names = Vec::new();
            for entry in entries {
                let entry = entry.map_err(|error| Error::io(path, error))?;
                if !entry.path().is_dir() {
                    names.extend(entry.file_name().into_string());
                }
            }
            names
        }
        #[cfg(feature = "cloud")]
        Place::Remote(url) => super::remote::files(url).map_err(|error| error.at(place.name()))?,
        #[cfg(not(feature = "cloud"))]
        Place::Remote(_) => return Err(Error::from(PlaceError::NeedsCloud).at(place.name())),
    };
    names.sort();
    Ok(names)
}

/// Deletes a file or object; one that does not exist is no error.
///
/// # Errors
/// Those of the system or the store.
pub fn delete(place: &Place) -> Result<()> {
    match place {
        Place::Local(path) => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error, &place.name())),
            _ => Ok(()),
        },
        #[cfg(feature = "cloud")]
        Place::Remote(url) => super::remote::delete(url).map_err(|error| error.at(place.name())),
        #[cfg(not(feature = "cloud"))]
        Place::Remote(_) => Err(Error::from(PlaceError::NeedsCloud).at(place.name())),
    }
}

#[cfg(test)]
mod tests;
