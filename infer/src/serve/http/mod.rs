//! Routes of the server.

mod classify;
mod models;
mod page;
mod request_log;
mod unread;
mod v2;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::app::App;
use super::failure::Failure;
use super::grpc;
use super::record::Record;

/// Largest body of a request that asks for no inference, in bytes.
const SMALL_BODY: usize = 64 << 10;

/// Builds the routes.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/classify", post(classify::classify))
        .route("/v1/models", get(models::list))
        .route("/metrics", get(metrics))
        .merge(page::routes())
        .merge(v2::routes())
        .merge(grpc::routes(&app))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(app.clone(), admit))
        .layer(middleware::from_fn_with_state(app.clone(), authorize))
        .layer(middleware::from_fn_with_state(app.clone(), part))
        .layer(middleware::from_fn_with_state(app.clone(), request_log::log))
        .layer(middleware::from_fn_with_state(app.clone(), unread::discard))
        .with_state(app)
}

/// Metrics for Prometheus.
async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, super::metrics::CONTENT_TYPE)], app.metrics_text())
}

async fn unknown(request: Request) -> Response {
    let path = crate::escape::text(request.uri().path()).chars().take(200).collect::<String>();
    match is_grpc(&request) {
        true => tonic::Status::unimplemented(format!("there is no method {path}")).into_http(),
        false => Failure::NotFound(format!("there is nothing at {path}")).into_response(),
    }
}

async fn wrong_method() -> Response {
    let body = axum::Json(serde_json::json!({ "error": "this address takes another method" }));
    (StatusCode::METHOD_NOT_ALLOWED, body).into_response()
}

/// Kinds of requests, by path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Runs a model.
    Inference,
    /// Runs a model, over gRPC.
    GrpcInference,
    /// Anyone may ask: health, and the page.
    Open,
    Other,
}

impl Kind {
    fn of(request: &Request) -> Self {
        let path = request.uri().path();
        if request.method() == Method::POST {
            if path == "/inference.GRPCInferenceService/ModelInfer" {
                return Self::GrpcInference;
            }
            if path == "/v1/classify" || path.starts_with("/v2/models/") && path.ends_with("/infer") {
                return Self::Inference;
            }
        }
        let is_open = path.starts_with("/v2/health/")
            || path.starts_with("/grpc.health.v1.Health/")
            || path.starts_with("/page/")
            || matches!(path, "/" | "/openapi.json")
            || path == "/inference.GRPCInferenceService/ServerLive"
            || path == "/inference.GRPCInferenceService/ServerReady";
        if is_open { Self::Open } else { Self::Other }
    }
}

fn is_grpc(request: &Request) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Answers a failure in the transport of the request.
fn refuse(failure: Failure, is_grpc: bool) -> Response {
    match is_grpc {
        true => tonic::Status::from(failure).into_http::<axum::body::Body>(),
        false => failure.into_response(),
    }
}

/// Tells clients of HTTP/1.1 that the connection ends when the server is stopping.
async fn part(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let is_old = request.version() <= axum::http::Version::HTTP_11;
    let mut response = next.run(request).await;
    if is_old && app.phase.is_stopping() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Refuses requests without an API key.
async fn authorize(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let is_allowed = Kind::of(&request) == Kind::Open
        || app.keys.as_ref().is_none_or(|keys| keys.get().admit(request.headers()));
    match is_allowed {
        true => next.run(request).await,
        false => refuse(Failure::Unauthorized, is_grpc(&request)),
    }
}

/// Takes a place and memory for requests that run a model; others may have a small body only.
async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let kind = Kind::of(&request);
    let grpc = is_grpc(&request);
    if !matches!(kind, Kind::Inference | Kind::GrpcInference) {
        let limited = |body| axum::body::Body::new(http_body_util::Limited::new(body, SMALL_BODY));
        return next.run(request.map(limited)).await;
    }
    let admitted = app
        .check_loaded()
        .and_then(|()| app.admission.admit(request.headers()).map_err(|refusal| app.refusal(refusal)));
    let mut admitted = match admitted {
        Ok(admitted) => admitted,
        Err(failure) => return refuse(failure, grpc),
    };
    let failed: fn(Failure) -> axum::BoxError = match grpc {
        true => |failure| tonic::Status::from(failure).into(),
        false => |failure| failure.into(),
    };
    let (mut parts, body) = request.into_parts();
    if let Some(record) = parts.extensions.get::<Record>() {
        admitted.record = record.clone();
    }
    let body = admitted.metered(body, app.admission.max_body(), failed);
    parts.extensions.insert(admitted);
    next.run(Request::from_parts(parts, body)).await
}
