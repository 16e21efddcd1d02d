//! Failures of requests, with the status that each has in HTTP and in gRPC.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::protocol::{InputError, OutputError, ProtocolError};
use crate::error::{Error, ErrorKind};
use crate::session::SessionError;

/// Reason why a request, or one of its images, has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// The request contradicts itself, the protocol or the model.
    #[error("{0}")]
    Invalid(String),
    /// An image cannot be decoded.
    #[error("{message}")]
    Image {
        /// Name of the kind of error, as in the JSON of `infer classify`.
        kind: &'static str,
        /// Reason.
        message: String,
    },
    /// The API key is missing or wrong.
    #[error("an API key is needed: send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`")]
    Unauthorized,
    /// There is no such model, version or address.
    #[error("{0}")]
    NotFound(String),
    /// The client took too long to send the request.
    #[error("the request did not arrive in time")]
    Slow,
    /// The request exceeds a limit.
    #[error("{0}")]
    TooLarge(String),
    /// The content type or encoding is not understood.
    #[error("{0}")]
    MediaType(String),
    /// The queue is full, or the memory for requests is used up.
    #[error("too many requests: try again in {} s", retry_after.as_secs())]
    Overloaded {
        /// Time after which a place is likely, in whole seconds.
        retry_after: Duration,
    },
    /// The model could not be run.
    #[error(transparent)]
    Network(#[from] SessionError),
    /// The server is loading the model, or stopping.
    #[error("{0}")]
    Unavailable(&'static str),
    /// The deadline has passed.
    #[error("the deadline has passed")]
    Deadline,
    /// A fault of the server.
    #[error("internal error")]
    Internal,
}

impl Failure {
    /// Status of HTTP.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) | Self::Image { .. } => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Overloaded { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Network(_) | Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Deadline => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// Code of gRPC.
    pub fn code(&self) -> tonic::Code {
        match self {
            Self::Invalid(_) | Self::Image { .. } | Self::MediaType(_) => tonic::Code::InvalidArgument,
            Self::Unauthorized => tonic::Code::Unauthenticated,
            Self::NotFound(_) => tonic::Code::NotFound,
            Self::Slow | Self::Deadline => tonic::Code::DeadlineExceeded,
            Self::TooLarge(_) | Self::Overloaded { .. } => tonic::Code::ResourceExhausted,
            Self::Network(_) | Self::Internal => tonic::Code::Internal,
            Self::Unavailable(_) => tonic::Code::Unavailable,
        }
    }
}

impl From<Failure> for tonic::Status {
    fn from(failure: Failure) -> Self {
        Self::new(failure.code(), failure.to_string())
    }
}

/// Error of an image: the kind and the reason, without the name of the file.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Session(error) => Self::Network(error.clone()),
            kind => Self::Image { kind: kind.name(), message: error.reason() },
        }
    }
}

impl From<ProtocolError> for Failure {
    fn from(error: ProtocolError) -> Self {
        match error {
            ProtocolError::Output { reason: OutputError::NotFinite { value }, .. } if value.is_nan() => {
                SessionError::NotFinite { value }.into()
            }
            ProtocolError::Input { reason: InputError::TooMany { .. }, .. } => {
                Self::TooLarge(error.message())
            }
            error => Self::Invalid(error.message()),
        }
    }
}

/// `{"error": "..."}`, as the Open Inference Protocol has it.
impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = axum::Json(json!({ "error": self.to_string() }));
        let mut response = (self.status(), body).into_response();
        if let Self::Overloaded { retry_after } = self {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after.as_secs()));
        }
        if matches!(self, Self::Unauthorized) {
            let bearer = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}
