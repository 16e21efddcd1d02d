//! gRPC service of the [Open Inference Protocol](https://github.com/kserve/open-inference-protocol), and the
//! [health service](https://github.com/grpc/grpc/blob/master/doc/health-checking.md) that Kubernetes probes.

pub mod codec;
mod health;
pub mod messages;
mod service;

pub(crate) use health::Health;
pub(crate) use service::routes;

/// Messages and service that `proto/open_inference_grpc.proto` defines.
#[allow(missing_docs, unused_qualifications, clippy::all)]
pub mod inference {
    tonic::include_proto!("inference");
}

#[cfg(test)]
mod tests;
