//! Conversion of CIFAR-10's binary archive to a folder of class folders.
//!
//! It is done once and without loss. The format: <https://www.cs.toronto.edu/~kriz/cifar.html>.

mod error;
mod source;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use rayon::prelude::*;

pub use self::error::CifarError;
use self::source::Member;
pub use self::source::{files, folder_of};

/// Image files of the archive, each with its set and the number of its first image there.
const BATCHES: [(&str, &str, usize); 6] = [
    ("data_batch_1.bin", TRAIN, 0),
    ("data_batch_2.bin", TRAIN, BATCH),
    ("data_batch_3.bin", TRAIN, 2 * BATCH),
    ("data_batch_4.bin", TRAIN, 3 * BATCH),
    ("data_batch_5.bin", TRAIN, 4 * BATCH),
    ("test_batch.bin", TEST, 0),
];
/// File of class names, one per line.
const NAMES: &str = "batches.meta.txt";
const TRAIN: &str = "train";
const TEST: &str = "test";
/// Largest number of images in one file.
const BATCH: usize = 10_000;
const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
/// Bytes of a record: a label and three planes, red, green and blue.
const RECORD: usize = 1 + 3 * PLANE;
/// Records in memory at a time.
const CHUNK: usize = 2000;
/// Largest size of a list of names, in bytes.
const NAMES_LIMIT: u64 = 4096;

/// Class names, if the source has none.
const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Number of images of the whole data set.
pub const IMAGES: usize = BATCHES.len() * BATCH;

type Result<T> = std::result::Result<T, CifarError>;

/// Prefix and suffix of folders that are not complete.
pub const UNFINISHED: [&str; 2] = [".cifar10-", ".tmp"];

/// Writes the images of `source` as `to/{train,test}/CLASS/NUMBER.png`.
///
/// NUMBER is the index of the record in its set, as in other readers of CIFAR-10. `source` is the `.tar.gz` archive
/// of the binary version, the folder inside it, or the folder around that. Batches may be shorter than the official
/// ones. `to` appears once it is complete; until then the images are in a folder beside it that ends in `.tmp`.
/// `progress` is called with the number of images written since the last call.
///
/// # Errors
/// [`CifarError`] when the source cannot be read, is not CIFAR-10, or is damaged. Nothing is left behind then.
pub fn unpack(source: &Path, to: &Path, progress: impl Fn(u64) + Sync) -> Result<()> {
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = |source| CifarError::Write { path: to.into(), source };
    let mut builder = tempfile::Builder::new();
    // Temporary folders are private to their owner by default. The umask still applies.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    let folder = builder.prefix(UNFINISHED[0]).suffix(UNFINISHED[1]).tempdir_in(parent).map_err(write)?;
    let mut unpacking = Unpacking { source, folder: folder.path(), progress, seen: Vec::new(), names: None };
    unpacking.make_folders()?;
    unpacking.read_all()?;
    unpacking.name_classes()?;
    fs::rename(folder.path(), to).map_err(write)?;
    Ok(())
}

/// State of unpacking.
struct Unpacking<'a, P> {
    source: &'a Path,
    /// Folder of the images, `train/.0` to `test/.9` at first: the names may come last.
    folder: &'a Path,
    progress: P,
    seen: Vec<&'static str>,
    names: Option<Vec<String>>,
}

