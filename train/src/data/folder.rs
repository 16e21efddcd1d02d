//! Data sets to train on, in class folders, in a list, in shards or in an object store.
//!
//! Folders are `DIR/train/CLASS/...` with `DIR/test/CLASS/...` or `DIR/val/CLASS/...`, or `DIR/CLASS/...` alone; a list
//! is CSV with `path,label[,split]`; shards and stores are [places](ferronnx_infer::places). Classes are in the order of
//! their names, as in torchvision's `ImageFolder`.

use std::collections::HashSet;
use std::path::{self, Path, PathBuf};
use std::sync::Arc;

use ferronnx_infer::data_set::{DataSet, LabelledImage, MergedCopies, Sample};
use ferronnx_infer::escape;
use ferronnx_infer::files::LeftOut;
use ferronnx_infer::image_folder::Split;
use ferronnx_infer::places::Place;
use sha2::{Digest, Sha256};

pub use super::error::ScanError;
use super::shards::{self, Labelled, ShardError, Shards};
use super::source::Source;
use crate::data::content::short_hex;
use crate::task::Task;

/// Image files of a data set, by class.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageFolder {
    /// The folder, an absolute path without links; the list or shards, an absolute path; or a URL.
    pub root: PathBuf,
    /// Files or shards that hold the images.
    pub source: Source,
    /// Task that the labels are for.
    pub task: Task,
    /// Names of the classes in the normal form NFC, sorted.
    pub classes: Vec<String>,
    /// Training images; without [`validation`](Self::validation) images, some of them are held out for that.
    pub train: Vec<Sample>,
    /// Validation images of a data set that has test images too.
    pub validation: Option<Vec<Sample>>,
    /// Test images, if there are any.
    pub test: Option<Vec<Sample>>,
    /// Sentences on the use of its parts, and on classes that a part lacks.
    pub notes: Vec<String>,
    /// Files and folders that were left out.
    pub left_out: LeftOut,
}

impl ImageFolder {
    /// Lists the images of the folder or list at `path`, with one label each; none is decoded.
    ///
    /// # Errors
    /// As [`scan_for`](Self::scan_for).
    pub fn scan(path: impl AsRef<Path>) -> Result<Self, ScanError> {
        Self::scan_for(Task::SingleLabel, path)
    }

    /// Lists the images of the folder or list at `path` with their labels for a task; none is decoded.
    ///
    /// For several labels an image, files of the same content in several class folders are one image. They are read for
    /// that. Shards and objects are read, too.
    ///
    /// # Errors
    /// [`ScanError`] when it cannot be read, lacks classes or images, names classes that have no training image, or gives
    /// an image several labels or none where one is needed.
    pub fn scan_for(task: Task, path: impl AsRef<Path>) -> Result<Self, ScanError> {
        Self::scan_and_tell(task, path, &mut |_| ())
    }

    /// Lists images as [`scan_for`](Self::scan_for), and calls `seen` with the number of images that were read so far;
    /// files in folders and lists are not read.
    ///
    /// # Errors
    /// As [`scan_for`](Self::scan_for).
    pub fn scan_and_tell(
        task: Task,
        path: impl AsRef<Path>,
        seen: &mut dyn FnMut(usize),
    ) -> Result<Self, ScanError> {
        let path = path.as_ref();
        if let Some(place) = shards::place(path)? {
            return Self::read(task, path, place, seen);
        }
        let absolute = if path.is_dir() { path.canonicalize() } else { path::absolute(path) };
        let root = absolute.map_err(|source| ScanError::Read { path: path.into(), source })?;
        if root.to_str().is_none() {
            return Err(ScanError::NotUtf8(root));
        }
        let mut set = DataSet::open(&root)?;
        let merged = if task.is_multi_label() { set.merge_copies()? } else { MergedCopies::default() };
        let parts = |split| Some(set.part(Some(split))).filter(|images| !images.is_empty());
        let (validation, test) = (parts(Split::Validation), parts(Split::Test));
        let is_split = validation.is_some() || test.is_some();
        let train = parts(Split::Train).or_else(|| Some(set.part(None)).filter(|_| !is_split));
        let train = train.ok_or_else(|| ScanError::NoTraining { path: root.clone() })?;
        let classes = DataSet::classes(&train);
        if let [class] = &classes[..] {
            return Err(ScanError::OneClass { path: set.place(&train[0]).path, class: class.clone() });
        }
        let mut notes = notes(&set, &classes, validation.as_deref(), test.as_deref());
        notes.push(merged.to_string());
        let (validation, test) = held_out(validation, test);
        let samples = |images: Vec<LabelledImage>| match task {
            Task::SingleLabel => set.samples(&images, &classes),
            Task::MultiLabel => set.label_sets(&images, &classes),
        };
        let (train, validation, test) =
            (samples(train)?, validation.map(samples).transpose()?, test.map(samples).transpose()?);
        notes.retain(|note| !note.is_empty());
        let left_out = std::mem::take(&mut set.left_out);
        Ok(Self { root, source: Source::Files, task, classes, train, validation, test, notes, left_out })
    }

