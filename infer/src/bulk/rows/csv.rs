//! CSV: a row per image and class, or a row with the error of an image.

use std::io::{self, Read, Write};

use super::{Row, RowWriter};
use crate::results::{Classified, Failed, Outcome, Prediction};

/// Columns; models with several labels an image have one more, `selected`.
const COLUMNS: [&str; 6] = ["path", "rank", "index", "label", "probability", "error"];

/// Writer of CSV.
pub struct CsvWriter<W: Write> {
    out: csv::Writer<W>,
    with_selected: bool,
    has_header: bool,
}

impl<W: Write> CsvWriter<W> {
    /// Creates a writer to `out`; `with_selected` adds a column that tells whether a class is selected.
    pub fn new(out: W, with_selected: bool) -> Self {
        Self { out: csv::Writer::from_writer(out), with_selected, has_header: false }
    }

    /// Gives the output back.
    pub(super) fn into_inner(self) -> io::Result<W> {
        self.out.into_inner().map_err(csv::IntoInnerError::into_error)
    }

    fn row(&mut self, columns: [&str; 6], selected: &str) -> io::Result<()> {
        let selected = self.with_selected.then_some(selected);
        Ok(self.out.write_record(columns.into_iter().chain(selected))?)
    }
}

impl<W: Write> RowWriter for CsvWriter<W> {
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

/// Reads the rows of [`CsvWriter`]: the first row of an image has rank 1, or an error and no rank.
pub(super) fn read(input: impl Read, see: &mut dyn FnMut(Row<'_>)) -> io::Result<()> {
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    let mut reader = csv::Reader::from_reader(input);
    let header = reader.headers().map_err(|error| invalid(error.to_string()))?;
    if !header.is_empty() && !header.iter().take(COLUMNS.len()).eq(COLUMNS) {
        return Err(invalid(format!("the columns are not {}", COLUMNS.join(", "))));
    }
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(|error| invalid(error.to_string()))? {
        let (name, rank) = (&record[0], &record[1]);
        match rank.parse() {
            _ if rank.is_empty() => see(Row { name, failed: true }),
            Ok(1_u64) => see(Row { name, failed: false }),
            Ok(_) => {}
            Err(_) => return Err(invalid(format!("`{rank}` is no rank"))),
        }
    }
    Ok(())
}
