//! Bodies that were answered before they were read.
//!
//! Most clients send a whole body before they look at the answer. A connection that is closed meanwhile is an error for
//! them, and the answer, a 429 with the time to come again, is lost. What is left of a body is therefore read and dropped,
//! as a [lingering close](https://nginx.org/en/docs/http/ngx_http_core_module.html#lingering_close) does.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::timeout;

use super::is_grpc;
use crate::serve::app::App;

/// Longest time for the rest of a body.
const LINGER: Duration = Duration::from_secs(10);

/// Longest pause within it.
const PAUSE: Duration = Duration::from_secs(1);

/// Drops what is left of the body once there is a response.
///
/// Over HTTP/2 too: a stream that is reset after its answer makes curl and others drop the answer. Not for gRPC, whose
/// clients do not, and not for clients that wait for `100 Continue` or were too slow.
pub(super) async fn discard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if is_grpc(&request) || request.headers().contains_key(header::EXPECT) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let body = Shared(Arc::new(Mutex::new(body)));
    let response = next.run(Request::from_parts(parts, Body::new(body.clone()))).await;
    if response.status() != StatusCode::REQUEST_TIMEOUT {
        let _ = timeout(LINGER, body.drop_rest(app.admission.max_body())).await;
    }
    response
}

/// Body that two may read: the handler, and after it whoever drops the rest.
#[derive(Clone)]
struct Shared(Arc<Mutex<Body>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Body> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads at most `most` bytes.
    async fn drop_rest(mut self, most: usize) {
        let mut read = 0;
        while read < most && !self.is_end_stream() {
            let Ok(Some(Ok(frame))) = timeout(PAUSE, self.frame()).await else { return };
            read += frame.data_ref().map_or(0, Bytes::len);
        }
    }
}

impl HttpBody for Shared {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut *self.lock()).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.lock().size_hint()
    }
}
