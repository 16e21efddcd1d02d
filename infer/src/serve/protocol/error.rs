//! Errors of requests.

use super::Datatype;
use crate::error::chain;

/// Reason why a request is refused: it is not what the protocol or the model asks for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The body is not the JSON of an inference request.
    #[error("the body is not the JSON of an inference request")]
    Json(#[source] serde_json::Error),
    /// The header `Inference-Header-Content-Length` is no number.
    #[error("the header Inference-Header-Content-Length is not the number of bytes of the JSON")]
    Header,
    /// The JSON is said to be longer than the body.
    #[error("the header Inference-Header-Content-Length is {header}, and the body has {body} bytes")]
    HeaderLength {
        /// Length of the JSON, as the client states it.
        header: usize,
        /// Length of the body.
        body: usize,
    },
    /// Bytes follow the last binary tensor.
    #[error(
        "{0} bytes follow the last tensor: `binary_data_size` of the inputs has to add up to what follows the JSON"
    )]
    LeftOver(usize),
    /// The raw contents are not one for each input.
    #[error("{raw} raw_input_contents for {inputs} inputs: each input has one, or its own contents")]
    RawContents {
        /// Number of raw contents.
        raw: usize,
        /// Number of inputs.
        inputs: usize,
    },
    /// The request has no input.
    #[error("there is no input: give {takes}")]
    NoInput {
        /// Inputs of the model.
        takes: String,
    },
    /// The request has more than one input.
    #[error("there are {given} inputs: give one of {takes}, never both")]
    SeveralInputs {
        /// Number of inputs.
        given: usize,
        /// Inputs of the model.
        takes: String,
    },
    /// An input is wrong.
    #[error("input `{name}`")]
    Input {
        /// Name of the input.
        name: String,
        /// Reason.
        #[source]
        reason: InputError,
    },
    /// A requested output cannot be given.
    #[error("output `{name}`")]
    Output {
        /// Name of the output.
        name: String,
        /// Reason.
        #[source]
        reason: OutputError,
    },
    /// A parameter of the request has a value that it cannot have.
    #[error("the parameter `{0}` is not {1}")]
    Parameter(&'static str, &'static str),
}

impl ProtocolError {
    /// Names the input that `reason` is about.
    pub fn input(name: impl Into<String>, reason: InputError) -> Self {
        Self::Input { name: name.into(), reason }
    }

    /// Names the output that `reason` is about.
    pub fn output(name: impl Into<String>, reason: OutputError) -> Self {
        Self::Output { name: name.into(), reason }
    }

    /// Text of the error and its causes for the client, in at most 400 characters whatever the client sent.
    pub fn message(&self) -> String {
        const LONGEST: usize = 400;
        let text = chain(self);
        match text.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text,
        }
    }
}

