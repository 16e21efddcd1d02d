//! Health service of gRPC.

use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use super::inference::grpc_inference_service_server::SERVICE_NAME;

/// Names for which clients ask: the server as a whole, and its service.
const NAMES: [&str; 2] = ["", SERVICE_NAME];

/// State of the health service, which says whether the server is ready.
#[derive(Debug)]
pub(crate) struct Health(HealthReporter);

impl Health {
    /// Starts as not ready.
    pub(crate) async fn new() -> Self {
        let health = Self(HealthReporter::new());
        health.set(false).await;
        health
    }

    /// Says whether the server is ready.
    pub(crate) async fn set(&self, ready: bool) {
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for name in NAMES {
            self.0.set_service_status(name, status).await;
        }
    }

    /// Ends the streams of those who watch, which would keep their connections open.
    pub(crate) async fn end(&self) {
        let mut reporter = self.0.clone();
        for name in NAMES {
            reporter.clear_service_status(name).await;
        }
    }

    /// Service that answers.
    pub(crate) fn service(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService::from_health_reporter(self.0.clone()))
    }
}
