//! Zip archives of `torch.save` and TorchScript: a folder with `data.pkl`, and one file per storage in `data/`.

use std::collections::HashMap;
use std::io::{self, Cursor};
use std::ops::Range;

use zip::read::{ArchiveOffset, Config};
use zip::{CompressionMethod, ZipArchive};

use super::error::FormatError;

/// Zip archive in memory; its files are not compressed, so they are found without copies.
#[derive(Debug)]
pub struct Archive<'a> {
    bytes: &'a [u8],
    zip: ZipArchive<Cursor<&'a [u8]>>,
    folder: String,
    /// Files whose checksum has been verified.
    checked: HashMap<String, Range<usize>>,
}

impl<'a> Archive<'a> {
    /// Reads the directory of an archive.
    ///
    /// # Errors
    /// [`FormatError`] when it is damaged or not from `torch.save`.
    pub fn open(bytes: &'a [u8]) -> Result<Self, FormatError> {
        // Found by its size instead of its offset, a directory whose first entry has 76 bytes would lack it: PyTorch
        // writes 76 bytes of zip64 records after the directory of every archive.
        let config = Config { archive_offset: ArchiveOffset::Known(0) };
        let zip = ZipArchive::with_config(config, Cursor::new(bytes));
        let mut zip = zip.map_err(FormatError::Archive)?;
        // Overlapping files would let a small archive expand to many large files.
        if zip.has_overlapping_files().map_err(FormatError::Archive)? {
            return Err(FormatError::Damaged("files of the archive overlap"));
        }
        let folder = zip.file_names().filter_map(Result::ok).find_map(|name| {
            let folder = name.strip_suffix("/data.pkl")?;
            (!folder.contains('/')).then(|| folder.to_owned())
        });
        let Some(folder) = folder else {
            let names: Vec<_> = zip.file_names().filter_map(Result::ok).collect();
            return Err(FormatError::Foreign(foreign(&names)));
        };
        Ok(Self { bytes, zip, folder, checked: HashMap::new() })
    }

    /// Tells whether the folder has a file of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.zip.index_for_name(&format!("{}/{name}", self.folder)).is_some()
    }

    /// Returns the bytes of the file `name` in the archive's folder, without a copy.
    ///
    /// # Errors
    /// [`FormatError`] when it is missing, compressed or damaged.
    pub fn file(&mut self, name: &str) -> Result<&'a [u8], FormatError> {
        Ok(&self.bytes[self.locate(name)?])
    }

    /// Returns the position of the file `name` of the archive's folder in the archive.
    ///
    /// # Errors
    /// [`FormatError`] when it is missing, compressed or damaged.
    pub fn locate(&mut self, name: &str) -> Result<Range<usize>, FormatError> {
        if let Some(range) = self.checked.get(name) {
            return Ok(range.clone());
        }
        let range = self.check(name)?;
        self.checked.insert(name.to_owned(), range.clone());
        Ok(range)
    }

    fn check(&mut self, name: &str) -> Result<Range<usize>, FormatError> {
        let path = format!("{}/{name}", self.folder);
        let broken = |source| FormatError::Entry { name: FormatError::quote(&path), source };
        let mut file = self.zip.by_name(&path).map_err(|error| broken(error.into()))?;
        if file.compression() != CompressionMethod::Stored {
            return Err(FormatError::Damaged("its archive is compressed, which torch.save never does"));
        }
        // Reading to the end verifies the checksum.
        let len = io::copy(&mut file, &mut io::sink()).map_err(broken)?;
        let start = file.data_start().and_then(|start| usize::try_from(start).ok());
        let range = start.and_then(|start| Some(start..start.checked_add(usize::try_from(len).ok()?)?));
        let inside = range.filter(|range| range.end <= self.bytes.len());
        inside.ok_or(FormatError::Damaged("a file lies outside its archive"))
    }
}

/// Says which other program's archive it is, by the names of its files.
fn foreign(names: &[impl AsRef<str>]) -> &'static str {
    let any = |found: &dyn Fn(&str) -> bool| names.iter().any(|name| found(name.as_ref()));
    if any(&|name| name.ends_with(".weights.h5")) {
        "a Keras model (.keras): export it to ONNX from Keras, and run that with infer"
    } else if any(&|name| name.ends_with("serialized_exported_program.json") || name.contains("/models/")) {
        "a program of torch.export (.pt2): load it in PyTorch and save its state_dict with torch.save"
    } else if any(&|name| name.ends_with(".npy")) {
        "an archive of NumPy arrays (.npz): save them as safetensors or with torch.save"
    } else if any(&|name| name == "word/document.xml" || name == "[Content_Types].xml") {
        "an office document"
    } else if any(&|name| {
        [".pth", ".pt", ".ckpt", ".safetensors", ".bin"].iter().any(|end| name.ends_with(end))
    }) {
        "a zip archive that has a checkpoint inside: unpack it first"
    } else {
        "a zip archive without the data.pkl of torch.save"
    }
}
