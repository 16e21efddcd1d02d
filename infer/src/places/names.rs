//! Meaning of names: kinds of content by extensions, classes and splits by folders.

use std::path::Path;

use super::{Place, PlaceError, UnitKind};
use crate::files;
use crate::image_folder::Split;

/// Content that a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    /// Image or shard.
    Unit(UnitKind),
    /// List of images.
    List,
    /// Archive that is not read, by its extension.
    Archive(String),
    /// Anything else.
    Other,
}

/// Archives that people pack images in, and that are not read.
const ARCHIVES: [&str; 15] = [
    "tar.zst", "tar.bz2", "tar.xz", "tar.lz4", "tar.br", "tar.z", "tzst", "tbz2", "tbz", "txz", "zip", "7z",
    "rar", "tfrecord", "arrow",
];

/// Tells what the file or object `name` holds, by its extension in any case.
pub(super) fn named(name: &str) -> Named {
    let name = name.to_lowercase();
    let has = |extension: &str| name.strip_suffix(extension).is_some_and(|stem| stem.ends_with('.'));
    if has("tar") {
        Named::Unit(UnitKind::Tar)
    } else if has("tar.gz") || has("tgz") {
        Named::Unit(UnitKind::TarGz)
    } else if has("parquet") {
        Named::Unit(UnitKind::Parquet)
    } else if files::EXTENSIONS.iter().any(|extension| has(extension)) {
        Named::Unit(UnitKind::Image)
    } else if ["csv", "tsv", "txt", "lst"].iter().any(|extension| has(extension)) {
        Named::List
    } else {
        let archive = ARCHIVES.iter().find(|archive| has(archive));
        archive.map_or(Named::Other, |archive| Named::Archive((*archive).into()))
    }
}

/// Tells whether a place is no local image and no local folder of images, but a list, a shard, a folder of shards alone,
/// a pattern or an address.
pub fn holds_many(place: &Place) -> bool {
    match place {
        Place::Remote(_) => true,
        Place::Local(path) if path.is_dir() => holds_shards_alone(path),
        Place::Local(path) => match named(place.file_name()) {
            Named::List => true,
            Named::Unit(kind) => kind.is_shard() || !path.exists() && place.name().contains('{'),
            Named::Archive(_) | Named::Other => false,
        },
    }
}

/// Tells whether a place is named like a file with many images.
pub fn is_shard(place: &Place) -> bool {
    matches!(named(place.file_name()), Named::Unit(kind) if kind.is_shard())
}

/// Tells whether a folder has shards, and neither folders nor images beside them.
fn holds_shards_alone(folder: &Path) -> bool {
    let Ok(entries) = folder.read_dir() else { return false };
    let mut has_shard = false;
    for entry in entries.flatten() {
        let kind = named(&entry.file_name().to_string_lossy());
        has_shard |= matches!(&kind, Named::Unit(kind) if kind.is_shard());
        if kind == Named::Unit(UnitKind::Image) || entry.path().is_dir() {
            return false;
        }
    }
    has_shard
}

/// Refuses a kind of content that this build does not read.
pub(super) fn check_built(kind: UnitKind) -> Result<(), PlaceError> {
    if kind == UnitKind::Parquet && cfg!(not(feature = "cloud")) {
        Err(PlaceError::NeedsCloud)
    } else {
        Ok(())
    }
}

/// Tells whether a part of a relative name is hidden, or a system's or a tool's own.
pub(super) fn is_ignored(name: &str) -> bool {
    let mut parts = name.split('/').filter(|part| !part.is_empty() && *part != ".");
    parts.any(|part| part != ".." && files::ignored_name(part.as_ref()).is_some())
}

/// Class and split by the folders of a name: `[SPLIT/]CLASS/.../IMAGE`; none for an image in no folder.
pub(super) fn class_of(name: &str) -> (Option<&str>, Option<Split>) {
    let mut parts = name.split('/').filter(|part| !matches!(*part, "" | "." | "..")).collect::<Vec<_>>();
    parts.pop();
    match parts[..] {
        [] => (None, None),
        [only] => match only.parse() {
            Ok(split) => (None, Some(split)),
            Err(_) => (Some(only), None),
        },
        [first, second, ..] => match first.parse() {
            Ok(split) => (Some(second), Some(split)),
            Err(_) => (Some(first), None),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_known_by_extensions() {
        assert_eq!(named("a/B.TAR"), Named::Unit(UnitKind::Tar));
        assert_eq!(named("x-000.tar.gz"), Named::Unit(UnitKind::TarGz));
        assert_eq!(named("x.tgz"), Named::Unit(UnitKind::TarGz));
        assert_eq!(named("train-00000-of-00001.parquet"), Named::Unit(UnitKind::Parquet));
        assert_eq!(named("p.JPeG"), Named::Unit(UnitKind::Image));
        assert_eq!(named("val.csv"), Named::List);
        assert_eq!(named("x.tar.zst"), Named::Archive("tar.zst".into()));
        assert_eq!(
            (named("tar"), named("README.md"), named("png")),
            (Named::Other, Named::Other, Named::Other)
        );
    }

    #[test]
    fn folders_are_classes_and_splits() {
        let class = |name| class_of(name).0;
        assert_eq!(
            (class("a.jpg"), class("cat/a.jpg"), class("./cat/deep/a.jpg")),
            (None, Some("cat"), Some("cat"))
        );
        assert_eq!(class_of("test/cat/a.jpg"), (Some("cat"), Some(Split::Test)));
        assert_eq!(class_of("train/a.jpg"), (None, Some(Split::Train)));
        assert_eq!(class("/../../cat/a.jpg"), Some("cat"));
    }

    #[test]
    fn files_of_systems_are_ignored() {
        assert!(is_ignored("a/._b.jpg") && is_ignored("__MACOSX/a.jpg") && is_ignored(".DS_Store"));
        assert!(!is_ignored("./a/b.jpg") && !is_ignored("/a/../b.jpg"));
    }
}
