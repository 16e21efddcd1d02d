//! The zip archives of `torch.save`: a folder with `data.pkl`, and one file a storage in `data/`.

use std::collections::HashMap;
use std::io::{self, Cursor};

use zip::{CompressionMethod, ZipArchive};

use super::error::FormatError;

/// An archive in memory. Its files are not compressed, so they are read where they lie.
#[derive(Debug)]
pub struct Archive<'a> {
    bytes: &'a [u8],
    zip: ZipArchive<Cursor<&'a [u8]>>,
    folder: String,
    /// Files whose checksum was compared.
    checked: HashMap<String, &'a [u8]>,
}

impl<'a> Archive<'a> {
    /// Reads the directory.
    pub fn open(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
        // Else a small file could say that it is many large ones.
        if zip.has_overlapping_files().map_err(damaged)? {
            return Err(FormatError::Damaged("files of the archive overlap".into()));
        }
        let folder = zip.file_names().filter_map(Result::ok).find_map(|name| {
            let folder = name.strip_suffix("/data.pkl")?;
            (!folder.contains('/')).then(|| folder.to_owned())
        });
        let folder =
            folder.ok_or_else(|| FormatError::Damaged("the archive has no data.pkl in its folder".into()))?;
        if zip.index_for_name(&format!("{folder}/constants.pkl")).is_some() {
            return Err(FormatError::TorchScript);
        }
        Ok(Self { bytes, zip, folder, checked: HashMap::new() })
    }

    /// Whether there is a file of this name in the folder.
    pub fn contains(&self, name: &str) -> bool {
        self.zip.index_for_name(&format!("{}/{name}", self.folder)).is_some()
    }

    /// The bytes of a file in the folder.
    pub fn file(&mut self, name: &str) -> Result<&'a [u8], FormatError> {
        if let Some(bytes) = self.checked.get(name) {
            return Ok(bytes);
        }
        let bytes = self.read(name).map_err(|why| {
            FormatError::Damaged(format!(
                "{}/{}: {why}",
                FormatError::quote(&self.folder),
                FormatError::quote(name)
            ))
        })?;
        self.checked.insert(name.to_owned(), bytes);
        Ok(bytes)
    }

    fn read(&mut self, name: &str) -> Result<&'a [u8], String> {
        let mut file =
            self.zip.by_name(&format!("{}/{name}", self.folder)).map_err(|error| error.to_string())?;
        if file.compression() != CompressionMethod::Stored {
            return Err("compressed, which torch.save never does".into());
        }
        // To the end, where the checksum is compared.
        let len = io::copy(&mut file, &mut io::sink()).map_err(|error| error.to_string())?;
        let start = file.data_start().and_then(|start| usize::try_from(start).ok());
        let bytes = start.and_then(|start| self.bytes.get(start..)?.get(..usize::try_from(len).ok()?));
        bytes.ok_or_else(|| "outside the archive".into())
    }
}

fn damaged(error: impl ToString) -> FormatError {
    FormatError::Damaged(error.to_string())
}
