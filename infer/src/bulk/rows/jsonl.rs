//! JSON lines: an object per image.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read, Write};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Row, RowWriter};
use crate::results::Outcome;

/// Writer of JSON lines.
pub struct JsonlWriter<W> {
    out: W,
}

impl<W: Write> JsonlWriter<W> {
    /// Creates a writer to `out`.
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// Gives the output back.
    pub(super) fn into_inner(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

impl<W: Write> RowWriter for JsonlWriter<W> {
    fn write(&mut self, outcome: &Outcome) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, outcome)?;
        self.out.write_all(b"\n")
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Fields of a line that a check needs.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    path: Cow<'a, str>,
    error: Option<IgnoredAny>,
}

/// Reads the lines of [`JsonlWriter`].
pub(super) fn read(input: impl Read, see: &mut dyn FnMut(Row<'_>)) -> io::Result<()> {
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        let Line { path, error } = serde_json::from_slice(&line)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        see(Row { name: &path, failed: error.is_some() });
        line.clear();
    }
    Ok(())
}
