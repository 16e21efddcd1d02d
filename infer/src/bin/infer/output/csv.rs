//! CSV: a row per image and class, or a row with the error of an image.

use std::io::{self, Write};

use csv::WriterBuilder;
use ferronnx_infer::results::{Classified, Failed, Outcome};
use serde::Serialize;

use super::Writer;

/// Row with its columns.
#[derive(Serialize)]
struct Row<'a> {
    path: &'a str,
    rank: Option<usize>,
    index: Option<usize>,
    label: Option<&'a str>,
    probability: Option<f32>,
    error: Option<String>,
}

/// Writer of CSV.
pub struct Csv<W: Write> {
    out: csv::Writer<W>,
}

impl<W: Write> Csv<W> {
    pub fn new(out: W) -> Self {
        Self { out: WriterBuilder::new().from_writer(out) }
    }
}

impl<W: Write> Writer for Csv<W> {
    fn write(&mut self, outcome: &Outcome) -> io::Result<()> {
        let path = &*outcome.path().to_string_lossy();
        match outcome {
            Outcome::Classified(Classified { predictions, .. }) => {
                for (rank, prediction) in (1..).zip(predictions) {
                    self.out.serialize(Row {
                        path,
                        rank: Some(rank),
                        index: Some(prediction.index),
                        label: Some(&prediction.label),
                        probability: Some(prediction.probability),
                        error: None,
                    })?;
                }
            }
            Outcome::Failed(Failed { error, .. }) => self.out.serialize(Row {
                path,
                rank: None,
                index: None,
                label: None,
                probability: None,
                error: Some(error.reason()),
            })?,
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
