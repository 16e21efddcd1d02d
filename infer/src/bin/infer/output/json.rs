//! JSON: one array with an object per image, written as it grows.

use std::io::{self, Write};

use ferronnx_infer::bulk::rows::RowWriter;
use ferronnx_infer::results::Outcome;

/// Writer of one JSON array.
pub struct Json<W> {
    out: W,
    is_empty: bool,
}

impl<W: Write> Json<W> {
    pub fn new(out: W) -> Self {
        Self { out, is_empty: true }
    }
}

impl<W: Write> RowWriter for Json<W> {
    fn write(&mut self, outcome: &Outcome) -> io::Result<()> {
        self.out.write_all(if self.is_empty { b"[\n  " } else { b",\n  " })?;
        self.is_empty = false;
        serde_json::to_writer(&mut self.out, outcome)?;
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.write_all(if self.is_empty { b"[]\n" } else { b"\n]\n" })?;
        self.out.flush()
    }
}
