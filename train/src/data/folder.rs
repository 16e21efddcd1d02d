//! Data sets in folders, one folder per class.
//!
//! Either `DIR/train/CLASS/...` with `DIR/test/CLASS/...` (or `val`), or `DIR/CLASS/...` alone. Classes are in the
//! order of their names, as in torchvision's `ImageFolder`.

use std::path::{Path, PathBuf};

use ferronnx_infer::image_folder::{self, FolderError, Sample, class_folders};
use sha2::{Digest, Sha256};

/// Image files of a data set, by class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFolder {
    /// The folder, an absolute path without links.
    pub root: PathBuf,
    /// Names of the classes, sorted.
    pub classes: Vec<String>,
    /// Training images, validation included.
    pub train: Vec<Sample>,
    /// Test images, if there are any.
    pub test: Option<Vec<Sample>>,
}

impl ImageFolder {
    /// Lists the images below `dir`; none is decoded.
    ///
    /// # Errors
    /// [`FolderError`] when the folder cannot be read, or lacks classes or images.
    pub fn scan(dir: impl AsRef<Path>) -> Result<Self, FolderError> {
        let dir = dir.as_ref();
        let root = dir.canonicalize().map_err(|source| FolderError::Read { path: dir.into(), source })?;
        let nested = root.join("train");
        if !nested.is_dir() {
            let (classes, train) = scan_classes(&root)?;
            return Ok(Self { root, classes, train, test: None });
        }
        let (classes, train) = scan_classes(&nested)?;
        let test =
            image_folder::held_out(&root).map(|path| image_folder::scan(&path, &classes)).transpose()?;
        Ok(Self { root, classes, train, test })
    }

    /// Digest of the images' names and classes; the folder they lie in does not count.
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
    let samples = image_folder::scan(dir, &classes)?;
    if let [class] = &classes[..] {
        return Err(FolderError::OneClass { path: dir.into(), class: class.clone() });
    }
    Ok((classes, samples))
}

/// Name of a data set: the last part of its folder's path.
pub fn name(dir: &Path) -> String {
    dir.file_name().map_or_else(|| "images".into(), |name| name.to_string_lossy().into_owned())
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
        assert!(refusal(&["a/", "b/"]).contains("holds no images in any class folder"));
        assert!(refusal(&["a/1.png"]).contains("only one class (a)"));
        assert!(refusal(&["a/1.png", "b/"]).contains("/b holds no images"));
        assert!(refusal(&["train/a/1.png", "train/b/2.png", "test/c/3.png"]).contains("class c in"));
        let missing = crate::error::chain(&ImageFolder::scan("no/such/folder").unwrap_err());
        assert!(missing.contains("no/such/folder: No such file"), "{missing}");
    }
}
