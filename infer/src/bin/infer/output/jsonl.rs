//! JSON lines: an object per image, flushed at once for programs that read along.

use std::io::{self, Write};

use ferronnx_infer::results::Outcome;

use super::Writer;

/// Writer of JSON lines.
pub struct Jsonl<W> {
    out: W,
}

impl<W: Write> Jsonl<W> {
    pub fn new(out: W) -> Self {
        Self { out }
    }
}

impl<W: Write> Writer for Jsonl<W> {
    fn write(&mut self, outcome: &Outcome) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, outcome)?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