    /// Reads the shards or objects at `place` for the names and labels of their images.
    fn read(task: Task, path: &Path, place: Place, seen: &mut dyn FnMut(usize)) -> Result<Self, ScanError> {
        let (root, place) = match place {
            Place::Local(given) => {
                let root =
                    path::absolute(&given).map_err(|source| ScanError::Read { path: given, source })?;
                (root.clone(), Place::Local(root))
            }
            Place::Remote(_) => (place.name().into(), place),
        };
        if root.to_str().is_none() {
            return Err(ScanError::NotUtf8(path.into()));
        }
        let (shards, found) = Shards::read(place, seen)?;
        let labelled = shards::labelled(found, task)?;
        let Labelled { classes, train, validation, test } =
            labelled.ok_or_else(|| ShardError::HeldOutOnly(root.to_string_lossy().into_owned()))?;
        if let [class] = &classes[..] {
            return Err(ScanError::OneClass { path: root, class: class.clone() });
        }
        let mut notes =
            vec![format!("{} images in {} shards or objects, read once", shards.len(), shards.units())];
        let parts = [("validation", &validation), ("test", &test)].map(|(name, part)| {
            (
                name,
                part.as_ref()
                    .map(|samples| samples.iter().flat_map(|sample| &sample.labels).copied().collect()),
            )
        });
        notes.extend(notes_on_parts(&classes, parts));
        let (validation, test) = held_out(validation, test);
        let source = Source::Shards(Arc::new(shards));
        let left_out = LeftOut::default();
        Ok(Self { root, source, task, classes, train, validation, test, notes, left_out })
    }

    /// Digest of the images' names and classes; the folder they lie in does not count.
    pub fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        let held_out = self.validation.iter().chain(&self.test).flatten();
        for sample in self.train.iter().chain(held_out) {
            let name = sample.path.file_name().unwrap_or_default();
            hasher.update(name.as_encoded_bytes());
            if self.task.is_multi_label() {
                hasher.update(sample.labels.len().to_le_bytes());
            }
            sample.labels.iter().for_each(|label| hasher.update(label.to_le_bytes()));
        }
        short_hex(hasher)
    }
}

/// Validation and test images of a data set: one held-out part is for the end, whatever its name.
fn held_out<T>(validation: Option<T>, test: Option<T>) -> (Option<T>, Option<T>) {
    match test {
        Some(test) => (validation, Some(test)),
        None => (None, validation),
    }
}

/// Says what the parts of a data set are used for, and which classes they lack.
fn notes(
    set: &DataSet,
    classes: &[String],
    validation: Option<&[LabelledImage]>,
    test: Option<&[LabelledImage]>,
) -> Vec<String> {
    let found = |images: &[LabelledImage]| -> HashSet<usize> {
        let found = DataSet::classes(images);
        (0..classes.len()).filter(|&class| found.contains(&classes[class])).collect()
    };
    let parts = [("validation", validation.map(found)), ("test", test.map(found))];
    [set.description()].into_iter().chain(notes_on_parts(classes, parts)).collect()
}

/// Says what held-out parts are used for, and which classes they lack, by the classes that each has.
fn notes_on_parts(classes: &[String], parts: [(&str, Option<HashSet<usize>>); 2]) -> Vec<String> {
    let mut notes = Vec::new();
    if parts[0].1.is_some() && parts[1].1.is_none() {
        notes.push(
            "there are no test images: the validation images are evaluated at the end, as test images".into(),
        );
    }
    for (name, found) in parts {
        let Some(found) = found else { continue };
        let lacking = classes.iter().enumerate().filter(|(class, _)| !found.contains(class));
        let lacking: Vec<_> = lacking.map(|(_, class)| escape::name(class)).collect();
        if !lacking.is_empty() {
            notes.push(format!("no {name} images of {}", lacking.join(", ")));
        }
    }
    notes
}

