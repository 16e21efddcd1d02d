//! gRPC service of the Open Inference Protocol.

pub mod codec;
pub mod messages;

/// Messages and service that `proto/open_inference_grpc.proto` defines.
#[allow(missing_docs)]
pub mod inference {
    tonic::include_proto!("inference");
}

#[cfg(test)]
mod tests;
