//! A folder of pictures, one folder a class.
//!
//! Either `DIR/train/CLASS/...` with `DIR/test/CLASS/...` (or `val`), or `DIR/CLASS/...` alone. Classes are in the
//! order of their names, as in torchvision's `ImageFolder`.

use std::path::{Path, PathBuf};
use std::{fs, io};

use sha2::{Digest, Sha256};

use super::Sample;

/// The pictures of a folder, by class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFolder {
    /// Names of the classes, sorted.
    pub classes: Vec<String>,
    /// Pictures to learn from, validation included.
    pub train: Vec<Sample>,
    /// Pictures that are looked at once, at the end.
    pub test: Option<Vec<Sample>>,
}

/// Why a folder is not a data set.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It cannot be listed.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Nothing that could be a class.
    #[error("{0} has no class folders: expected {0}/CLASS/*.jpg, or {0}/train/CLASS/*.jpg with {0}/test")]
    NoClasses(PathBuf),
    /// A single class.
    #[error("{path} has only one class ({class}): a classifier needs at least two class folders")]
    OneClass {
        /// The folder of the class folders.
        path: PathBuf,
        /// The class.
        class: String,
    },
    /// Class folders without any picture.
    #[error("{path} holds no pictures in any class folder (looked for {extensions})",
        extensions = infer::files::EXTENSIONS.join(", "))]
    NoPictures {
        /// The folder of the class folders.
        path: PathBuf,
    },
    /// One class folder without pictures.
    #[error("class folder {0} holds no pictures: add some or remove the folder")]
    EmptyClass(PathBuf),
    /// The test set knows a class that training does not.
    #[error("class {class} in {path} has no folder of that name to train on")]
    UnknownClass {
        /// The test folder.
        path: PathBuf,
        /// The class.
        class: String,
    },
    /// The pictures of a class cannot be listed.
    #[error(transparent)]
    Pictures(#[from] infer::Error),
}

impl ImageFolder {
    /// Lists the pictures below `dir`.
    pub fn scan(dir: &Path) -> Result<Self, FolderError> {
        let nested = dir.join("train");
        if !nested.is_dir() {
            let (classes, train) = scan_classes(dir)?;
            return Ok(Self { classes, train, test: None });
        }
        let (classes, train) = scan_classes(&nested)?;
        let held_out = ["test", "val"].map(|name| dir.join(name)).into_iter().find(|path| path.is_dir());
        let test = held_out.map(|path| scan_known(&path, &classes)).transpose()?;
        Ok(Self { classes, train, test })
    }

    /// Digest of the pictures' names and classes, whatever folder they lie in today.
    pub fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        for sample in self.train.iter().chain(self.test.iter().flatten()) {
            let name = sample.path.file_name().unwrap_or_default();
            hasher.update(name.as_encoded_bytes());
            hasher.update(sample.label.to_le_bytes());
        }
        hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

fn scan_classes(dir: &Path) -> Result<(Vec<String>, Vec<Sample>), FolderError> {
    let classes = class_folders(dir)?;
    let samples = scan_known(dir, &classes)?;
    if let [class] = &classes[..] {
        return Err(FolderError::OneClass { path: dir.into(), class: class.clone() });
    }
    Ok((classes, samples))
}

/// What a data set is called: its folder, without the path to it.
pub fn name(dir: &Path) -> String {
    dir.file_name().map_or_else(|| "pictures".into(), |name| name.to_string_lossy().into_owned())
}

/// The pictures of `dir`, whose class folders are all among `classes`.
pub fn scan_known(dir: &Path, classes: &[String]) -> Result<Vec<Sample>, FolderError> {
    let found = class_folders(dir)?;
    let mut samples = Vec::new();
    let mut empty = None;
    for class in &found {
        let Some(label) = classes.iter().position(|known| known == class) else {
            return Err(FolderError::UnknownClass { path: dir.into(), class: class.clone() });
        };
        let pictures = infer::files::pictures_in(&dir.join(class))?;
        if pictures.is_empty() {
            empty = empty.or_else(|| Some(dir.join(class)));
        }
        samples.extend(pictures.into_iter().map(|path| Sample { path, label }));
    }
    match empty {
        _ if samples.is_empty() => Err(FolderError::NoPictures { path: dir.into() }),
        Some(path) => Err(FolderError::EmptyClass(path)),
        None => Ok(samples),
    }
}

/// Names of the folders in `dir`, sorted; hidden ones are not classes.
fn class_folders(dir: &Path) -> Result<Vec<String>, FolderError> {
    let read = |source| FolderError::Read { path: dir.into(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(read)? {
        let entry = entry.map_err(read)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && !name.starts_with('.') {
            names.push(name);
        }
    }
    if names.is_empty() {
        return Err(FolderError::NoClasses(dir.into()));
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
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
        assert_eq!(found.train.iter().map(|sample| sample.label).collect::<Vec<_>>(), [0, 1, 1]);
        assert!(found.train[1].path.ends_with("dog/a.JPG"));
        assert_eq!(found.test, None);
    }

    #[test]
    fn train_with_test_or_val() {
        for held_out in ["test", "val"] {
            let dir = tree(&["train/a/1.png", "train/b/2.png", &format!("{held_out}/b/3.png")]);
            let found = ImageFolder::scan(dir.path()).unwrap();
            assert_eq!(found.test.unwrap()[0].label, 1);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(refusal(&[]).contains("no class folders"));
        assert!(refusal(&["a/", "b/"]).contains("holds no pictures in any class folder"));
        assert!(refusal(&["a/1.png"]).contains("only one class (a)"));
        assert!(refusal(&["a/1.png", "b/"]).contains("/b holds no pictures"));
        assert!(refusal(&["train/a/1.png", "train/b/2.png", "test/c/3.png"]).contains("class c in"));
        let missing = ImageFolder::scan(Path::new("no/such/folder")).unwrap_err().to_string();
        assert!(missing.contains("no/such/folder: No such file"), "{missing}");
    }
}
