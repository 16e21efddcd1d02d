//! Reader for the files of `torch.save`, for modules of TorchScript, and for other pickles with tensors or arrays.
//!
//! No code in a file is run. The memory used is bounded by the size of the file.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use super::archive::Archive;
use super::error::{FormatError, TensorError};
use super::flatten::{Content, Leaf, leaves};
use super::numpy::NumpyArray;
use super::pickle::Pickle;
use super::stored::{File, Stored, StoredTensor};
use super::{ZIP, legacy};

/// Lists the tensors of a file of `torch.save`.
///
/// # Errors
/// [`FormatError`] for bytes that are not such a file, and for damaged ones.
pub fn read(bytes: Cow<'_, [u8]>) -> Result<File<'_>, FormatError> {
    let (tensors, decoded, classes) = parse(&bytes)?;
    let buffers = std::iter::once(bytes).chain(decoded.into_iter().map(Cow::Owned)).collect();
    Ok(File { tensors, buffers, classes })
}

const JOBLIB: &str =
    "a file of joblib, as scikit-learn's models are saved: export the model to ONNX with skl2onnx";

/// Tells whether the beginning of a file contains a text.
fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes[..bytes.len().min(1 << 16)].windows(text.len()).any(|window| window == text)
}

type Parsed = (Vec<StoredTensor>, Vec<Vec<u8>>, Vec<String>);

fn parse(bytes: &[u8]) -> Result<Parsed, FormatError> {
    if bytes.starts_with(ZIP) {
        let mut archive = Archive::open(bytes)?;
        let pickle = Pickle::read(archive.file("data.pkl")?)?;
        let big_endian = archive.contains("byteorder") && archive.file("byteorder")? == b"big";
        return Reader::new(bytes, big_endian).tensors(&pickle, |key| archive.locate(&format!("data/{key}")));
    }
    let first = Pickle::read(bytes).map_err(|error| match bytes.first() {
        // Arrays lie between the instructions of its pickles.
        _ if contains(bytes, b"joblib.numpy_pickle") => FormatError::Foreign(JOBLIB),
        Some(0x80) => error,
        _ => FormatError::Unknown, // Pickles of protocols 0 and 1 have no mark at their start.
    })?;
    let reader = Reader::new(bytes, false);
    if legacy::begins(&first) {
        let (pickle, storages) = legacy::read(bytes)?;
        return reader.tensors(&pickle, |key| {
            storages.get(key).cloned().ok_or(FormatError::Damaged("a storage is missing"))
        });
    }
    let parsed = reader.tensors(&first, |_| Err(FormatError::Damaged("a storage is missing")))?;
    match (&parsed.0[..], &parsed.2[..]) {
        ([], []) => Err(FormatError::Unknown),
        ([], [class, ..]) => Err(FormatError::Pickled(class.clone())),
        _ => Ok(parsed),
    }
}

/// Reader of the tensors of a file.
struct Reader {
    /// Size of the file in bytes.
    size: usize,
    big_endian: bool,
    /// Values that a pickle has as text.
    decoded: Vec<Vec<u8>>,
    /// Number of bytes that may still be decoded. Arrays may share their text.
    budget: usize,
}

impl Reader {
    fn new(bytes: &[u8], big_endian: bool) -> Self {
        Self { size: bytes.len(), big_endian, decoded: Vec::new(), budget: bytes.len() }
    }

    fn tensors(
        mut self,
        pickle: &Pickle<'_>,
        mut locate: impl FnMut(&str) -> Result<Range<usize>, FormatError>,
    ) -> Result<Parsed, FormatError> {
        let mut tensors = Vec::new();
        for Leaf { name, container, content } in leaves(pickle)? {
            let content = match content {
                Content::Tensor(tensor) => Ok(Stored {
                    dtype: tensor.dtype,
                    big_endian: self.big_endian,
                    buffer: 0,
                    range: locate(tensor.key)?,
                    layout: tensor.layout.clone(),
                }),
                Content::Numpy(array) => Ok(self.numpy(array)?),
                Content::Unusable(kind) => Err(TensorError::Kind(kind)),
            };
            // Views may overlap, so a few bytes could otherwise claim any number of values.
            let small = |stored: &Stored| stored.layout.len().is_some_and(|len| len <= self.size);
            let content = content.and_then(|stored| match small(&stored) {
                true => Ok(stored),
                false => Err(TensorError::TooLarge),
            });
            tensors.push(StoredTensor { name, container, content });
        }
        let classes: BTreeSet<_> = pickle.objects.classes().map(|class| (class.module, class.name)).collect();
        let classes =
            classes.into_iter().map(|(module, name)| FormatError::quote(&format!("{module}.{name}")));
        Ok((tensors, self.decoded, classes.collect()))
    }

    fn numpy(&mut self, array: NumpyArray<'_>) -> Result<Stored, FormatError> {
        let NumpyArray { dtype, big_endian, layout, data } = array;
        let left = self.budget.checked_sub(data.len());
        self.budget = left.ok_or(FormatError::Tangled)?;
        let bytes =
            data.bytes().ok_or(FormatError::Damaged("an array of NumPy has text instead of bytes"))?;
        let range = 0..bytes.len();
        self.decoded.push(bytes.into_owned());
        Ok(Stored { dtype, big_endian, buffer: self.decoded.len(), range, layout })
    }
}