/// Name of a data set: the last part of its path, up to the first brace of several shards.
pub fn name(dir: &Path) -> String {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let name = match name.split_once('{') {
        Some((stem, _)) if name.contains('}') && !dir.exists() => stem.trim_end_matches(['-', '_', '.']),
        _ => &name,
    };
    if name.is_empty() { "images".into() } else { name.into() }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A folder with these files, each of one byte, and folders: scanning does not decode.
    fn tree(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            if file.ends_with('/') {
                fs::create_dir_all(path).unwrap();
                continue;
            }
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        dir
    }

    fn refusal(files: &[&str]) -> String {
        ImageFolder::scan(tree(files).path()).unwrap_err().to_string()
    }

    #[test]
    fn one_level() {
        let dir = tree(&["dog/b.png", "dog/a.JPG", "cat/deep/c.webp", ".hidden/x.png", "dog/notes.txt"]);
        let found = ImageFolder::scan(dir.path()).unwrap();
        assert_eq!(found.classes, ["cat", "dog"]);
        assert_eq!(found.train.iter().map(Sample::label).collect::<Vec<_>>(), [0, 1, 1]);
        assert!(found.train[1].path.ends_with("dog/a.JPG"));
        assert_eq!((found.validation, found.test, found.notes.len()), (None, None, 0));
        assert_eq!(found.left_out.len(), 2, "{}", found.left_out);
    }

    #[test]
    fn train_with_test_or_val() {
        for held_out in ["test", "val"] {
            let dir = tree(&["train/a/1.png", "train/b/2.png", &format!("{held_out}/b/3.png")]);
            let found = ImageFolder::scan(dir.path()).unwrap();
            assert_eq!((found.test.unwrap()[0].label(), found.validation), (1, None));
            assert!(
                found.notes.iter().any(|note| note == &format!("no {} images of a", found_name(held_out)))
            );
        }
    }

    fn found_name(folder: &str) -> &str {
        if folder == "val" { "validation" } else { folder }
    }

    #[test]
    fn validation_images_beside_test_images_are_for_validation() {
        let files = [
            "Train/a/1.png",
            "Train/b/2.png",
            "valid/a/3.png",
            "valid/b/4.png",
            "Test/a/5.png",
            "Test/b/6.png",
        ];
        let dir = tree(&files);
        let mut found = ImageFolder::scan(dir.path()).unwrap();
        assert_eq!(found.validation.as_ref().map(Vec::len), Some(2));
        assert_eq!(
            found.test.as_ref().unwrap()[0].path,
            dir.path().canonicalize().unwrap().join("Test/a/5.png")
        );
        assert!(
            found.notes[0].starts_with("training images in ") && found.notes.len() == 1,
            "{:?}",
            found.notes
        );
        let digest = found.digest();
        found.validation = None;
        assert_ne!(found.digest(), digest);
    }

    #[test]
    fn a_list_is_read_as_folders_are() {
        let dir = tree(&["1.png", "2.png", "3.png"]);
        let list = dir.path().join("list.csv");
        let scan = |text: &str| {
            fs::write(&list, text).unwrap();
            ImageFolder::scan(&list).map_err(|error| crate::error::chain(&error))
        };
        let found = scan("path,label,split\n3.png,dog,test\n1.png,dog,train\n2.png,cat,train\n").unwrap();
        assert_eq!(found.classes, ["cat", "dog"]);
        assert_eq!(found.train.iter().map(Sample::label).collect::<Vec<_>>(), [1, 0]);
        assert_eq!(found.notes, ["2 training images, 1 test images", "no test images of cat"]);
        let found = scan("path,label\n1.png,dog\n2.png,cat\n").unwrap();
        assert_eq!((found.train.len(), found.test), (2, None));
        let several = scan("path,label\n1.png,dog;cat\n2.png,cat\n").unwrap_err();
        assert!(several.contains("list.csv, line 2 has several labels (dog, cat)"), "{several}");
        let unknown =
            scan("path,label,split\n1.png,dog,train\n2.png,cat,train\n3.png,cow,test\n").unwrap_err();
        assert!(unknown.contains("class cow in ") && unknown.contains("line 4 is none of"), "{unknown}");
        let none = scan("path,label,split\n1.png,dog,test\n").unwrap_err();
        assert!(none.ends_with("has no training images"), "{none}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(refusal(&[]).contains("no class folders"));
        assert!(refusal(&["a/", "b/"]).contains("holds no images in any class folder"));
        assert!(refusal(&["a/1.png"]).contains("only one class (a)"));
        assert!(refusal(&["a/1.png", "b/"]).contains("/b holds no images"));
        assert!(refusal(&["train/a/1.png", "train/b/2.png", "test/c/3.png"]).contains("class c in"));
        assert!(refusal(&["test/a/1.png", "test/b/2.png"]).contains("has no training images"));
        let missing = crate::error::chain(&ImageFolder::scan("no/such/folder").unwrap_err());
        assert!(missing.contains("no/such/folder: no such file or folder"), "{missing}");
    }
}
