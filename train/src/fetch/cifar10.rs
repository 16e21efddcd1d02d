//! CIFAR-10: the official archive, or one that is given.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result};
use train::data::cifar;

use super::cache::Cache;
use super::digest;
use super::download::{Client, Remote};
use crate::display;

const ARCHIVE: &str = "cifar-10-binary.tar.gz";
const URL: &str = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz";
const BYTES: u64 = 170_052_171;
const SHA256: &str = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd";

/// Names a mirror. What comes from there is held against the same digest.
const VARIABLE: &str = "FERRONNX_CIFAR10_URL";
/// The entry of the official data set.
const ENTRY: &str = "cifar10";

/// The official archive.
pub fn remote() -> Remote {
    let mirror = env::var(VARIABLE).ok().filter(|url| !url.is_empty());
    Remote { url: mirror.unwrap_or_else(|| URL.into()), bytes: BYTES, sha256: SHA256.into() }
}

/// The class folders of the archive at `remote`, downloaded and unpacked unless they are in the cache.
pub fn downloaded(cache: &Cache, client: &Client, remote: &Remote) -> Result<PathBuf> {
    cache.entry(ENTRY, |to| {
        let archive = cache.path(ARCHIVE);
        if !archive.exists() {
            say!("downloading {} ({:.0} MB)", remote.url, remote.bytes as f64 / 1e6);
            let bar = display::byte_bar("downloading", remote.bytes);
            let result = client.download(remote, &archive, &bar);
            bar.finish_and_clear();
            result.with_context(|| {
                format!("cannot download {}: give --data cifar10:PATH, the archive from {URL}", remote.url)
            })?;
        }
        unpack(&archive, to)?;
        // The pictures are all of it. An archive that stays takes space, no more.
        let _ = fs::remove_file(&archive);
        Ok(())
    })
}

/// The class folders of the archive or folder at `path`, unpacked unless the same content is in the cache.
pub fn given(cache: &Cache, path: &Path) -> Result<PathBuf> {
    let content = match cifar::folder_of(path) {
        Some(folder) => digest::of_files(&folder, cifar::files()),
        None => digest::of_file(path),
    };
    let content = content.with_context(|| format!("cannot read --data cifar10:{}", path.display()))?;
    let name = if content == SHA256 { ENTRY.into() } else { format!("{ENTRY}-{}", &content[..16]) };
    cache.entry(&name, |to| unpack(path, to))
}

fn unpack(source: &Path, to: &Path) -> Result<()> {
    say!("unpacking {} to {}", source.display(), to.display());
    let bar = display::bar("unpacking", cifar::PICTURES);
    let result = cifar::unpack(source, to, |pictures| bar.inc(pictures));
    bar.finish_and_clear();
    Ok(result?)
}
