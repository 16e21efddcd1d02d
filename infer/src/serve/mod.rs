//! Server.

pub mod grpc;
pub mod protocol;
