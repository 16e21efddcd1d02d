//! A wheel pinned to one version and digest.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// A wheel with its version, digest and the files to keep.
#[derive(Clone, Copy, Debug)]
pub struct Wheel {
    /// Name in the package index.
    pub package: &'static str,
    /// Version.
    pub version: &'static str,
    /// Size of the download, in MB; shown to the user.
    pub megabytes: f64,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: &'static str,
    /// Files to unpack: the start of their path in the wheel and its replacement.
    pub keep: &'static [(&'static str, &'static str)],
}

impl Wheel {
    /// Checks the digest of `file`.
    ///
    /// # Errors
    /// When the digest differs; the file is then deleted.
    pub fn verify(&self, file: &Path) -> Result<()> {
        let found = sha256(file).with_context(|| format!("cannot read {}", file.display()))?;
        if found != self.sha256 {
            fs::remove_file(file).with_context(|| format!("cannot delete {}", file.display()))?;
            bail!(
                "{} {}: wrong digest, file deleted: expected sha256 {}, found {found}",
                self.package,
                self.version,
                self.sha256
            );
        }
        Ok(())
    }
}

/// SHA-256 of a file of any size, in hexadecimal.
///
/// # Errors
/// When the file cannot be read.
pub fn sha256(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => digest.update(&buffer[..read]),
        }
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: Wheel = Wheel {
        package: "abc",
        version: "1",
        megabytes: 0.0,
        sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", // FIPS 180-2, example 1
        keep: &[],
    };

    #[test]
    fn only_the_pinned_bytes_pass() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("abc.whl");
        fs::write(&file, "abc").unwrap();
        ABC.verify(&file).unwrap();

        fs::write(&file, "abd").unwrap();
        let error = ABC.verify(&file).unwrap_err().to_string();
        assert!(error.contains("abc 1: wrong digest"), "{error}");
        assert!(error.contains("expected sha256 ba7816bf") && error.contains("found a52d159f"), "{error}");
        assert!(!file.exists(), "a file with a wrong digest stays");
    }
}
