//! Options of a server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::engine::LoadOptions;
use crate::model_spec::ModelSpec;

/// Options of a server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServeOptions {
    /// Models to serve.
    pub models: Vec<ModelSpec>,
    /// Settings of their engines.
    pub load: LoadOptions,
    /// Address to listen on; port 0 chooses a free one.
    pub listen: SocketAddr,
    /// Most images that are accepted and not answered yet.
    pub queue: usize,
    /// Largest request, in bytes.
    pub max_body: usize,
    /// Memory for the bodies of all requests together, in bytes.
    pub body_memory: usize,
    /// Most connections at the same time.
    pub connections: usize,
    /// Time after which a request is given up, unless it asks for less.
    pub timeout: Duration,
    /// Certificate chain and key in PEM files, for TLS.
    pub tls: Option<TlsFiles>,
    /// File with API keys, one a line.
    pub api_keys: Option<PathBuf>,
}

/// Certificate chain and private key, as PEM files.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// Certificate chain, the server's own first.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

impl ServeOptions {
    /// Options with which `models` are served on port 8000 of this machine only.
    pub fn new(models: Vec<ModelSpec>) -> Self {
        Self {
            models,
            load: LoadOptions::default(),
            listen: SocketAddr::from(([127, 0, 0, 1], 8000)),
            queue: 64,
            max_body: 32_000_000,
            body_memory: 256_000_000,
            connections: 16_384,
            timeout: Duration::from_secs(30),
            tls: None,
            api_keys: None,
        }
    }
}
