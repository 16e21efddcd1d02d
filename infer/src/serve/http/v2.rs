//! REST addresses of the [Open Inference Protocol](https://github.com/kserve/open-inference-protocol).

use std::io::Read;
use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use bytes::Bytes;
use flate2::read::{GzDecoder, ZlibDecoder};
use serde::Deserialize;
use serde_json::json;

use crate::serve::admission::{self, Admitted};
use crate::serve::app::App;
use crate::serve::failure::Failure;
use crate::serve::inference::{self, Target};
use crate::serve::protocol::{ModelMetadata, ProtocolError, ServerMetadata, json};

/// Header with the length of the JSON that binary tensors follow.
const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// Addresses of the protocol.
pub(super) fn routes() -> Router<Arc<App>> {
    let mut routes = Router::new()
        .route("/v2", get(async || Json(ServerMetadata::HERE)))
        .route("/v2/health/live", get(async || Json(json!({ "live": true }))))
        .route("/v2/health/ready", get(ready));
    for model in ["/v2/models/{name}", "/v2/models/{name}/versions/{version}"] {
        routes = routes
            .route(model, get(metadata))
            .route(&format!("{model}/ready"), get(model_ready))
            .route(&format!("{model}/infer"), post(infer));
    }
    routes
}

/// Model in an address.
#[derive(Deserialize)]
struct Named {
    name: String,
    version: Option<String>,
}

impl Named {
    fn target(&self) -> Target<'_> {
        Target { name: &self.name, version: self.version.as_deref() }
    }
}

type Model = Result<Path<Named>, axum::extract::rejection::PathRejection>;

/// Takes the model out of an address, unless its bytes are not UTF-8.
fn named(model: Model) -> Result<Named, Failure> {
    let wrong = |error: axum::extract::rejection::PathRejection| Failure::Invalid(error.body_text());
    Ok(model.map_err(wrong)?.0)
}

/// Says whether all models are ready.
async fn ready(State(app): State<Arc<App>>) -> Response {
    let ready = app.phase.is_ready();
    (status(ready), Json(json!({ "ready": ready }))).into_response()
}

/// Says whether a model is ready.
async fn model_ready(State(app): State<Arc<App>>, model: Model) -> Result<Response, Failure> {
    let Named { name, version } = named(model)?;
    let slot = app.models.find(&name, version.as_deref())?;
    let ready = slot.engine().is_some() && !app.phase.is_stopping();
    Ok((status(ready), Json(json!({ "name": name, "ready": ready }))).into_response())
}

fn status(ready: bool) -> StatusCode {
    if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// Describes a model.
async fn metadata(State(app): State<Arc<App>>, model: Model) -> Result<Json<ModelMetadata>, Failure> {
    let Named { name, version } = named(model)?;
    Ok(Json(inference::metadata(&app, Target { name: &name, version: version.as_deref() })?))
}

/// Runs a model.
async fn infer(
    State(app): State<Arc<App>>,
    Extension(admitted): Extension<Admitted>,
    model: Model,
    request: Request,
) -> Result<Response, Failure> {
    let model = named(model)?;
    let length = json_length(request.headers())?;
    let encoding = Encoding::of(request.headers())?;
    let body = admission::read(request.into_body()).await?;
    let (size, most, memory) = (body.len(), app.admission.max_body(), admitted.clone());
    let large = if encoding == Encoding::Identity { size } else { most };
    let found = inference::infer(&app, model.target(), &admitted, large, None, move |interface, images| {
        let body = encoding.decode(body, most, &memory)?;
        Ok(interface.accept(json::parse(&body, length)?, images)?)
    });
    let (body, length) = found.await?.to_json()?;
    let content_type = if length.is_some() { "application/octet-stream" } else { "application/json" };
    let mut response = body.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(length) = length {
        response.headers_mut().insert(JSON_LENGTH, length.into());
    }
    Ok(response)
}

/// Reads the length of the JSON; none if it is the whole body.
fn json_length(headers: &HeaderMap) -> Result<Option<usize>, ProtocolError> {
    let length = headers.get(JSON_LENGTH).map(|value| value.to_str().ok()?.parse().ok());
    length.map(|length| length.ok_or(ProtocolError::Header)).transpose()
}

/// Compression of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
    /// Deflate in the format of zlib, as [HTTP](https://www.rfc-editor.org/rfc/rfc9110#name-deflate-coding) has it.
    Deflate,
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Result<Self, Failure> {
        match headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
            None | Some(b"" | b"identity") => Ok(Self::Identity),
            Some(b"gzip" | b"x-gzip") => Ok(Self::Gzip),
            Some(b"deflate") => Ok(Self::Deflate),
            Some(_) => Err(Failure::MediaType("the body may be compressed with gzip or deflate only".into())),
        }
    }

    /// Decompresses a body to at most `most` bytes, and takes memory for them as they come.
    fn decode(self, body: Bytes, most: usize, admitted: &Admitted) -> Result<Bytes, Failure> {
        match self {
            Self::Identity => Ok(body),
            Self::Gzip => decompress(GzDecoder::new(&body[..]), body.len(), most, admitted),
            Self::Deflate => decompress(ZlibDecoder::new(&body[..]), body.len(), most, admitted),
        }
    }
}

fn decompress(
    mut decoder: impl Read,
    compressed: usize,
    most: usize,
    admitted: &Admitted,
) -> Result<Bytes, Failure> {
    const STEP: u64 = 1 << 20;
    let mut body = Vec::new();
    loop {
        let read = decoder.by_ref().take(STEP).read_to_end(&mut body);
        let read =
            read.map_err(|error| Failure::Invalid(format!("the body cannot be decompressed: {error}")))?;
        if body.len() > most {
            return Err(admission::too_large(most));
        }
        admitted.hold(compressed + body.len()).map_err(|_| admission::overloaded())?;
        if read == 0 {
            return Ok(body.into());
        }
    }
}
