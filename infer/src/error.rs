//! Errors of this crate, by kind.
//!
//! [`Display`](fmt::Display) gives the file and the reason. Causes are in [`source`](std::error::Error::source) and are
//! not repeated; [`chain`] joins an error with its causes for people to read.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::ser::{Serialize, SerializeStruct, Serializer};

pub use crate::assume::label_file::LabelFileError;
pub use crate::assume::sidecar::SidecarError;
pub use crate::decode::DecodeError;
use crate::device::Device;
pub use crate::device::DeviceError;
pub use crate::embed::table::EmbeddingsError;
pub use crate::model_error::ModelError;
pub use crate::runtime::RuntimeError;
pub use crate::session::SessionError;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Failure of this crate: a kind, and the file that it is about.
#[derive(Debug)]
pub struct Error {
    path: Option<PathBuf>,
    kind: ErrorKind,
}

/// Reason of a failure, one variant for each thing that can fail.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such file or folder.
    #[error("no such file or folder")]
    NotFound,
    /// The file or folder exists and cannot be read.
    #[error("cannot be read")]
    Io(#[source] io::Error),
    /// The folder holds no image.
    #[error("no images in this folder ({})", crate::decode::FORMATS)]
    NoImages,
    /// The bytes are not an image, or a damaged one.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The image or its file exceeds the limits of [`decode`](crate::decode).
    #[error("{size} is too large: the limit is {limit}, scale the image down")]
    TooLarge {
        /// Size found, with its unit.
        size: String,
        /// Size allowed, with its unit.
        limit: String,
    },
    /// ONNX Runtime cannot be loaded.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The model cannot be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The device cannot be used.
    #[error("cannot use the device {device}")]
    Device {
        /// Device asked for.
        device: Device,
        /// Reason.
        source: DeviceError,
    },
    /// The model could not be run.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A file does not name the classes.
    #[error(transparent)]
    Labels(#[from] LabelFileError),
    /// A model, or a file beside it, is not what this program can use.
    #[error(transparent)]
    Sidecar(#[from] SidecarError),
    /// A file of embeddings cannot be used.
    #[error(transparent)]
    Embeddings(#[from] EmbeddingsError),
    /// A benchmark has no device, no threads or no batch size.
    #[error("nothing to measure: no device, no threads or no batch")]
    NothingToMeasure,
    /// A place cannot be listed, read or written.
    #[cfg(feature = "data")]
    #[error(transparent)]
    Place(#[from] crate::places::PlaceError),
    /// The threads for decoding could not be started.
    #[error("cannot start the threads that decode images")]
    Threads(#[source] rayon::ThreadPoolBuildError),
}

impl ErrorKind {
    /// Name of the kind in JSON, such as `not_found`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Io(_) => "io",
            Self::NoImages => "no_pictures",
            Self::Decode(_) => "decode",
            Self::TooLarge { .. } => "too_large",
            Self::Runtime(_) => "runtime",
            Self::Model(_) => "model",
            Self::Device { .. } => "device",
            Self::Session(_) => "session",
            Self::Labels(_) => "labels",
            Self::Sidecar(_) => "sidecar",
            Self::Embeddings(_) => "embeddings",
            Self::NothingToMeasure => "nothing_to_measure",
            #[cfg(feature = "data")]
            Self::Place(_) => "place",
            Self::Threads(_) => "threads",
        }
    }
}

impl Error {
    /// Reason of the failure.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// File, folder or library that the failure is about; none for bytes in memory.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Names the file, unless one is named already.
    #[must_use]
    pub fn at(mut self, file: impl AsRef<Path>) -> Self {
        self.path.get_or_insert_with(|| file.as_ref().to_owned());
        self
    }

    /// Names the model file, if the failure is about the model.
    pub(crate) fn at_model(self, file: &Path) -> Self {
        match self.kind {
            ErrorKind::Model(_) => self.at(file),
            _ => self,
        }
    }

    /// Converts the system's `error` about `path`.
    pub(crate) fn io(path: &Path, error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Io(error),
        };
        Self::from(kind).at(path)
    }

    /// Reason with its causes, without the file: `the PNG is damaged: unexpected end of file`.
    pub fn reason(&self) -> String {
        chain(&self.kind)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{}: ", crate::escape::path(path))?;
        }
        self.kind.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.kind.source()
    }
}

impl<K: Into<ErrorKind>> From<K> for Error {
    fn from(kind: K) -> Self {
        Self { path: None, kind: kind.into() }
    }
}

/// `{"kind", "message"}`; the message is [`Error::reason`].
impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Error", 2)?;
        object.serialize_field("kind", self.kind.name())?;
        object.serialize_field("message", &self.reason())?;
        object.end()
    }
}

