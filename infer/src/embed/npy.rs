//! Matrices of 32-bit floats in NumPy's format `.npy`, version 1.0
//! ([specification](https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html)).

use std::io::{self, Read, Seek, SeekFrom, Write};

use ndarray::Array2;

/// First bytes of a file of version 1.0.
const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";

/// Bytes before the values, a multiple of 64: room for any number of rows.
const HEADER: usize = 128;

/// Writer of a matrix row by row, whose number of rows is not known before.
pub struct Writer<W> {
    out: W,
    rows: usize,
    columns: Option<usize>,
}

impl<W: Write + Seek> Writer<W> {
    /// Begins a matrix at the current position of `out`, which is 0.
    ///
    /// # Errors
    /// [`io::Error`] of `out`.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(&[0; HEADER])?;
        Ok(Self { out, rows: 0, columns: None })
    }

    /// Appends a row.
    ///
    /// # Errors
    /// [`io::Error`] of `out`, or [`InvalidInput`](io::ErrorKind::InvalidInput) when the rows differ in length.
    pub fn row(&mut self, values: &[f32]) -> io::Result<()> {
        if *self.columns.get_or_insert(values.len()) != values.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the rows have different lengths"));
        }
        self.rows += 1;
        values.iter().try_for_each(|value| self.out.write_all(&value.to_le_bytes()))
    }

    /// Writes the header with the number of rows; gives that number.
    ///
    /// # Errors
    /// [`io::Error`] of `out`.
    pub fn finish(mut self) -> io::Result<usize> {
        let shape = format!("({}, {})", self.rows, self.columns.unwrap_or(0));
        let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
        let length = HEADER - MAGIC.len() - 2;
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(MAGIC)?;
        self.out.write_all(&(length as u16).to_le_bytes())?;
        writeln!(self.out, "{text:<width$}", width = length - 1)?;
        self.out.seek(SeekFrom::End(0))?;
        Ok(self.rows)
    }
}

/// Reads a matrix of little-endian 32-bit floats in C order.
///
/// # Errors
/// [`io::Error`] of `file`, or [`InvalidData`](io::ErrorKind::InvalidData) when it holds something else.
pub fn read(mut file: impl Read) -> io::Result<Array2<f32>> {
    let mut start = [0; 10];
    file.read_exact(&mut start).map_err(|_| invalid("it is no .npy file"))?;
    if !start.starts_with(&MAGIC[..6]) {
        return Err(invalid("it is no .npy file"));
    }
    let mut length = u64::from(u16::from_le_bytes([start[8], start[9]]));
    let mut header = Vec::new();
    if start[6] > 1 {
        // Versions 2 and 3 have two more bytes of length.
        let mut high = [0; 2];
        file.read_exact(&mut high)?;
        length |= u64::from(u16::from_le_bytes(high)) << 16;
    }
    file.by_ref().take(length).read_to_end(&mut header)?;
    let [rows, columns] = shape(&String::from_utf8_lossy(&header))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let values: Vec<f32> = bytes.as_chunks().0.iter().copied().map(f32::from_le_bytes).collect();
    let whole = bytes.len() % 4 == 0;
    let matrix = Array2::from_shape_vec([rows, columns], values).ok().filter(|_| whole);
    matrix.ok_or_else(|| invalid(&format!("it does not hold {rows} rows of {columns} values")))
}

/// Number of rows and columns that a header states.
fn shape(header: &str) -> io::Result<[usize; 2]> {
    let compact: String = header.chars().filter(|char| !char.is_whitespace()).collect();
    let has = |entry: &str| compact.replace('"', "'").contains(entry);
    if !has("'descr':'<f4'") || !has("'fortran_order':False") {
        return Err(invalid(
            "it holds no 32-bit floats row by row: save np.ascontiguousarray(x, np.float32)",
        ));
    }
    let inside = compact.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(inside, _)| inside);
    let sizes: Option<Vec<usize>> = inside.and_then(|text| {
        text.split(',').filter(|size| !size.is_empty()).map(|size| size.parse().ok()).collect()
    });
    match sizes.as_deref() {
        Some(&[rows, columns]) => Ok([rows, columns]),
        _ => Err(invalid("it holds no matrix with a row for each image")),
    }
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn written(rows: &[&[f32]]) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = Writer::new(&mut bytes).unwrap();
        rows.iter().try_for_each(|row| writer.row(row)).unwrap();
        assert_eq!(writer.finish().unwrap(), rows.len());
        bytes.into_inner()
    }

    #[test]
    fn numpy_wrote_the_same_bytes() {
        // np.save of np.array([[1, 2, 3], [4, 5, 6]], np.float32).
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
        let mut expected = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        expected.extend(format!("{text:<117}\n").bytes());
        (1..=6).for_each(|value| expected.extend((value as f32).to_le_bytes()));
        let bytes = written(&[&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]]);
        assert_eq!(bytes, expected);
        let found = read(&bytes[..]).unwrap();
        assert_eq!((found.dim(), found[[1, 0]]), ((2, 3), 4.0));
        assert_eq!(read(&written(&[])[..]).unwrap().dim(), (0, 0));
    }

    #[test]
    fn other_files_are_refused() {
        let bytes = written(&[&[1.0, 2.0]]);
        let changed = |from: &str, to: &str| {
            let text = bytes.iter().map(|&byte| char::from(byte)).collect::<String>().replace(from, to);
            read(&text.chars().map(|char| char as u8).collect::<Vec<_>>()[..]).unwrap_err().to_string()
        };
        assert!(changed("<f4", "<f8").contains("np.float32"));
        assert!(changed("False", "True ").contains("row by row"));
        assert!(changed("(1, 2)", "(2,)  ").contains("no matrix"));
        assert!(changed("(1, 2)", "(2, 2)").contains("2 rows of 2 values"));
        assert!(read(&bytes[..bytes.len() - 1]).is_err() && read(&b"PNG"[..]).is_err());
        let mut writer = Writer::new(Cursor::new(Vec::new())).unwrap();
        writer.row(&[1.0]).unwrap();
        assert!(writer.row(&[1.0, 2.0]).is_err());
    }
}