/// Reason why an input is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// The model has no such input.
    #[error("the model has no such input: give {takes}")]
    Unknown {
        /// Inputs of the model.
        takes: String,
    },
    /// The datatype is not the model's.
    #[error("the model takes {takes}, not {given}")]
    Datatype {
        /// Datatype of the request.
        given: String,
        /// Datatype of the model.
        takes: &'static str,
    },
    /// The shape has another number of dimensions than the model's.
    #[error("the model takes the shape {takes}, not one of {given} dimensions")]
    Rank {
        /// Number of dimensions of the request.
        given: usize,
        /// Shape of the model.
        takes: String,
    },
    /// The shape is not the model's.
    #[error("the model takes the shape {takes}, not {given:?} (-1 stands for any size from 1)")]
    Shape {
        /// Shape of the request.
        given: Vec<i64>,
        /// Shape of the model.
        takes: String,
    },
    /// The request has more images than the server takes at once.
    #[error("{rows} images, and this server takes at most {most} at once: send them in several requests")]
    TooMany {
        /// Number of images.
        rows: usize,
        /// Largest number.
        most: usize,
    },
    /// The tensor has no elements in the request.
    #[error(
        "it has no elements: give `data` or `binary_data_size` in JSON, contents or raw_input_contents in a message"
    )]
    NoData,
    /// The elements are given twice.
    #[error("it has `data` and `binary_data_size`: give one of them")]
    TwoData,
    /// The message has the elements twice.
    #[error("it has contents and raw_input_contents: give one of them")]
    TwoContents,
    /// Elements are said to follow the JSON, and the header that says where it ends is missing.
    #[error("it has `binary_data_size`, and the request no header Inference-Header-Content-Length")]
    NoHeader,
    /// Fewer bytes follow the JSON than the tensor is said to have.
    #[error("`binary_data_size` is {size}, and {left} bytes are left after the JSON")]
    Truncated {
        /// Size of the tensor, as the client states it.
        size: usize,
        /// Number of bytes that are left.
        left: usize,
    },
    /// The elements are in memory that this server does not share.
    #[error("shared memory is not supported: send the elements in the request")]
    SharedMemory,
    /// The number of bytes is not that of the shape.
    #[error("it has {given} bytes, and its shape and datatype take {expected}")]
    Size {
        /// Number of bytes.
        given: usize,
        /// Number of bytes of the shape.
        expected: usize,
    },
    /// The number of elements is not that of the shape.
    #[error("it has {given} elements, and its shape {expected}")]
    Count {
        /// Number of elements.
        given: usize,
        /// Number of elements of the shape.
        expected: usize,
    },
    /// The length before a `BYTES` element is more than what follows.
    #[error(
        "the bytes of element {index} end too early: each element is its length, as 4 bytes in little-endian order, and its bytes"
    )]
    Element {
        /// Index of the element.
        index: usize,
    },
    /// An element in JSON is wrong, or they are not as many as the shape says.
    #[error("`data` does not fit its shape and datatype")]
    Data(#[source] serde_json::Error),
    /// An encoded image is text in JSON.
    #[error(
        "strings in JSON are text: give images as {{\"b64\": \"...\"}}, or as Base64 with the parameter \"content_type\": \
         \"base64\", or as binary data after the JSON"
    )]
    Text,
    /// Lists in JSON are nested in another way than the shape says.
    #[error("`data` is nested {depth} deep: give a flat list, or one nested as its shape")]
    Nested {
        /// Number of lists inside each other.
        depth: usize,
    },
    /// The elements are in a form that the datatype does not have.
    #[error("{datatype} elements cannot be in {place}: send them as {instead}")]
    Place {
        /// Datatype of the tensor.
        datatype: Datatype,
        /// Place of the elements.
        place: &'static str,
        /// Place where they can be.
        instead: &'static str,
    },
    /// Bytes follow the last `BYTES` element.
    #[error("{0} bytes follow its last element: its shape has fewer elements than its bytes")]
    Trailing(usize),
    /// A number is no byte.
    #[error("{0} is not a byte: the largest is 255")]
    Byte(u32),
    /// A 64-bit number is too large for the 32 bits in which it is computed.
    #[error("{0:e} is too large for a float of 32 bits")]
    Range(f64),
}

/// Reason why an output cannot be given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// The model has no such output.
    #[error("the model has no such output: it has {has}")]
    Unknown {
        /// Outputs of the model.
        has: String,
    },
    /// The output is asked for twice.
    #[error("it is asked for twice")]
    Twice,
    /// The output has no score for each class.
    #[error("`classification` needs one score for each of {classes} classes, and its shape is {shape:?}")]
    Classes {
        /// Number of classes.
        classes: usize,
        /// Shape of the output.
        shape: Vec<usize>,
    },
    /// The output has a value that JSON cannot express, or that has no order.
    #[error("it holds {value}: ask for it as binary data")]
    NotFinite {
        /// First such value.
        value: f32,
    },
    /// The output would go into memory that this server does not share.
    #[error("shared memory is not supported")]
    SharedMemory,
}
