//! Full names of layers, composed part by part.

use std::fmt;

/// Full name of a layer or part of a network, as in PyTorch's `state_dict`: parts joined by dots.
///
/// ```
/// use ferronnx_models::layers::{Conv2d, Path};
///
/// let block = Path::new("backbone") / "layer1" / 0;
/// let conv = Conv2d::new(&block / "conv1", 64, 64, 3);
/// assert_eq!(conv.weight_name(), "backbone.layer1.0.conv1.weight");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Path(String);

impl Path {
    /// Creates the path of an outermost part; an empty `name` is the network itself, whose parts have no prefix.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// Returns the whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: fmt::Display> std::ops::Div<T> for &Path {
    type Output = Path;

    /// Appends a part: a name, or the number of a layer in a sequence.
    fn div(self, part: T) -> Path {
        if self.0.is_empty() { Path(part.to_string()) } else { Path(format!("{}.{part}", self.0)) }
    }
}

impl<T: fmt::Display> std::ops::Div<T> for Path {
    type Output = Self;

    fn div(self, part: T) -> Self {
        &self / part
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Path> for String {
    fn from(path: Path) -> Self {
        path.0
    }
}

impl From<&Path> for Path {
    fn from(path: &Path) -> Self {
        path.clone()
    }
}

impl From<&String> for Path {
    fn from(name: &String) -> Self {
        Self::new(name)
    }
}

impl From<&str> for Path {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}
