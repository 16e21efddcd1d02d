//! Files that `generate.py` packed.

use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use tempfile::TempDir;

/// File in a temporary folder, beside all the others.
pub struct Unpacked {
    _folder: TempDir,
    path: PathBuf,
}

impl AsRef<Path> for Unpacked {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

/// Unpacks the files, and refers to the one called `name`.
pub fn file(name: &str) -> Unpacked {
    let folder = tempfile::tempdir().unwrap();
    tar::Archive::new(GzDecoder::new(&include_bytes!("files.tar.gz")[..])).unpack(&folder).unwrap();
    let path = folder.path().join(name);
    assert!(path.exists(), "{name}");
    Unpacked { _folder: folder, path }
}
