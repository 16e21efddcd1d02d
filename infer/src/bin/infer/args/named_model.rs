//! Models with the names under which a server knows them.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

/// Model file with the name and version that a server gives it, parsed from `[NAME[:VERSION]=]MODEL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedModel {
    /// Name of the model; the name of its file without the extension when it is not given.
    pub name: String,
    /// Version of the model; `1` when it is not given.
    pub version: String,
    /// Model file.
    pub path: PathBuf,
}

impl FromStr for NamedModel {
    type Err = Infallible;

    /// A text whose part before the first `=` has a `/` is a path.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let (given, path) = match text.split_once('=') {
            Some((given, path)) if !given.contains('/') => (Some(given), PathBuf::from(path)),
            _ => (None, PathBuf::from(text)),
        };
        let stem = || path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let given = given.map_or_else(stem, str::to_owned);
        let (name, version) = given.split_once(':').unwrap_or((&given, "1"));
        Ok(Self { name: name.into(), version: version.into(), path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_versions() {
        let parts = |text: &str| {
            let NamedModel { name, version, path } = text.parse().unwrap();
            (name, version, path.display().to_string())
        };
        let expect = |name: &str, version: &str, path: &str| (name.into(), version.into(), path.into());
        assert_eq!(parts("a/photos.onnx"), expect("photos", "1", "a/photos.onnx"));
        assert_eq!(parts("cats=photos.onnx"), expect("cats", "1", "photos.onnx"));
        assert_eq!(parts("cats:2=/m/photos.v2.onnx"), expect("cats", "2", "/m/photos.v2.onnx"));
        assert_eq!(parts("a=b=c.onnx"), expect("a", "1", "b=c.onnx"));
        assert_eq!(parts("./a=b.onnx"), expect("a=b", "1", "./a=b.onnx"));
        assert_eq!(parts("=x.onnx"), expect("", "1", "x.onnx"));
    }
}
