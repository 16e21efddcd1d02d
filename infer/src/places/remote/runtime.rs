//! Threads of the requests.

use std::future::Future;
use std::sync::{Once, OnceLock};

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::error::{Error, ErrorKind, Result};

/// Threads of the requests; encryption is what keeps them busy.
const THREADS: usize = 2;

/// Runtime of all requests, started with the first.
fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.worker_threads(THREADS).thread_name("requests").enable_all().build();
    let runtime = runtime.map_err(|error| Error::from(ErrorKind::Io(error)))?;
    Ok(RUNTIME.get_or_init(|| runtime))
}

/// Chooses the implementation of TLS, before a client is made; an application that chose another one keeps it.
pub(super) fn choose_tls() {
    static CHOSEN: Once = Once::new();
    CHOSEN.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}

/// Runs `work` and waits for it.
pub(super) fn wait<T, E: Into<Error>>(work: impl Future<Output = std::result::Result<T, E>>) -> Result<T> {
    runtime()?.block_on(work).map_err(Into::into)
}

/// Starts `work` in the background.
pub(super) fn spawn<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<JoinHandle<T>> {
    Ok(runtime()?.spawn(work))
}
