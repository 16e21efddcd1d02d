//! Ids of requests, and a line in the log and an entry in the metrics for each.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

use super::Kind;
use crate::serve::app::App;
use crate::serve::metrics::{ModelMetrics, Protocol};
use crate::serve::record::Record;

/// Header with the id of a request, given by the client or made here.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest part of a method or a path that is logged, in characters: lines wait in memory, and clients choose both.
const LOGGED: usize = 256;

/// Longest id that is taken from a client, in bytes.
const LONGEST: usize = 128;

/// Counts a request when it is answered, writes a line about it, and returns its id in the answer.
///
/// The target of the lines is `infer::request`. Queries are left out: they may have what is nobody's business.
pub(crate) async fn log(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let (start, id, record) = (Instant::now(), id_of(&request), Record::default());
    let protocol = protocol(&request);
    let [method, path] = [request.method().as_str(), request.uri().path()]
        .map(|text| text.chars().take(LOGGED).collect::<String>());
    request.extensions_mut().insert(record.clone());
    let mut response = next.run(request).await;
    let elapsed = start.elapsed();
    if let Some(protocol) = protocol {
        let outcome = outcome(&response);
        match record.model() {
            Some(model) => model.request(protocol, outcome, elapsed),
            None => app.metrics.request_without_model(protocol, outcome),
        }
    }
    let labels = record.model().map(ModelMetrics::labels);
    tracing::info!(
        target: "infer::request",
        id = id.to_str().unwrap_or_default(),
        method,
        path,
        status = response.status().as_u16(),
        grpc_status = grpc_status(&response),
        ms = (elapsed.as_secs_f64() * 1e6).round() / 1e3,
        images = labels.map(|_| record.images()),
        model = labels.map(|labels| &*labels.model),
        version = labels.map(|labels| &*labels.version),
    );
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Protocol of a request that runs a model.
fn protocol(request: &Request) -> Option<Protocol> {
    match Kind::of(request) {
        Kind::GrpcInference => Some(Protocol::Grpc),
        Kind::Inference if request.uri().path() == "/v1/classify" => Some(Protocol::Classify),
        Kind::Inference => Some(Protocol::Http),
        Kind::Open | Kind::Other => None,
    }
}

/// Outcome of a request, as a label of metrics.
fn outcome(response: &Response) -> &'static str {
    use tonic::Code;
    match (response.status(), grpc_status(response).map(Code::from_i32)) {
        (StatusCode::TOO_MANY_REQUESTS, _) | (_, Some(Code::ResourceExhausted)) => "overloaded",
        (StatusCode::GATEWAY_TIMEOUT, _) | (_, Some(Code::DeadlineExceeded)) => "deadline",
        (StatusCode::SERVICE_UNAVAILABLE, _) | (_, Some(Code::Unavailable)) => "unavailable",
        (StatusCode::INTERNAL_SERVER_ERROR, _) | (_, Some(Code::Internal)) => "error",
        (status, None | Some(Code::Ok)) if status.is_success() => "ok",
        _ => "refused",
    }
}

/// Code of a gRPC answer that is an error. Other answers have theirs after the message.
fn grpc_status(response: &Response) -> Option<i32> {
    response.headers().get("grpc-status")?.to_str().ok()?.parse().ok()
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
    use std::collections::HashSet;

    use axum::body::Body;
    use axum::response::IntoResponse;

    use super::*;
    use crate::serve::failure::Failure;

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
        let made: HashSet<_> = (0..1000).map(|_| new_id()).collect();
        assert_eq!(made.len(), 1000);
    }

    #[test]
    fn outcomes_are_the_same_in_both_transports() {
        let retry_after = std::time::Duration::from_secs(1);
        for (failure, expected) in [
            (Failure::Invalid("x".into()), "refused"),
            (Failure::Unauthorized, "refused"),
            (Failure::NotFound("x".into()), "refused"),
            (Failure::Overloaded { retry_after }, "overloaded"),
            (Failure::Deadline, "deadline"),
            (Failure::Unavailable("x"), "unavailable"),
            (Failure::Internal, "error"),
        ] {
            let grpc = tonic::Status::from(failure.clone()).into_http::<Body>();
            assert_eq!(
                (outcome(&failure.clone().into_response()), outcome(&grpc)),
                (expected, expected),
                "{failure:?}"
            );
        }
        assert_eq!(outcome(&"fine".into_response()), "ok");
    }
}
