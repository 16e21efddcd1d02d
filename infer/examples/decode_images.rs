//! Decodes the images named on standard input and writes their pixels to standard output.
//!
//! `tests/decoders/compare.py` reads the output and compares it with what Pillow decodes. For each path there is one
//! line, `WIDTH HEIGHT` followed by the RGB8 bytes, or `error KIND: REASON`.

use std::io::{self, BufRead, BufWriter, Write};

use ferronnx_infer::decode;

fn main() -> io::Result<()> {
    let mut output = BufWriter::new(io::stdout().lock());
    for path in io::stdin().lock().lines() {
        match decode::file(path?) {
            Ok(image) => {
                writeln!(output, "{} {}", image.width(), image.height())?;
                output.write_all(&image)?;
            }
            Err(error) => {
                let reason = error.reason().replace('\n', " ");
                writeln!(output, "error {}: {reason}", error.kind().name())?;
            }
        }
        output.flush()?;
    }
    Ok(())
}
