//! Connections: accepting, TLS, and HTTP/1.1 or HTTP/2 on each.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::app::App;

/// Time for the first byte of a connection, and for the handshake of TLS.
const FIRST: Duration = Duration::from_secs(10);

/// Time for the head of a request, and between requests.
const IDLE: Duration = Duration::from_secs(75);

/// Pings of HTTP/2 to connections without traffic, and the time for an answer.
const PING: Duration = Duration::from_secs(20);

/// Most memory for the head of a request, in bytes.
const MAX_HEAD: usize = 64 << 10;

/// Most headers of a request.
const MAX_HEADERS: usize = 100;

/// Most requests at the same time in one connection of HTTP/2.
const MAX_STREAMS: u32 = 128;

/// Bytes that a client of HTTP/2 may send before they are read, for each request and for each connection.
const WINDOWS: [u32; 2] = [256 << 10, 1 << 20];

/// Listener with what each connection needs.
pub(crate) struct Connections {
    pub(crate) app: Arc<App>,
    pub(crate) router: Router,
    pub(crate) tls: Option<TlsAcceptor>,
    /// Places for connections.
    pub(crate) places: Arc<Semaphore>,
}

impl Connections {
    /// Accepts connections until `stop` says so; returns those that are open, to be ended.
    pub(crate) async fn accept(
        self,
        listener: TcpListener,
        mut stop: watch::Receiver<bool>,
    ) -> GracefulShutdown {
        let open = GracefulShutdown::new();
        let builder = Arc::new(builder());
        let this = Arc::new(self);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => return open,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) if is_of_the_client(&error) => continue,
                // No file handles are left, say: others are closed soon.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            // Nobody waits for a place: the connection is closed at once.
            let Ok(place) = this.places.clone().try_acquire_owned() else { continue };
            let (this, builder) = (this.clone(), builder.clone());
            let watcher = open.watcher();
            tokio::spawn(async move { this.serve(stream, &builder, watcher, place).await });
        }
    }

    /// Answers the requests of one connection until it ends.
    async fn serve(
        &self,
        stream: TcpStream,
        builder: &Builder<TokioExecutor>,
        watcher: hyper_util::server::graceful::Watcher,
        _place: OwnedSemaphorePermit,
    ) {
        let _counted = self.app.metrics.connection();
        let _ = stream.set_nodelay(true);
        // A connection that says nothing takes no more memory than this.
        let is_silent = !matches!(timeout(FIRST, stream.peek(&mut [0])).await, Ok(Ok(1..)));
        if is_silent {
            return;
        }
        match &self.tls {
            None => self.converse(stream, builder, watcher).await,
            Some(tls) => match timeout(FIRST, tls.accept(stream)).await {
                Ok(Ok(stream)) => self.converse(stream, builder, watcher).await,
                Ok(Err(error)) => tracing::debug!(%error, "TLS failed"),
                Err(_) => {}
            },
        }
    }

    async fn converse(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        builder: &Builder<TokioExecutor>,
        watcher: hyper_util::server::graceful::Watcher,
    ) {
        let service = TowerToHyperService::new(self.router.clone());
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection.into_owned()).await {
            tracing::debug!(error = &*error, "a connection ended");
        }
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEAD as u32)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(WINDOWS[0])
        .initial_connection_window_size(WINDOWS[1])
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    builder
}

/// Tells whether the connection broke before it was accepted.
fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
    )
}
