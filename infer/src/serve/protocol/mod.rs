//! Open Inference Protocol, version 2, independent of the transport.
//!
//! A transport makes a [`Request`] of what it received: [`json::parse`] of the body of an HTTP request, `grpc` of a
//! message. The [`Interface`] of a model checks the request against the model and reads the elements of its tensor, and
//! a [`Response`] holds the tensors of the answer for both transports.
//!
//! The protocol is described at [kserve/open-inference-protocol](https://github.com/kserve/open-inference-protocol), its
//! extensions at [triton-inference-server/server](https://github.com/triton-inference-server/server/tree/main/docs/protocol).
//! Two of these are supported: `binary_tensor_data` and `classification`.
//!
//! Encoded images are a `BYTES` tensor of shape `[N]`. JSON strings are text, so images in JSON are Base64: objects
//! `{"b64": "..."}`, as TensorFlow Serving and version 1 of KServe's protocol have them, or plain strings if the
//! parameter `content_type` of the input is `base64`, as MLServer has it.
//!
//! Memory follows the bytes that were received, never a number that a client states.

mod datatype;
mod elements;
mod error;
mod interface;
pub mod json;
mod metadata;
mod request;
mod response;

pub use datatype::Datatype;
pub use elements::{Elements, Typed};
pub use error::{InputError, OutputError, ProtocolError};
pub use interface::{Accepted, Content, Form, Interface, Source, Wanted};
pub use metadata::{EXTENSIONS, ModelMetadata, PLATFORM, ServerMetadata, TensorMetadata};
pub use request::{Input, Request, RequestedOutput};
pub use response::{OutputTensor, Response, Values};

#[cfg(test)]
mod tests;
