//! Data and weights by name, downloaded once; the library knows files only.

mod cache;
mod cifar10;
mod digest;
mod download;
mod imagenet;
pub mod retry;
#[cfg(test)]
#[path = "../../../../tests/common/server.rs"]
mod server;
#[cfg(test)]
#[path = "../../../../tests/common/cifar.rs"]
#[allow(dead_code)] // other tests use more of it
mod small;

use std::path::{Path, PathBuf};

use anyhow::Result;

use self::cache::Cache;
use self::download::Client;

pub use self::imagenet::imagenet;

/// Finds the folder of class folders for `--data`: `cifar10`, `cifar10:PATH`, or a folder.
///
/// `cifar10` is downloaded and unpacked unless it is in the cache; a folder of that name wins. PATH is the archive of
/// the binary version, or its folder, and needs no network.
///
/// # Errors
/// No network, a full disk, and archives that are damaged or not CIFAR-10, each with a way out.
pub fn data(spec: &Path) -> Result<PathBuf> {
    match spec.to_str() {
        Some("cifar10") if !spec.is_dir() => {
            cifar10::downloaded(&Cache::from_env()?, &Client::new(), &cifar10::remote())
        }
        Some(text) if text.starts_with("cifar10:") => {
            cifar10::given(&Cache::from_env()?, Path::new(&text["cifar10:".len()..]))
        }
        _ => Ok(spec.to_owned()),
    }
}
