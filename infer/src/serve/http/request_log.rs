//! Request ids, and a line in the log for each request.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Response};
use axum::middleware::Next;

/// Header with the id of a request, given by the client or made here.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is taken from a client, in bytes.
const LONGEST: usize = 128;

/// Model and images of a request: an extension of the response, for the log.
#[derive(Debug, Clone)]
pub(crate) struct Handled {
    /// Name of the model, with its version: `photos:1`.
    pub(crate) model: Arc<str>,
    /// Number of images, or of rows of a tensor.
    pub(crate) images: usize,
}

/// Writes a line about a request when it is answered, and returns its id in the answer.
///
/// The target of the lines is `infer::request`. The query is left out: it may have what is nobody's business.
pub(crate) async fn log(mut request: Request, next: Next) -> axum::response::Response {
    let start = Instant::now();
    let id = id_of(&request);
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    let milliseconds = (start.elapsed().as_secs_f64() * 1e6).round() / 1e3;
    let handled: Option<&Handled> = response.extensions().get();
    tracing::info!(
        target: "infer::request",
        id = id.to_str().unwrap_or_default(),
        %method,
        path,
        status = response.status().as_u16(),
        grpc_status = grpc_status(&response),
        ms = milliseconds,
        images = handled.map(|handled| handled.images),
        model = handled.map(|handled| &*handled.model),
    );
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Status of a gRPC answer that has no message: an error.
fn grpc_status<B>(response: &Response<B>) -> Option<&str> {
    response.headers().get("grpc-status")?.to_str().ok()
}

/// Id that the client gave, if it can be printed and is not too long; else a new one.
fn id_of(request: &Request) -> HeaderValue {
    let is_plain = |id: &&HeaderValue| {
        (1..=LONGEST).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    request.headers().get(&REQUEST_ID).filter(is_plain).cloned().unwrap_or_else(new_id)
}

/// Makes an id of 16 hexadecimal digits, different for each request and from those of other processes.
fn new_id() -> HeaderValue {
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let id = format!("{:016x}", KEYS.hash_one(NEXT.fetch_add(1, Ordering::Relaxed)));
    HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn id(given: &[u8]) -> HeaderValue {
        let given = HeaderValue::from_bytes(given).unwrap();
        id_of(&Request::builder().header(REQUEST_ID, given).body(Body::empty()).unwrap())
    }

    #[test]
    fn ids_are_taken_only_if_they_can_be_printed() {
        assert_eq!(id(b"0af7-651:x/y"), "0af7-651:x/y");
        assert_eq!(id(&[b'x'; LONGEST]).len(), LONGEST);
        let long = [b'x'; LONGEST + 1];
        for bad in [&b""[..], b"a b", b"a\tb", b"\xc3\xa4", &long] {
            let made = id(bad);
            assert!(made.len() == 16 && made.as_bytes().iter().all(u8::is_ascii_hexdigit), "{made:?}");
        }
    }

    #[test]
    fn made_ids_differ() {
        let made: std::collections::HashSet<_> = (0..1000).map(|_| new_id()).collect();
        assert_eq!(made.len(), 1000);
    }
}
