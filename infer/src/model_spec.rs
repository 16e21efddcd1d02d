//! Names and versions under which model files are served.

use std::path::PathBuf;
use std::str::FromStr;

/// Longest name of a model or a version.
pub(crate) const MAX_NAME: usize = 128;

/// Model file with the name and version under which it is served: `[NAME[:VERSION]=]FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSpec {
    /// Name; the file's without its ending by default.
    pub name: String,
    /// Version; `1` by default.
    pub version: String,
    /// File of the model.
    pub path: PathBuf,
}

/// Text that is no [`ModelSpec`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}`: names and versions have 1 to {MAX_NAME} letters of A-Z a-z 0-9 . _ - (NAME:VERSION=FILE)")]
pub struct ParseModelError(String);

impl ModelSpec {
    /// Names a model after its file.
    ///
    /// # Errors
    /// [`ParseModelError`] when the name of the file has other letters than names of models.
    pub fn of_file(path: impl Into<PathBuf>) -> Result<Self, ParseModelError> {
        let path = path.into();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Self::new(&stem, "1", path)
    }

    fn new(name: &str, version: &str, path: PathBuf) -> Result<Self, ParseModelError> {
        match [name, version].into_iter().find(|name| !is_name(name)) {
            Some(wrong) => Err(ParseModelError(wrong.into())),
            None => Ok(Self { name: name.into(), version: version.into(), path }),
        }
    }
}

impl FromStr for ModelSpec {
    type Err = ParseModelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, path)) => {
                let (name, version) = name.split_once(':').unwrap_or((name, "1"));
                Self::new(name, version, path.into())
            }
            None => Self::of_file(text),
        }
    }
}

/// Tells whether a text is a name of a model or a version. Neither `.` nor `..` is one.
fn is_name(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(letter) && text.bytes().any(|byte| byte != b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_versions_come_before_the_file() {
        let spec = |name: &str, version: &str, path: &str| ModelSpec {
            name: name.into(),
            version: version.into(),
            path: path.into(),
        };
        assert_eq!("a/model.onnx".parse(), Ok(spec("model", "1", "a/model.onnx")));
        assert_eq!("cats=a.onnx".parse(), Ok(spec("cats", "1", "a.onnx")));
        assert_eq!("cats:7=a=b.onnx".parse(), Ok(spec("cats", "7", "a=b.onnx")));
        for wrong in ["..=a.onnx", "=a.onnx", "a/b=c.onnx", "a:=b", "a:../2=b", "\u{e9}=b", "a b.onnx"] {
            assert!(wrong.parse::<ModelSpec>().is_err(), "{wrong}");
        }
    }
}
