//! CIFAR-10 by name: the official archive, downloaded once, or a given one.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result, bail};
use ferronnx_train::data::cifar;

use super::cache::Cache;
use super::digest;
use super::download::{Client, Remote};
use crate::display;

const ARCHIVE: &str = "cifar-10-binary.tar.gz";
const URL: &str = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz";
const BYTES: u64 = 170_052_171;
const SHA256: &str = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd";

/// Environment variable of a mirror. Its files must have the same digest.
const VARIABLE: &str = "FERRONNX_CIFAR10_URL";
/// Cache entry of the official data set.
const ENTRY: &str = "cifar10";

/// Official archive.
pub fn remote() -> Remote {
    let mirror = env::var(VARIABLE).ok().filter(|url| !url.is_empty());
    Remote { url: mirror.unwrap_or_else(|| URL.into()), bytes: BYTES, sha256: SHA256.into() }
}

/// Returns the class folders of the archive at `remote`, downloaded and unpacked unless they are in the cache.
pub fn downloaded(cache: &Cache, client: &Client, remote: &Remote) -> Result<PathBuf> {
    cache.entry(ENTRY, |to| {
        let archive = cache.path(ARCHIVE);
        // An archive is left by an earlier run that was stopped before unpacking it.
        if digest::of_file(&archive).ok().as_deref() != Some(remote.sha256.as_str()) {
            let _ = fs::remove_file(&archive);
            say!("downloading {} ({:.0} MB)", remote.url, remote.bytes as f64 / 1e6);
            let bar = display::byte_bar("downloading", remote.bytes);
            let result = client.download(remote, &archive, &bar);
            bar.finish_and_clear();
            if let Err(error) = result {
                let url = &remote.url;
                bail!("cannot download {url}: {error:#}: give --data cifar10:PATH, the archive from {URL}");
            }
        }
        unpack(&archive, to)?;
        // All images are unpacked. An archive that stays only takes space.
        let _ = fs::remove_file(&archive);
        Ok(())
    })
}

/// Returns the class folders of the archive or folder at `path`, unpacked unless the same content is in the cache.
pub fn given(cache: &Cache, path: &Path) -> Result<PathBuf> {
    let content = match cifar::folder_of(path) {
        Some(folder) => digest::of_files(&folder, cifar::files()),
        // Without a digest nothing is cached: unpacking reports the reason.
        None if path.is_dir() => digest::of_files(path, cifar::files()),
        None => digest::of_file(path),
    };
    let content = content.with_context(|| format!("cannot read --data cifar10:{}", path.display()))?;
    let name = if content == SHA256 { ENTRY.into() } else { format!("{ENTRY}-{}", &content[..16]) };
    cache.entry(&name, |to| unpack(path, to))
}

fn unpack(source: &Path, to: &Path) -> Result<()> {
    say!("unpacking {} to {}", source.display(), to.display());
    let bar = display::bar("unpacking", cifar::IMAGES);
    let result = cifar::unpack(source, to, |images| bar.inc(images));
    bar.finish_and_clear();
    Ok(result?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::server::Server;
    use crate::fetch::small;

    /// Makes a cache in `dir`, and the archive there with its bytes.
    fn place(dir: &Path) -> (Cache, PathBuf, Vec<u8>) {
        let archive = dir.join("given.tar.gz");
        small::archive(&archive, &small::files());
        let bytes = fs::read(&archive).unwrap();
        (Cache::at(dir.join("cache")), archive, bytes)
    }

    fn names(cache: &Cache) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(cache.path(""))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_downloaded_stays_as_class_folders_and_asks_nobody_again() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, archive, bytes) = place(dir.path());
        let server = Server::serving(bytes.clone());
        let remote = Remote {
            url: server.url("/cifar"),
            bytes: bytes.len() as u64,
            sha256: digest::of_file(&archive).unwrap(),
        };
        for _ in 0..2 {
            let folder = downloaded(&cache, &Client::local(1), &remote).unwrap();
            assert_eq!(folder, cache.path("cifar10"));
            assert!(folder.join("train/cat/00002.png").is_file());
            assert_eq!(server.paths(), ["/cifar"]);
        }
        assert_eq!(names(&cache), [".lock", "cifar10"]);
    }

    #[test]
    fn a_download_of_something_else_is_refused_with_a_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, _, bytes) = place(dir.path());
        let server = Server::serving(bytes.clone());
        let remote = Remote { url: server.url("/cifar"), bytes: bytes.len() as u64, sha256: SHA256.into() };
        let error = downloaded(&cache, &Client::local(1), &remote).unwrap_err().to_string();
        assert!(error.contains("give --data cifar10:PATH, the archive from https://"), "{error}");
        assert!(error.contains("not the expected one"), "{error}");
        assert_eq!(names(&cache), [".lock"]);
    }

    #[test]
    fn what_is_given_is_kept_by_content() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, archive, _) = place(dir.path());
        let first = given(&cache, &archive).unwrap();
        let marker = first.join("marker");
        fs::write(&marker, "").unwrap();
        assert_eq!(given(&cache, &archive).unwrap(), first);
        assert!(marker.exists(), "the same content is not unpacked again");

        let mut files = small::files();
        files[1].1[5] ^= 1;
        small::archive(&archive, &files);
        assert_ne!(given(&cache, &archive).unwrap(), first);
        assert_eq!(names(&cache).len(), 3);
    }

    #[test]
    fn what_is_given_and_no_cifar_is_refused_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, archive, bytes) = place(dir.path());
        let error = given(&cache, dir.path()).unwrap_err().to_string();
        assert!(error.contains("holds no data_batch_1.bin: give the binary version"), "{error}");
        let error = given(&cache, &dir.path().join("none")).unwrap_err().to_string();
        assert!(error.starts_with("cannot read --data cifar10:") && error.ends_with("/none"), "{error}");
        fs::write(&archive, &bytes[..bytes.len() / 2]).unwrap();
        let error = given(&cache, &archive).unwrap_err().to_string();
        assert!(error.contains("given.tar.gz is damaged"), "{error}");
        assert_eq!(names(&cache), [".lock"]);
    }
}
