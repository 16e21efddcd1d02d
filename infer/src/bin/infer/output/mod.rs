//! Results on standard output: one trait, one file per format.

mod csv;
mod json;
mod jsonl;
mod table;

use std::io::{self, BufWriter, Write};

use ferronnx_infer::results::Outcome;

use crate::args::Format;

/// A form of results.
pub trait Writer {
    /// Writes what became of one image.
    fn write(&mut self, outcome: &Outcome) -> io::Result<()>;
    /// Writes what comes after the last.
    fn finish(&mut self) -> io::Result<()>;
}

/// A writer of `format` to `out`.
pub fn writer(format: Format, out: Box<dyn Write>) -> Box<dyn Writer> {
    let out = BufWriter::new(out);
    match format {
        Format::Table => Box::new(table::Table::new(out)),
        Format::Json => Box::new(json::Json::new(out)),
        Format::Jsonl => Box::new(jsonl::Jsonl::new(out)),
        Format::Csv => Box::new(csv::Csv::new(out)),
    }
}
