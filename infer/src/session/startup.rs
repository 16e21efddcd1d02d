//! Times of the steps before the first pass.

use std::time::Duration;

/// Times of the steps that built a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Startup {
    /// Time to load ONNX Runtime and the libraries of the device; short where this process had loaded them.
    pub library: Duration,
    /// Time to read and rearrange the file and to build the session.
    pub session: Duration,
}
