//! Archives and checksums whose bytes depend on their contents only.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

use crate::staging::Staging;
use crate::wheel::sha256;

/// Name of the file of checksums.
const SUMS: &str = "SHA256SUMS";

/// Files below `folder`, as sorted paths in it.
///
/// # Errors
/// When a folder cannot be read.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    fn collect(folder: &Path, inside: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
        for entry in fs::read_dir(folder.join(inside))? {
            let entry = entry?;
            let path = inside.join(entry.file_name());
            if entry.file_type()?.is_dir() { collect(folder, &path, files)? } else { files.push(path) }
        }
        Ok(())
    }
    let mut all = Vec::new();
    collect(folder, Path::new(""), &mut all).with_context(|| format!("cannot read {}", folder.display()))?;
    all.sort();
    Ok(all)
}

/// Packs `folder` as `name` and moves the archive into place.
///
/// Names are sorted, times are `date`, and owners are root, so that the bytes depend on the files only.
///
/// # Errors
/// When a file cannot be read or written.
pub fn archive(folder: &Path, name: &str, date: u64, staging: &Staging) -> Result<PathBuf> {
    let file = format!("{name}.tar.gz");
    let made = folder.with_file_name(&file);
    let shown = || format!("cannot write {}", made.display());
    let out = BufWriter::new(File::create(&made).with_context(shown)?);
    let gzip = pack(folder, name, date, GzBuilder::new().write(out, Compression::default()))?;
    gzip.finish().and_then(|mut out| out.flush()).with_context(shown)?;
    staging.commit(&made, &file)?;
    Ok(staging.home().join(file))
}

fn pack<W: std::io::Write>(folder: &Path, name: &str, date: u64, out: W) -> Result<W> {
    let mut tar = Builder::new(out);
    for file in files(folder)? {
        let place = folder.join(&file);
        let shown = || format!("cannot pack {}", place.display());
        let opened = File::open(&place).with_context(shown)?;
        let metadata = opened.metadata().with_context(shown)?;
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_size(metadata.len());
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(date);
        header.set_mode(if metadata.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 });
        tar.append_data(&mut header, Path::new(name).join(&file), opened).with_context(shown)?;
    }
    tar.into_inner().context("cannot pack")
}

/// Writes the checksums of all files in `folder`, as `sha256sum --check` reads them.
///
/// # Errors
/// When a file cannot be read or written.
pub fn file_sums(folder: &Path) -> Result<()> {
    let mut text = String::new();
    for file in files(folder)? {
        let sum = sha256(&folder.join(&file)).with_context(|| format!("cannot read {}", file.display()))?;
        writeln!(text, "{sum}  {}", file.display())?;
    }
    super::write(&folder.join(SUMS), text)
}

/// Writes the checksums of the archives in `folder`.
///
/// # Errors
/// When a file cannot be read or written.
pub fn sums(folder: &Path) -> Result<()> {
    let shown = || format!("cannot read {}", folder.display());
    let mut names: Vec<_> =
        fs::read_dir(folder).with_context(shown)?.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    let mut text = String::new();
    for name in names.iter().map(|name| name.to_string_lossy()).filter(|name| name.ends_with(".tar.gz")) {
        writeln!(text, "{}  {name}", sha256(&folder.join(&*name)).with_context(shown)?)?;
    }
    let partial = folder.join(".SHA256SUMS");
    super::write(&partial, text)?;
    fs::rename(&partial, folder.join(SUMS)).with_context(|| format!("cannot write {SUMS}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes two files, the first one as `first` says, with times of now.
    fn folder(first: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut names = ["bin/infer", "README.md"];
        if first == "README.md" {
            names.reverse();
        }
        for name in names {
            super::super::write(&folder.path().join(name), format!("this is {name}")).unwrap();
        }
        let mode = if first == "README.md" { 0o700 } else { 0o755 };
        fs::set_permissions(folder.path().join("bin/infer"), fs::Permissions::from_mode(mode)).unwrap();
        folder
    }

    fn packed(folder: &Path, date: u64) -> Vec<u8> {
        let gzip =
            pack(folder, "a-1", date, GzBuilder::new().write(Vec::new(), Compression::best())).unwrap();
        gzip.finish().unwrap()
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let (one, other) = (folder("bin/infer"), folder("README.md"));
        assert_eq!(packed(one.path(), 7), packed(other.path(), 7));
        assert_ne!(packed(one.path(), 7), packed(other.path(), 8));

        let bytes = packed(one.path(), 1_700_000_000);
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(&*bytes));
        let entries = tar.entries().unwrap().map(|entry| {
            let header = entry.as_ref().unwrap().header();
            let (path, mode) = (header.path().unwrap().display().to_string(), header.mode().unwrap());
            (path, mode, header.mtime().unwrap(), header.uid().unwrap())
        });
        let expected = [("a-1/README.md", 0o644), ("a-1/bin/infer", 0o755)];
        let expected = expected.map(|(path, mode)| (path.to_owned(), mode, 1_700_000_000, 0));
        assert_eq!(entries.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn checksums_are_those_of_the_files() {
        let folder = folder("bin/infer");
        file_sums(folder.path()).unwrap();
        let mut sums = std::process::Command::new("sha256sum");
        let done = sums.args(["--check", "--strict", SUMS]).current_dir(folder.path()).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        assert_eq!(String::from_utf8_lossy(&done.stdout), "README.md: OK\nbin/infer: OK\n");
    }
}
