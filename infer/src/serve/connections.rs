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
use super::from_files::FromFiles;

/// Time for the first byte of a connection, and for the handshake of TLS.
const FIRST: Duration = Duration::from_secs(10);

/// Time for the first byte when the server is stopping.
const LAST: Duration = Duration::from_millis(250);

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
    pub(crate) tls: Option<Arc<FromFiles<TlsAcceptor>>>,
    /// Places for connections.
    pub(crate) places: Arc<Semaphore>,
}

impl Connections {
    /// Accepts connections until `stop` says so; returns those that are open, to be ended.
    pub(crate) async fn accept(self, listener: TcpListener, stop: watch::Receiver<bool>) -> GracefulShutdown {
        let open = GracefulShutdown::new();
        let builder = Arc::new(builder());
        let this = Arc::new(self);
        let start = |stream| {
            // Nobody waits for a place: the connection is closed at once.
            let Ok(place) = this.places.clone().try_acquire_owned() else { return };
            let (this, builder, watcher, stop) =
                (this.clone(), builder.clone(), open.watcher(), stop.clone());
            tokio::spawn(async move { this.serve(stream, &builder, watcher, place, stop).await });
        };
        let mut stopped = stop.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stopped.wait_for(|stop| *stop) => break,
            };
            match accepted {
                Ok((stream, _)) => start(stream),
                Err(error) if is_of_the_client(&error) => {}
                // No file handles are left, say: others are closed soon.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
        waiting(listener).for_each(start);
        open
    }

    /// Answers the requests of one connection until it ends.
    async fn serve(
        &self,
        stream: TcpStream,
        builder: &Builder<TokioExecutor>,
        watcher: hyper_util::server::graceful::Watcher,
        _place: OwnedSemaphorePermit,
        mut stop: watch::Receiver<bool>,
    ) {
        let _counted = self.app.metrics.connection();
        let _ = stream.set_nodelay(true);
        let stopped = async move {
            let _ = stop.wait_for(|stop| *stop).await;
            sleep(LAST).await;
        };
        // A connection that says nothing takes no more memory than this.
        let mut first = [0];
        let is_silent = tokio::select! {
            peeked = timeout(FIRST, stream.peek(&mut first)) => !matches!(peeked, Ok(Ok(1..))),
            () = stopped => true,
        };
        if is_silent {
            return;
        }
        match &self.tls {
            None => self.converse(stream, builder, watcher).await,
            Some(tls) => match timeout(FIRST, tls.get().accept(stream)).await {
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

/// Connections that wait to be accepted: their clients may have sent a request already.
fn waiting(listener: TcpListener) -> impl Iterator<Item = TcpStream> {
    let listener = listener.into_std().ok();
    listener.into_iter().flat_map(|listener| {
        std::iter::from_fn(move || {
            let (stream, _) = listener.accept().ok()?;
            stream.set_nonblocking(true).ok()?;
            TcpStream::from_std(stream).ok()
        })
    })
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
