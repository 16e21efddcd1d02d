//! Files of embeddings with the names of their images: `.npy` with a list of names beside it, or `.jsonl`.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use ndarray::Array2;
use serde::Deserialize;

use super::npy;
use crate::error::{Error, Result};

/// Embeddings of images, a row for each.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// Paths of the images, as they were given when the file was written.
    pub names: Vec<String>,
    /// Embeddings, `[N, C]`.
    pub values: Array2<f32>,
}

/// Reason why a file of embeddings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddingsError {
    /// The file is no matrix of 32-bit floats.
    #[error("holds no embeddings")]
    Npy(#[source] io::Error),
    /// A line is no object with a path and an embedding.
    #[error("line {line} is no object with `path` and `embedding`")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// Reason.
        source: serde_json::Error,
    },
    /// A row has another length than the first.
    #[error("line {line} has {found} values, the first has {expected}")]
    Length {
        /// Number of the line, from 1.
        line: usize,
        /// Length of its embedding.
        found: usize,
        /// Length of the first one.
        expected: usize,
    },
    /// The list of names has another number of lines than the matrix has rows.
    #[error("has {rows} rows, but {names} has {lines} names: they belong to different files")]
    Names {
        /// Rows of the matrix.
        rows: usize,
        /// File of the names.
        names: PathBuf,
        /// Names in it.
        lines: usize,
    },
    /// A value is infinite or NaN.
    #[error("holds values that are not finite")]
    NotFinite,
}

/// Path of the list of names that belongs to the matrix at `path`: `photos.names.txt` for `photos.npy`.
pub fn names_file(path: &Path) -> PathBuf {
    path.with_extension("names.txt")
}

/// Line of a `.jsonl` file.
#[derive(Deserialize)]
struct Line {
    path: String,
    embedding: Vec<f32>,
}

impl Embeddings {
    /// Reads the file at `path`: `.jsonl` by its name, else `.npy` with its [names](names_file).
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound), [`Io`](crate::ErrorKind::Io) or [`Embeddings`](crate::ErrorKind::Embeddings), naming the file.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|error| Error::io(path, error))?;
        let found = match path.extension().is_some_and(|extension| extension == "jsonl") {
            true => Self::of_lines(path, BufReader::new(file)),
            false => Self::of_matrix(path, file),
        }?;
        match found.values.iter().all(|value| value.is_finite()) {
            true => Ok(found),
            false => Err(Error::from(EmbeddingsError::NotFinite).at(path)),
        }
    }

    fn of_matrix(path: &Path, file: File) -> Result<Self> {
        let values = npy::read(file).map_err(|error| Error::from(EmbeddingsError::Npy(error)).at(path))?;
        let names_path = names_file(path);
        let text = fs::read_to_string(&names_path).map_err(|error| Error::io(&names_path, error))?;
        let names: Vec<String> = text.lines().map(str::to_owned).collect();
        match values.nrows() {
            rows if rows == names.len() => Ok(Self { names, values }),
            rows => {
                let error = EmbeddingsError::Names { rows, names: names_path, lines: names.len() };
                Err(Error::from(error).at(path))
            }
        }
    }

    fn of_lines(path: &Path, lines: impl BufRead) -> Result<Self> {
        let (mut names, mut values, mut expected) = (Vec::new(), Vec::new(), None);
        for (text, line) in lines.lines().zip(1..) {
            let text = text.map_err(|error| Error::io(path, error))?;
            let failed = |error: EmbeddingsError| Error::from(error).at(path);
            let read: Line = serde_json::from_str(&text)
                .map_err(|source| failed(EmbeddingsError::Line { line, source }))?;
            let (found, expected) = (read.embedding.len(), *expected.get_or_insert(read.embedding.len()));
            if found != expected {
                return Err(failed(EmbeddingsError::Length { line, found, expected }));
            }
            names.push(read.path);
            values.extend(read.embedding);
        }
        let shape = [names.len(), expected.unwrap_or(0)];
        let values = Array2::from_shape_vec(shape, values).expect("rows of one length");
        Ok(Self { names, values })
    }
}
