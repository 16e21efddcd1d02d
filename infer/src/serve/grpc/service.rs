//! Methods of the service.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware;
use axum::response::Response as HttpResponse;
use prost::Message;
use tonic::{Code, Request, Response, Status};

use super::inference::grpc_inference_service_server::{
    GrpcInferenceService, GrpcInferenceServiceServer, SERVICE_NAME,
};
use super::inference::{
    ModelInferRequest, ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest,
    ModelReadyResponse, ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest, ServerMetadataResponse,
    ServerReadyRequest, ServerReadyResponse,
};
use super::messages;
use crate::serve::admission::Admitted;
use crate::serve::app::App;
use crate::serve::failure::Failure;
use crate::serve::inference::{self, Target};
use crate::serve::protocol::ServerMetadata;

/// Addresses of the service, and of the health service.
pub(crate) fn routes(app: &Arc<App>) -> Router<Arc<App>> {
    // Bodies are limited before they come here; the limit keeps tonic from taking memory for a length that is a lie.
    let service = GrpcInferenceServiceServer::new(Service(app.clone()))
        .max_decoding_message_size(app.admission.max_body());
    Router::new()
        .route_service(&format!("/{SERVICE_NAME}/{{method}}"), service)
        .route_service("/grpc.health.v1.Health/{method}", app.health.service())
        .layer(middleware::map_response(exhausted))
}

/// Answers `RESOURCE_EXHAUSTED` where a message is too large, as other servers do; tonic says `OUT_OF_RANGE`.
async fn exhausted(mut response: HttpResponse) -> HttpResponse {
    let code = |code: Code| HeaderValue::from(code as i32);
    match response.headers_mut().get_mut("grpc-status") {
        Some(status) if *status == code(Code::OutOfRange) => *status = code(Code::ResourceExhausted),
        _ => {}
    }
    response
}

struct Service(Arc<App>);

/// Version that a message names.
fn target<'a>(name: &'a str, version: &'a str) -> Target<'a> {
    Target { name, version: Some(version).filter(|version| !version.is_empty()) }
}

#[tonic::async_trait]
impl GrpcInferenceService for Service {
    async fn server_live(
        &self,
        _: Request<ServerLiveRequest>,
    ) -> Result<Response<ServerLiveResponse>, Status> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: Request<ServerReadyRequest>,
    ) -> Result<Response<ServerReadyResponse>, Status> {
        Ok(Response::new(ServerReadyResponse { ready: self.0.phase.is_ready() }))
    }

    async fn model_ready(
        &self,
        request: Request<ModelReadyRequest>,
    ) -> Result<Response<ModelReadyResponse>, Status> {
        let ModelReadyRequest { name, version } = request.into_inner();
        let slot = self.0.models.find(&name, Some(&version))?;
        let ready = slot.engine().is_some() && !self.0.phase.is_stopping();
        Ok(Response::new(ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Result<Response<ServerMetadataResponse>, Status> {
        Ok(Response::new(ServerMetadata::HERE.into()))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        let ModelMetadataRequest { name, version } = request.into_inner();
        Ok(Response::new(inference::metadata(&self.0, target(&name, &version))?.into()))
    }

    async fn model_infer(
        &self,
        request: Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        let timeout = timeout(request.metadata().as_ref());
        let admitted = request.extensions().get::<Admitted>().cloned().ok_or(Failure::Internal)?;
        let mut message = request.into_inner();
        let (name, version) =
            (std::mem::take(&mut message.model_name), std::mem::take(&mut message.model_version));
        let (target, size) = (target(&name, &version), message.encoded_len());
        let found = inference::infer(&self.0, target, &admitted, size, timeout, |interface, most| {
            Ok(interface.accept(messages::request(message)?, most)?)
        });
        Ok(Response::new(messages::response(found.await?)))
    }
}

/// Time that the client waits, from the header `grpc-timeout`: at most 8 digits and a unit.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse::<u32>().ok().filter(|_| number.len() <= 8)?.into();
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_have_a_unit() {
        let found = |text: &'static str| {
            timeout(&HeaderMap::from_iter([(
                "grpc-timeout".parse().unwrap(),
                HeaderValue::from_static(text),
            )]))
        };
        assert_eq!(found("1500m"), Some(Duration::from_millis(1500)));
        assert_eq!(found("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for wrong in ["", "m", "1", "-1S", "999999999S", "1s", "12"] {
            assert_eq!(found(wrong), None, "{wrong}");
        }
        assert_eq!(timeout(&HeaderMap::new()), None);
    }
}
