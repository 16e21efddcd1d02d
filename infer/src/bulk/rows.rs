//! Rows of results: the formats in which the results of images are written and read again.

mod csv;
mod jsonl;
#[cfg(feature = "cloud")]
mod parquet;

use std::io::{self, Read, Write};

pub use csv::CsvWriter;
pub use jsonl::JsonlWriter;
#[cfg(feature = "cloud")]
pub use parquet::ParquetWriter;

use crate::results::Outcome;

/// Format of the parts of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum RowFormat {
    /// JSON object per line.
    Jsonl,
    /// Row per image and class.
    Csv,
    /// Row per image, in columns.
    #[cfg(feature = "cloud")]
    Parquet,
}

/// Writer of results in one format.
pub trait RowWriter {
    /// Writes the result of one image.
    ///
    /// # Errors
    /// Those of the output.
    fn write(&mut self, outcome: &Outcome) -> io::Result<()>;

    /// Writes the end of the output.
    ///
    /// # Errors
    /// Those of the output.
    fn finish(&mut self) -> io::Result<()>;
}

/// Writer of results in any of the formats.
pub(crate) enum Rows<W: Write + Send> {
    Jsonl(JsonlWriter<W>),
    Csv(Box<CsvWriter<W>>),
    #[cfg(feature = "cloud")]
    Parquet(Box<ParquetWriter<W>>),
}

impl<W: Write + Send> Rows<W> {
    /// Writes the end, and gives the output back.
    pub(crate) fn into_inner(self) -> io::Result<W> {
        match self {
            Self::Jsonl(writer) => writer.into_inner(),
            Self::Csv(writer) => writer.into_inner(),
            #[cfg(feature = "cloud")]
            Self::Parquet(writer) => writer.into_inner(),
        }
    }
}

impl<W: Write + Send> RowWriter for Rows<W> {
    fn write(&mut self, outcome: &Outcome) -> io::Result<()> {
        match self {
            Self::Jsonl(writer) => writer.write(outcome),
            Self::Csv(writer) => writer.write(outcome),
            #[cfg(feature = "cloud")]
            Self::Parquet(writer) => writer.write(outcome),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Jsonl(writer) => writer.finish(),
            Self::Csv(writer) => writer.finish(),
            #[cfg(feature = "cloud")]
            Self::Parquet(writer) => writer.finish(),
        }
    }
}

/// Row that was read again, as far as a check needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row<'a> {
    /// Name of the image.
    pub(crate) name: &'a str,
    /// True for an image that could not be classified.
    pub(crate) failed: bool,
}

impl RowFormat {
    /// Extension of the files, as `jsonl`.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            #[cfg(feature = "cloud")]
            Self::Parquet => "parquet",
        }
    }

    /// Creates a writer to `out`; `multi_label` tells whether the results have selected classes.
    ///
    /// # Errors
    /// Those of the output.
    pub(crate) fn writer<W: Write + Send>(self, multi_label: bool, out: W) -> io::Result<Rows<W>> {
        Ok(match self {
            Self::Jsonl => Rows::Jsonl(JsonlWriter::new(out)),
            Self::Csv => Rows::Csv(Box::new(CsvWriter::new(out, multi_label))),
            #[cfg(feature = "cloud")]
            Self::Parquet => Rows::Parquet(Box::new(ParquetWriter::new(out, multi_label)?)),
        })
    }

    /// Reads what a writer wrote, and calls `see` for the result of each image.
    ///
    /// # Errors
    /// Those of the input, and [`InvalidData`](io::ErrorKind::InvalidData) for what no writer wrote.
    pub(crate) fn read(self, input: impl Read, see: &mut dyn FnMut(Row<'_>)) -> io::Result<()> {
        match self {
            Self::Jsonl => jsonl::read(input, see),
            Self::Csv => csv::read(input, see),
            #[cfg(feature = "cloud")]
            Self::Parquet => parquet::read(input, see),
        }
    }
}

#[cfg(test)]
mod tests {
    use ferronnx_models::card::Activation;

    use super::*;
    use crate::DecodeError;
    use crate::error::Error;
    use crate::results::{Classified, Failed, Prediction, Timings};

    const FORMATS: &[RowFormat] = &[
        RowFormat::Jsonl,
        RowFormat::Csv,
        #[cfg(feature = "cloud")]
        RowFormat::Parquet,
    ];

    /// Results with names and errors that formats have to escape.
    fn outcomes() -> Vec<Outcome> {
        let prediction =
            |index, label: &str| Prediction { index, label: label.into(), probability: 0.5, selected: None };
        let classified = |path: &str| {
            Outcome::Classified(Classified {
                path: path.into(),
                predictions: vec![prediction(1, "cat, \"big\""), prediction(0, "dog")],
                activation: Activation::Softmax,
                assumed: None,
                provider: "CPUExecutionProvider",
                timings_ms: Timings::default(),
            })
        };
        let failed = |path: &str| {
            let error = Error::from(DecodeError::Empty).at(path);
            Outcome::Failed(Failed { path: path.into(), error })
        };
        vec![
            classified("a.png"),
            failed("b,\"\n\u{e9}.png"),
            classified("a.png"),
            classified("c\\d e.png"),
            failed("f.png"),
        ]
    }

    #[test]
    fn what_is_written_is_read_again() {
        for &format in FORMATS {
            let mut writer = format.writer(false, Vec::new()).unwrap();
            for outcome in outcomes() {
                writer.write(&outcome).unwrap();
            }
            let bytes = writer.into_inner().unwrap();
            let mut found = Vec::new();
            format.read(&bytes[..], &mut |row| found.push((row.name.to_owned(), row.failed))).unwrap();
            let expected: Vec<_> = outcomes()
                .iter()
                .map(|outcome| {
                    (outcome.path().to_str().unwrap().to_owned(), matches!(outcome, Outcome::Failed(_)))
                })
                .collect();
            assert_eq!(found, expected, "{format:?}");
        }
    }

    #[test]
    fn what_no_writer_wrote_is_an_error() {
        for (format, bytes) in [
            (RowFormat::Jsonl, &b"{\"path\":\"a.png\"}\n{\"pa"[..]),
            (RowFormat::Jsonl, b"[]"),
            (RowFormat::Jsonl, b"\xff\xfe"),
            (RowFormat::Csv, b"path,label\na.png,cat\n"),
            (RowFormat::Csv, b"path,rank,index,label,probability,error\na.png,1\n"),
            (RowFormat::Csv, b"path,rank,index,label,probability,error\na.png,x,0,cat,0.5,\n"),
            #[cfg(feature = "cloud")]
            (RowFormat::Parquet, b"PAR1 and no more"),
        ] {
            let error = format.read(bytes, &mut |_| {}).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        }
    }

    #[test]
    fn no_results_are_no_rows() {
        for &format in FORMATS {
            let bytes = format.writer(false, Vec::new()).unwrap().into_inner().unwrap();
            format.read(&bytes[..], &mut |row| panic!("{row:?}")).unwrap();
        }
    }
}
