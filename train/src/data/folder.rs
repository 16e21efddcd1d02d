//! A folder of images, one folder a class.
//!
//! Either `DIR/train/CLASS/...` with `DIR/test/CLASS/...` (or `val`), or `DIR/CLASS/...` alone. Classes are in the
//! order of their names, as in torchvision's `ImageFolder`.

use std::path::Path;

use ferronnx_infer::image_folder::{self, FolderError, Sample, class_folders};
use sha2::{Digest, Sha256};

/// The images of a folder, by class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFolder {
    /// Names of the classes, sorted.
    pub classes: Vec<String>,
    /// Images to learn from, validation included.
    pub train: Vec<Sample>,
    /// Images that are looked at once, at the end.
    pub test: Option<Vec<Sample>>,
}

impl ImageFolder {
    /// Lists the images below `dir`.
    pub fn scan(dir: &Path) -> Result<Self, FolderError> {
        let nested = dir.join("train");
        if !nested.is_dir() {
            let (classes, train) = scan_classes(dir)?;
            return Ok(Self { classes, train, test: None });
        }
        let (classes, train) = scan_classes(&nested)?;
        let test = image_folder::held_out(dir).map(|path| image_folder::scan(&path, &classes)).transpose()?;
        Ok(Self { classes, train, test })
    }

    /// Digest of the images' names and classes, whatever folder they lie in today.
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

/// What a data set is called: its folder, without the path to it.
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
        let missing = ImageFolder::scan(Path::new("no/such/folder")).unwrap_err().to_string();
        assert!(missing.contains("no/such/folder: No such file"), "{missing}");
    }
}
