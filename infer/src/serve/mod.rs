//! Server: photos and tensors in, answers out, over HTTP and gRPC.
//!
//! The way of a request: a place is taken before the body is read (`admission`) -> the image is decoded on a pool of threads
//! and queued (`engine`) -> a free session takes what is in the queue and runs it in one pass -> the answer. `http` and
//! `grpc` speak the [Open Inference Protocol](https://github.com/kserve/open-inference-protocol), which `protocol` defines
//! once for both.
//!
//! A model is served when its [certificate](crate::verify) holds on this device. A file that is replaced is verified too,
//! and takes over between two passes.

mod admission;
mod app;
mod auth;
mod connections;
mod engine;
mod failure;
mod from_files;
pub mod grpc;
mod http;
mod inference;
mod metrics;
mod options;
pub mod protocol;
mod record;
mod registry;
mod reload;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::TlsAcceptor;

use admission::Admission;
use app::{App, Phase};
pub use auth::ApiKeyError;
use auth::ApiKeys;
use connections::Connections;
use engine::Engine;
pub use engine::{LoadError, LoadOptions};
use from_files::FromFiles;
use grpc::Health;
use metrics::Metrics;
pub use options::{ServeOptions, TlsFiles};
pub use registry::DuplicateModel;
use registry::{Registry, Slot};
use reload::Reloader;
pub use tls::TlsError;

/// Server that listens. It answers that it lives from the beginning, and requests from [`load`](Self::load) on.
pub struct Server {
    app: Arc<App>,
    reloader: Arc<Reloader>,
    address: SocketAddr,
    tls: Option<Arc<FromFiles<TlsAcceptor>>>,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<GracefulShutdown>,
}

/// Reason why a server cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address cannot be used.
    #[error("cannot listen on {address}")]
    Listen {
        /// Address.
        address: SocketAddr,
        /// Reason.
        source: io::Error,
    },
    /// Two models have the same name.
    #[error(transparent)]
    Duplicate(#[from] DuplicateModel),
    /// There are no API keys.
    #[error(transparent)]
    ApiKeys(#[from] ApiKeyError),
    /// TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Model that is served, for people to see.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServedModel {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Number of classes.
    pub classes: usize,
    /// Height and width of the input.
    pub size: ferronnx_models::card::Size,
    /// Execution provider of the network, by ONNX Runtime's name.
    pub provider: &'static str,
    /// True if the file has a certificate, which holds.
    pub certified: bool,
    /// Reason why the network does not run on a GPU, see [`Session::warning`](crate::Session::warning).
    pub warning: Option<String>,
    /// Assumptions about a model without a card.
    pub assumed: Vec<crate::assume::Assumed>,
}

impl Server {
    /// Starts to listen. Call it in a Tokio runtime.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn bind(options: ServeOptions) -> Result<Self, ServeError> {
        let metrics = Metrics::default();
        let models = Registry::new(options.models, &metrics)?;
        let keys = options.api_keys.map(|file| FromFiles::new(move || Ok(ApiKeys::from_file(&file)?)));
        let tls = options.tls.map(|files| FromFiles::new(move || Ok(tls::acceptor(&files)?)));
        let (keys, tls) = (keys.transpose()?, tls.transpose()?.map(Arc::new));
        let listening = |source| ServeError::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(listening)?;
        let address = listener.local_addr().map_err(listening)?;
        let admission = Admission::new(options.queue, options.max_body, options.body_memory);
        let (timeout, phase) = (options.timeout, Phase::default());
        let health = Health::new().await;
        let app = Arc::new(App { models, admission, keys, timeout, phase, health, metrics });
        let places = Arc::new(Semaphore::new(most_connections(options.connections)));
        let (router, acceptor) = (http::router(app.clone()), tls.clone());
        let connections = Connections { app: app.clone(), router, tls: acceptor, places };
        let (stop, stopped) = watch::channel(false);
        let accepting = tokio::spawn(connections.accept(listener, stopped));
        let reloader = Arc::new(Reloader::new(app.clone(), options.load));
        Ok(Self { app, reloader, address, tls, stop, accepting })
    }

    /// Address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Address for browsers and clients: `http://127.0.0.1:8000`.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.address)
    }

    /// Loads, verifies and warms up all models; from then on the server is ready.
    ///
    /// # Errors
    /// [`LoadError`] of the first model that cannot be served.
    pub async fn load(&self) -> Result<(), LoadError> {
        self.reloader.load_all().await?;
        self.app.phase.become_ready();
        self.app.health.set(true).await;
        Ok(())
    }

    /// Models that are served.
    pub fn models(&self) -> Vec<ServedModel> {
        self.app.models.slots().iter().filter_map(|slot| Some(facts(slot, &*slot.engine()?))).collect()
    }

    /// Loads files again whose content was replaced, as often as `every`; runs until the server is dropped.
    pub async fn watch(&self, every: Duration) {
        self.reloader.watch(every).await;
    }

    /// Reads all files again: models, API keys, the certificate of TLS. What cannot be used is refused, and the old stays.
    pub async fn reload(&self) {
        self.app.keys.iter().for_each(FromFiles::reload);
        self.tls.iter().for_each(|tls| tls.reload());
        self.reloader.reload_all().await;
    }

    /// Stops: no more connections, no more requests; those that were accepted are answered within `drain`.
    ///
    /// Returns the number of images that were not answered in time.
    pub async fn stop(self, drain: Duration) -> usize {
        let end = Instant::now() + drain;
        self.app.phase.stop();
        self.app.health.set(false).await;
        let _ = self.stop.send(true);
        let Ok(open) = self.accepting.await else { return 0 };
        // Clients that send one request after another are told in an answer that the connection ends. Were it closed between
        // two requests, they would not know whether the second one was read.
        if open.count() > 0 {
            sleep(Duration::from_millis(500).min(drain / 4)).await;
        }
        self.app.health.end().await;
        let answered = async {
            open.shutdown().await;
            // The place of an image is free a little after its answer.
            self.app.admission.all_free().await;
        };
        let _ = timeout_at(end, answered).await;
        self.app.admission.taken()
    }
}

fn facts(slot: &Slot, engine: &Engine) -> ServedModel {
    let classifier = engine.classifier();
    ServedModel {
        name: slot.name().into(),
        version: slot.version().into(),
        classes: classifier.card().labels.len(),
        size: classifier.preprocessor().size(),
        provider: classifier.session().provider(),
        certified: engine.certificate().is_some(),
        warning: classifier.session().warning().map(Into::into),
        assumed: classifier.assumed().to_vec(),
    }
}

/// Number of connections that the system allows, at most `wanted`. The limit of open files is raised as far as it goes.
#[cfg(unix)]
fn most_connections(wanted: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    /// Files that are open anyway: libraries, models, logs.
    const OTHERS: u64 = 64;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let files = if raised.is_ok() { maximum } else { current };
    files.map_or(wanted, |files| wanted.min(usize::try_from(files.saturating_sub(OTHERS)).unwrap_or(wanted)))
}

/// Number of connections: `wanted`, for this system has no limit of open files.
#[cfg(not(unix))]
fn most_connections(wanted: usize) -> usize {
    wanted
}
