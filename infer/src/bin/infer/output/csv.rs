//! CSV: a row per image and class, or a row with the error of an image.

use std::io::{self, Write};

use ferronnx_infer::results::{Classified, Failed, Outcome, Prediction};

use super::Writer;

/// Columns; models with several labels an image have one more, `selected`.
const COLUMNS: [&str; 6] = ["path", "rank", "index", "label", "probability", "error"];

/// Writer of CSV.
pub struct Csv<W: Write> {
    out: csv::Writer<W>,
    with_selected: bool,
    has_header: bool,
}

impl<W: Write> Csv<W> {
    /// Creates a writer; `with_selected` adds a column that tells whether a class is selected.
    pub fn new(out: W, with_selected: bool) -> Self {
        Self { out: csv::Writer::from_writer(out), with_selected, has_header: false }
    }

    fn row(&mut self, columns: [&str; 6], selected: &str) -> io::Result<()> {
        let selected = self.with_selected.then_some(selected);
        Ok(self.out.write_record(columns.into_iter().chain(selected))?)
    }
}

impl<W: Write> Writer for Csv<W> {
    fn write(&mut self, outcome: &Outcome) -> io::Result<()> {
        if !self.has_header {
            self.row(COLUMNS, "selected")?;
            self.has_header = true;
        }
        let path = &*outcome.path().to_string_lossy();
        match outcome {
            Outcome::Classified(Classified { predictions, .. }) => {
                for (rank, Prediction { index, label, probability, selected }) in (1..).zip(predictions) {
                    let [rank, index] = [rank, *index].map(|number: usize| number.to_string());
                    let selected = selected.map_or_else(String::new, |selected| selected.to_string());
                    // As short as JSON writes it: 1e-9, not 0.000000001.
                    let probability = serde_json::to_string(probability)?;
                    self.row([path, &rank, &index, label, &probability, ""], &selected)?;
                }
                Ok(())
            }
            Outcome::Failed(Failed { error, .. }) => self.row([path, "", "", "", "", &error.reason()], ""),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