/// Text of an error and of its causes on one line, joined by `: `.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(|cause| cause.to_string().trim().to_owned()).collect::<Vec<_>>().join(": ")
}

/// Joins the first five of `names`, followed by the number of the others.
pub(crate) fn few(names: &[String]) -> String {
    first_of(5, names.iter())
}

/// Joins the first `shown` of `names`, followed by the number of the others: `a, b and 3 more`.
pub fn first_of<T: fmt::Display>(shown: usize, names: impl ExactSizeIterator<Item = T>) -> String {
    let more = names.len().saturating_sub(shown);
    let named = names.take(shown).map(|name| name.to_string()).collect::<Vec<_>>().join(", ");
    match more {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// Message of ONNX Runtime, without the places in its C++ source that it begins with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OrtError(pub(crate) String);

impl From<ort::Error> for OrtError {
    fn from(error: ort::Error) -> Self {
        Self(clean(error.message()))
    }
}

impl OrtError {
    /// Text of the message.
    pub fn message(&self) -> &str {
        &self.0
    }

    /// Removes the file's name from `Load model from PATH failed:MESSAGE`, for the error names it.
    pub(crate) fn without_path(self) -> Self {
        match self.0.strip_prefix("Load model from ").and_then(|rest| rest.split_once(" failed:")) {
            Some((_, message)) => Self(message.into()),
            None => self,
        }
    }
}

/// Removes what is about ONNX Runtime's source from a message: `/onnxruntime_src/.../x.cc:63 void f(int) MESSAGE`,
/// `[ONNXRuntimeError] : 1 : FAIL : MESSAGE` and `CUDA failure 2: MESSAGE ; GPU=0 ; hostname=h ; file=x.cc ; line=9 ; expr=f();`.
fn clean(message: &str) -> String {
    let mut text = message.trim();
    if let Some(start) = text.rfind("[ONNXRuntimeError] : ") {
        text = text[start..].splitn(4, " : ").last().unwrap_or(text);
    }
    text = text.split_once(" ; GPU=").map_or(text, |(message, _)| message);
    let failure = ["CUDA failure ", "CUDNN failure ", "CUBLAS failure "];
    if let Some(start) = failure.iter().find_map(|library| text.find(library)) {
        text = &text[start..];
    }
    let place = text.find("/onnxruntime_src/").or(text.starts_with('/').then_some(0));
    let text = match place.filter(|&place| text[place..].contains(".cc:")) {
        Some(place) => {
            let (before, rest) = text.split_at(place);
            format!("{before}{}", rest.rsplit_once(") ").map_or(rest, |(_, message)| message))
        }
        None => text.to_owned(),
    };
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_file_once() {
        let error = Error::from(DecodeError::Empty).at("a.png");
        assert_eq!(error.to_string(), "a.png: the file is empty");
        assert_eq!(error.at("b.png").to_string(), "a.png: the file is empty");
    }

    #[test]
    fn a_cause_is_not_repeated() {
        let error = Error::io("x".as_ref(), io::Error::from_raw_os_error(13));
        assert_eq!((error.kind().name(), error.to_string().as_str()), ("io", "x: cannot be read"));
        assert_eq!(chain(&error), "x: cannot be read: Permission denied (os error 13)");
        assert_eq!(Error::io("x".as_ref(), io::Error::from_raw_os_error(2)).kind().name(), "not_found");
    }

    #[test]
    fn serialises_without_the_file() {
        let json = serde_json::to_value(Error::from(ErrorKind::NotFound).at("x")).unwrap();
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
        let call = "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:154 std::conditional_t<THRW, void, \
                    onnxruntime::common::Status> onnxruntime::CudaCall(ERRTYPE, const char*, SUCCTYPE) [with ERRTYPE = \
                    cudaError; bool THRW = true] CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; \
                    hostname=vm ; file=/onnxruntime_src/x.cc ; line=9 ; expr=cudaStreamSynchronize(stream());";
        assert_eq!(clean(call), "CUDA failure 700: an illegal memory access was encountered");
        let node = "Non-zero status code returned while running Add node. Name:'a' Status Message: \
                    /onnxruntime_src/a/b.cc:63 void f(int) 2 by 3";
        let short = "Non-zero status code returned while running Add node. Name:'a' Status Message: 2 by 3";
        assert_eq!(clean(node), short);
    }
}