impl<P: Fn(u64) + Sync> Unpacking<'_, P> {
    fn make_folders(&self) -> Result<()> {
        for (set, label) in labels() {
            let path = self.class(set, label);
            fs::create_dir_all(&path).map_err(|source| CifarError::Write { path, source })?;
        }
        Ok(())
    }

    fn class(&self, set: &str, label: usize) -> PathBuf {
        // No class can have such a name.
        self.folder.join(set).join(format!(".{label}"))
    }

    fn read_all(&mut self) -> Result<()> {
        source::visit(self.source, |member| self.read(member))?;
        match BATCHES.iter().find(|(member, ..)| !self.seen.contains(member)) {
            Some((member, ..)) => Err(CifarError::Missing { path: self.source.into(), member }),
            None => Ok(()),
        }
    }

    fn read(&mut self, member: Member) -> Result<()> {
        if self.seen.contains(&member.name) {
            return Err(self.wrong(member.name, "is there twice".into()));
        }
        self.seen.push(member.name);
        match BATCHES.iter().find(|(name, ..)| *name == member.name) {
            Some(&(_, set, first)) => self.read_batch(member, set, first),
            None => self.read_names(member),
        }
    }

    fn read_batch(&self, member: Member, set: &str, first: usize) -> Result<()> {
        let Member { name, size, content, broken } = member;
        let records = size / RECORD as u64;
        if size == 0 || size % RECORD as u64 != 0 || records > BATCH as u64 {
            let why = format!("has {size} bytes, not {RECORD} for each of at most {BATCH} images");
            return Err(self.wrong(name, why));
        }
        let end = first + records as usize;
        let mut buffer = Vec::new();
        for start in (first..end).step_by(CHUNK) {
            buffer.resize(CHUNK.min(end - start) * RECORD, 0);
            content.read_exact(&mut buffer).map_err(broken)?;
            self.write(name, set, start, &buffer)?;
        }
        Ok(())
    }

    fn read_names(&mut self, member: Member) -> Result<()> {
        let mut text = String::new();
        member.content.take(NAMES_LIMIT).read_to_string(&mut text).map_err(member.broken)?;
        self.names = Some(self.class_names(&text)?);
        Ok(())
    }

    /// Writes `records`, the first of which has the index `first` in its set.
    fn write(&self, member: &'static str, set: &str, first: usize, records: &[u8]) -> Result<()> {
        records.par_chunks_exact(RECORD).enumerate().try_for_each(|(index, record)| {
            let (label, number) = (usize::from(record[0]), first + index);
            if label >= CLASSES.len() {
                return Err(self.wrong(member, format!("has label {label} (of 0 to 9) in image {number}")));
            }
            let path = self.class(set, label).join(format!("{number:05}.png"));
            // Not atomic: the folder appears as a whole.
            let written = png(&record[1..]).and_then(|png| fs::write(&path, png));
            written.map_err(|source| CifarError::Write { path, source })?;
            (self.progress)(1);
            Ok(())
        })
    }

    /// Reads ten names that can be folders.
    fn class_names(&self, text: &str) -> Result<Vec<String>> {
        let names: Vec<_> = text.lines().map(str::trim).filter(|name| !name.is_empty()).collect();
        let plain = |name: &&str| name.chars().all(|c| c.is_alphanumeric() || "-_ ".contains(c));
        let distinct = names.iter().enumerate().all(|(index, name)| !names[..index].contains(name));
        if names.len() != CLASSES.len() || !names.iter().all(plain) || !distinct {
            return Err(self.wrong(NAMES, "does not name ten classes, one a line".into()));
        }
        Ok(names.into_iter().map(Into::into).collect())
    }

    /// Renames the class folders; a class without images has none.
    fn name_classes(&self) -> Result<()> {
        for (set, label) in labels() {
            let path = self.class(set, label);
            let name = self.names.as_ref().map_or(CLASSES[label], |names| &names[label]);
            let empty = fs::read_dir(&path).map(|mut entries| entries.next().is_none());
            let named = empty.and_then(|empty| match empty {
                true => fs::remove_dir(&path),
                false => fs::rename(&path, path.with_file_name(name)),
            });
            named.map_err(|source| CifarError::Write { path, source })?;
        }
        Ok(())
    }

    fn wrong(&self, member: &'static str, why: String) -> CifarError {
        CifarError::Content { path: self.source.into(), member, why }
    }
}

fn labels() -> impl Iterator<Item = (&'static str, usize)> {
    [TRAIN, TEST].into_iter().flat_map(|set| (0..CLASSES.len()).map(move |label| (set, label)))
}

/// Encodes three planes as a PNG file.
fn png(planes: &[u8]) -> io::Result<Vec<u8>> {
    let pixels: Vec<u8> =
        (0..PLANE).flat_map(|at| [0, 1, 2].map(|plane| planes[plane * PLANE + at])).collect();
    let mut file = Vec::with_capacity(4096);
    PngEncoder::new_with_quality(&mut file, CompressionType::Fast, FilterType::Adaptive)
        .write_image(&pixels, SIDE as u32, SIDE as u32, ExtendedColorType::Rgb8)
        .map_err(io::Error::other)?;
    Ok(file)
}
