//! Formats of results on standard output, one file each; those of the parts of jobs are in the library's `bulk::rows`.

mod json;
mod table;

use std::io::{BufWriter, LineWriter, Write};

use anyhow::{Result, bail};
use ferronnx_infer::bulk::rows::{CsvWriter, JsonlWriter, RowWriter};

use crate::args::Format;

/// Creates a writer of `format` to `out`; `multi_label` tells whether the results have selected classes.
pub fn writer(format: Format, multi_label: bool, out: Box<dyn Write>) -> Result<Box<dyn RowWriter>> {
    Ok(match format {
        Format::Table => Box::new(table::Table::new(BufWriter::new(out))),
        Format::Json => Box::new(json::Json::new(BufWriter::new(out))),
        // Programs read along: each line is written at once.
        Format::Jsonl => Box::new(JsonlWriter::new(LineWriter::with_capacity(1 << 16, out))),
        Format::Csv => Box::new(CsvWriter::new(BufWriter::new(out), multi_label)),
        Format::Parquet => bail!("--format parquet: it is written to --out"),
    })
}
