//! Copies of an image in several class folders: one image with several labels.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{DataSet, DataSetError, LabelledImage};
use crate::image_folder::Split;

/// Numbers of images that were in several class folders.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MergedCopies {
    /// Images with several labels.
    pub images: usize,
    /// Files of these images.
    pub files: usize,
}

impl fmt::Display for MergedCopies {
    /// Describes them in a sentence; empty when there are none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self { images: 0, .. } => Ok(()),
            Self { images: 1, files } => {
                write!(f, "1 image lies in several class folders ({files} files) and has all their labels")
            }
            Self { images, files } => {
                write!(
                    f,
                    "{images} images lie in several class folders ({files} files) and have all their labels"
                )
            }
        }
    }
}

/// Content of a file: its length, and a digest where another file has the same length.
type Content = (u64, [u8; 32]);

impl DataSet {
    /// Merges files of the same bytes in several class folders of one part: the first stays and gets all their labels.
    ///
    /// Files are read only where others have the same length. A list names the labels of its images itself, and is left
    /// as it is.
    ///
    /// # Errors
    /// [`DataSetError::Read`] when a file cannot be read.
    pub fn merge_copies(&mut self) -> Result<MergedCopies, DataSetError> {
        let mut by_length: HashMap<(Option<Split>, u64), Vec<usize>> = HashMap::new();
        for (index, image) in self.images.iter().enumerate().filter(|(_, image)| image.line.is_none()) {
            let length = fs::metadata(&image.path).map_err(|source| unreadable(image, source))?.len();
            by_length.entry((image.split, length)).or_default().push(index);
        }
        let mut by_content: HashMap<(Option<Split>, Content), Vec<usize>> = HashMap::new();
        for ((split, length), indices) in by_length.into_iter().filter(|(_, indices)| indices.len() > 1) {
            for index in indices {
                let image = &self.images[index];
                let digest = digest(&image.path).map_err(|source| unreadable(image, source))?;
                by_content.entry((split, (length, digest))).or_default().push(index);
            }
        }
        let mut merged = MergedCopies::default();
        let mut is_copy = vec![false; self.images.len()];
        for indices in by_content.into_values() {
            let mut labels: Vec<String> =
                indices.iter().flat_map(|&index| self.images[index].labels.clone()).collect();
            labels.sort();
            labels.dedup();
            if indices.len() > 1 && labels.len() > 1 {
                merged.images += 1;
                merged.files += indices.len();
                self.images[indices[0]].labels = labels;
                indices[1..].iter().for_each(|&index| is_copy[index] = true);
            }
        }
        let mut is_copy = is_copy.into_iter();
        self.images.retain(|_| is_copy.next() == Some(false));
        Ok(merged)
    }
}

fn digest(path: &Path) -> io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(path)?, &mut Writer(&mut hasher))?;
    Ok(hasher.finalize().into())
}

/// Feeds what is written to a hasher.
struct Writer<'a>(&'a mut Sha256);

impl io::Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn unreadable(image: &LabelledImage, source: io::Error) -> DataSetError {
    DataSetError::Read { path: image.path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_in_several_class_folders_are_one_image_in_each_part() {
        let dir = tempfile::tempdir().unwrap();
        let files = [
            ("train/a/1.png", "one"),
            ("train/a/2.png", "two"),
            ("train/a/again.png", "two"),
            ("train/b/x.png", "one"),
            ("train/b/y.png", "six"),
            ("train/c/z.png", "one"),
            ("test/b/1.png", "one"),
            ("test/a/2.png", "eleven"),
        ];
        for (file, content) in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let mut data = DataSet::open(dir.path()).unwrap();
        let merged = data.merge_copies().unwrap();
        assert_eq!(merged, MergedCopies { images: 1, files: 3 });
        assert_eq!(
            merged.to_string(),
            "1 image lies in several class folders (3 files) and has all their labels"
        );
        let train = data.part(Some(Split::Train));
        assert_eq!(train.len(), 4, "copies within a class stay");
        assert_eq!(train[0].labels, ["a", "b", "c"]);
        assert!(train[0].path.ends_with("a/1.png"));
        assert_eq!(data.part(Some(Split::Test)).len(), 2);
        assert_eq!(data.merge_copies().unwrap().to_string(), "");
    }
}
