//! Formats of results on standard output, one file each.

mod csv;
mod json;
mod jsonl;
mod table;

use std::io::{self, BufWriter, Write};

use ferronnx_infer::results::Outcome;

use crate::args::Format;

/// Writer of results in one format.
pub trait Writer {
    /// Writes the result of one image.
    fn write(&mut self, outcome: &Outcome) -> io::Result<()>;
    /// Writes the end of the output.
    fn finish(&mut self) -> io::Result<()>;
}

/// Creates a writer of `format` to `out`; `multi_label` tells whether the results have selected classes.
pub fn writer(format: Format, multi_label: bool, out: Box<dyn Write>) -> Box<dyn Writer> {
    let out = BufWriter::new(out);
    match format {
        Format::Table => Box::new(table::Table::new(out)),
        Format::Json => Box::new(json::Json::new(out)),
        Format::Jsonl => Box::new(jsonl::Jsonl::new(out)),
        Format::Csv => Box::new(csv::Csv::new(out, multi_label)),
    }
}
