//! Zip archives of `torch.save`: a folder with `data.pkl`, and one file per storage in `data/`.

use std::collections::HashMap;
use std::io::{self, Cursor};

use zip::{CompressionMethod, ZipArchive};

use super::error::FormatError;

/// Zip archive in memory; its files are not compressed, so they are borrowed without copies.
#[derive(Debug)]
pub struct Archive<'a> {
    bytes: &'a [u8],
    zip: ZipArchive<Cursor<&'a [u8]>>,
    folder: String,
    /// Files whose checksum has been verified.
    checked: HashMap<String, &'a [u8]>,
}

impl<'a> Archive<'a> {
    /// Reads the directory of an archive.
    ///
    /// # Errors
    /// [`FormatError`] when it is damaged or not from `torch.save`.
    pub fn open(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(FormatError::Archive)?;
        // Overlapping files would let a small archive expand to many large files.
        if zip.has_overlapping_files().map_err(FormatError::Archive)? {
            return Err(FormatError::Damaged("files of the archive overlap"));
        }
        let folder = zip.file_names().filter_map(Result::ok).find_map(|name| {
            let folder = name.strip_suffix("/data.pkl")?;
            (!folder.contains('/')).then(|| folder.to_owned())
        });
        let folder = folder.ok_or(FormatError::Damaged("the archive has no data.pkl in its folder"))?;
        if zip.index_for_name(&format!("{folder}/constants.pkl")).is_some() {
            return Err(FormatError::TorchScript);
        }
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
        if let Some(bytes) = self.checked.get(name) {
            return Ok(bytes);
        }
        let bytes = self.read(name)?;
        self.checked.insert(name.to_owned(), bytes);
        Ok(bytes)
    }

    fn read(&mut self, name: &str) -> Result<&'a [u8], FormatError> {
        let path = format!("{}/{name}", self.folder);
        let broken = |source| FormatError::Entry { name: FormatError::quote(&path), source };
        let mut file = self.zip.by_name(&path).map_err(|error| broken(error.into()))?;
        if file.compression() != CompressionMethod::Stored {
            return Err(FormatError::Damaged("its archive is compressed, which torch.save never does"));
        }
        // Reading to the end verifies the checksum.
        let len = io::copy(&mut file, &mut io::sink()).map_err(broken)?;
        let start = file.data_start().and_then(|start| usize::try_from(start).ok());
        let bytes = start.and_then(|start| self.bytes.get(start..)?.get(..usize::try_from(len).ok()?));
        bytes.ok_or(FormatError::Damaged("a file lies outside its archive"))
    }
}
