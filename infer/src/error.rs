//! What can go wrong, by kind.
//!
//! [`Display`](std::fmt::Display) says `what: why`, with the file named once; [`Error::reason`] is the same
//! without the file, for readers that have it already, such as the JSON of a result.

use std::io;
use std::path::{Path, PathBuf};

use serde::ser::{Serialize, SerializeStruct, Serializer};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such file or folder.
    #[error("{}: {}", path.display(), self.reason())]
    NotFound {
        /// What was looked for.
        path: PathBuf,
    },
    /// The system refused.
    #[error("{}: {}", path.display(), self.reason())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// A folder without a single image.
    #[error("{}: {}", path.display(), self.reason())]
    NoImages {
        /// The folder.
        path: PathBuf,
    },
    /// Not an image, or a damaged one.
    #[error("{}{reason}", prefix(path.as_deref()))]
    Decode {
        /// The file; none for bytes in memory.
        path: Option<PathBuf>,
        /// Why.
        reason: String,
    },
    /// An image or file above the limits of [`decode`](crate::decode).
    #[error("{}{}", prefix(path.as_deref()), self.reason())]
    TooLarge {
        /// The file; none for bytes in memory.
        path: Option<PathBuf>,
        /// What it has, with its unit.
        size: String,
        /// What is allowed, with its unit.
        limit: String,
    },
    /// ONNX Runtime is missing, or the file is not a usable one.
    #[error("{}{reason}", prefix(path.as_deref()))]
    Runtime {
        /// The library; none when none was found.
        path: Option<PathBuf>,
        /// Why, and the way out.
        reason: String,
    },
    /// Not an ONNX model, or not one that can be used so.
    #[error("{}{reason}", prefix(path.as_deref()))]
    Model {
        /// The file; none for bytes in memory.
        path: Option<PathBuf>,
        /// Why, and the way out.
        reason: String,
    },
    /// The device asked for cannot be used.
    #[error("--device {device}: {reason}")]
    Device {
        /// The device, as users write it.
        device: String,
        /// Why, and the way out.
        reason: String,
    },
    /// The model could not be run.
    #[error("{0}")]
    Session(String),
}

impl Error {
    /// The kind as one word, for machines.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::Io { .. } => "io",
            Self::NoImages { .. } => "no_pictures",
            Self::Decode { .. } => "decode",
            Self::TooLarge { .. } => "too_large",
            Self::Runtime { .. } => "runtime",
            Self::Model { .. } => "model",
            Self::Device { .. } => "device",
            Self::Session(_) => "session",
        }
    }

    /// Why, without the name of the file.
    pub fn reason(&self) -> String {
        match self {
            Self::NotFound { .. } => "no such file or folder".into(),
            Self::Io { error, .. } => io_reason(error),
            Self::NoImages { .. } => {
                format!("no images in this folder ({})", crate::files::EXTENSIONS.join(", "))
            }
            Self::TooLarge { size, limit, .. } => {
                format!("{size} is too large: the limit is {limit}, scale the image down")
            }
            Self::Decode { reason, .. }
            | Self::Runtime { reason, .. }
            | Self::Model { reason, .. }
            | Self::Device { reason, .. }
            | Self::Session(reason) => reason.clone(),
        }
    }

    /// The system's `error` about `path`.
    pub(crate) fn io(path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound { path },
            _ => Self::Io { path, error },
        }
    }

    /// Names the file where it is not named yet.
    pub(crate) fn at(mut self, file: &Path) -> Self {
        if let Self::Decode { path, .. } | Self::TooLarge { path, .. } | Self::Model { path, .. } = &mut self
        {
            path.get_or_insert_with(|| file.to_owned());
        }
        self
    }
}

/// `{"kind", "message"}`.
impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Error", 2)?;
        object.serialize_field("kind", self.kind())?;
        object.serialize_field("message", &self.reason())?;
        object.end()
    }
}

fn prefix(path: Option<&Path>) -> String {
    path.map(|path| format!("{}: ", path.display())).unwrap_or_default()
}

/// The first names, and how many more there are.
pub(crate) fn few(names: &[String]) -> String {
    const NAMED: usize = 5;
    let named = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// The system's words without its error number.
fn io_reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].into(),
        None => text,
    }
}

/// ONNX Runtime's message without the places in its own source that it begins with:
/// `/onnxruntime_src/.../x.cc:63 void f(int) what happened` and `[ONNXRuntimeError] : 1 : FAIL : what happened`.
pub(crate) fn runtime_message(error: &ort::Error) -> String {
    clean(error.message())
}

fn clean(message: &str) -> String {
    let mut text = message.trim();
    if let Some(start) = text.rfind("[ONNXRuntimeError] : ") {
        text = text[start..].splitn(4, " : ").last().unwrap_or(text);
    }
    if text.starts_with('/') && text.contains(".cc:") {
        text = text.rsplit_once(") ").map_or(text, |(_, message)| message);
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_file_once() {
        let error = Error::Decode { path: None, reason: "the file is empty".into() }.at("a.png".as_ref());
        assert_eq!(error.to_string(), "a.png: the file is empty");
        assert_eq!(error.at("b.png".as_ref()).to_string(), "a.png: the file is empty");
    }

    #[test]
    fn drops_the_number_of_a_system_error() {
        let error = Error::io("x".as_ref(), io::Error::from_raw_os_error(13));
        assert_eq!((error.kind(), error.to_string().as_str()), ("io", "x: Permission denied"));
        assert_eq!(Error::io("x".as_ref(), io::Error::from_raw_os_error(2)).kind(), "not_found");
    }

    #[test]
    fn serialises_without_the_file() {
        let json = serde_json::to_value(Error::NotFound { path: "x".into() }).unwrap();
        assert_eq!(json, serde_json::json!({ "kind": "not_found", "message": "no such file or folder" }));
    }

    #[test]
    fn cleans_the_runtimes_messages() {
        let long = "/onnxruntime_src/onnxruntime/core/session/provider_bridge_ort.cc:2043 onnxruntime::Provider& \
                    onnxruntime::ProviderLibrary::Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load library \
                    x.so with error: libcublasLt.so.13: cannot open shared object file\n";
        let short =
            "Failed to load library x.so with error: libcublasLt.so.13: cannot open shared object file";
        assert_eq!(clean(long), short);
        assert_eq!(clean("/onnxruntime_src/a/b.cc:63 void f(int) CUDA failure 35"), "CUDA failure 35");
        assert_eq!(clean("Invalid input name: xx"), "Invalid input name: xx");
    }
}
