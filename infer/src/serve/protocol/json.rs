//! JSON of requests, with tensors as lists or as binary data after it.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use ferronnx_models::certificate::Bytes as Base64;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Elements, Input, InputError, OutputError, ProtocolError, Request, RequestedOutput};

/// Parses the body of a request for an inference.
///
/// `header` is the value of `Inference-Header-Content-Length`: the length of the JSON, which binary tensors follow.
/// Elements in JSON are only found, not read: the datatype may come after them, and the model may refuse it.
///
/// # Errors
/// [`ProtocolError`] when the JSON is not that of a request, or lengths do not fit the bytes that there are.
pub fn parse(body: &Bytes, header: Option<usize>) -> Result<Request<'_>, ProtocolError> {
    let length = header.unwrap_or(body.len());
    if length > body.len() {
        return Err(ProtocolError::HeaderLength { header: length, body: body.len() });
    }
    let request: Body<'_> = serde_json::from_slice(&body[..length]).map_err(ProtocolError::Json)?;
    let mut binary = header.map(|length| body.slice(length..));
    let mut inputs = Vec::new();
    for tensor in request.inputs {
        let name = tensor.name.clone();
        inputs.push(tensor.input(binary.as_mut()).map_err(|reason| ProtocolError::input(name, reason))?);
    }
    match binary.map_or(0, |rest| rest.len()) {
        0 => {}
        more => return Err(ProtocolError::LeftOver(more)),
    }
    let parameters = request.parameters.unwrap_or_default();
    let binary = parameters.binary_data_output.unwrap_or(false);
    let outputs = request.outputs.unwrap_or_default();
    Ok(Request {
        id: request.id.unwrap_or_default(),
        timeout: parameters.timeout.filter(|&timeout| timeout > 0).map(Duration::from_micros),
        inputs,
        outputs: outputs.into_iter().map(|output| output.requested(binary)).collect::<Result<_, _>>()?,
        binary,
    })
}

#[derive(Deserialize)]
struct Body<'a> {
    id: Option<String>,
    parameters: Option<Parameters>,
    #[serde(borrow)]
    inputs: Vec<InputTensor<'a>>,
    outputs: Option<Vec<OutputTensor>>,
}

#[derive(Deserialize, Default)]
struct Parameters {
    /// Microseconds.
    timeout: Option<u64>,
    binary_data_output: Option<bool>,
}

#[derive(Deserialize)]
struct InputTensor<'a> {
    name: String,
    datatype: String,
    shape: Vec<i64>,
    parameters: Option<InputParameters>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct InputParameters {
    binary_data_size: Option<usize>,
    content_type: Option<String>,
    shared_memory_region: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct OutputTensor {
    name: String,
    parameters: Option<OutputParameters>,
}

#[derive(Deserialize, Default)]
struct OutputParameters {
    classification: Option<usize>,
    binary_data: Option<bool>,
    shared_memory_region: Option<IgnoredAny>,
}

impl<'a> InputTensor<'a> {
    /// Takes the elements from the JSON, or from the `binary` data after it.
    fn input(self, binary: Option<&mut Bytes>) -> Result<Input<'a>, InputError> {
        let parameters = self.parameters.unwrap_or_default();
        if parameters.shared_memory_region.is_some() {
            return Err(InputError::SharedMemory);
        }
        let elements = match (self.data, parameters.binary_data_size) {
            (Some(_), Some(_)) => return Err(InputError::TwoData),
            (None, None) => return Err(InputError::NoData),
            (Some(data), None) => {
                Elements::Json { data, base64: parameters.content_type.as_deref() == Some("base64") }
            }
            (None, Some(size)) => {
                let rest = binary.ok_or(InputError::NoHeader)?;
                if size > rest.len() {
                    return Err(InputError::Truncated { size, left: rest.len() });
                }
                Elements::Raw(rest.split_to(size))
            }
        };
        Ok(Input { name: self.name, datatype: self.datatype, shape: self.shape, elements })
    }
}

impl OutputTensor {
    fn requested(self, binary: bool) -> Result<RequestedOutput, ProtocolError> {
        let parameters = self.parameters.unwrap_or_default();
        if parameters.shared_memory_region.is_some() {
            return Err(ProtocolError::output(self.name, OutputError::SharedMemory));
        }
        Ok(RequestedOutput {
            name: self.name,
            classification: parameters.classification.unwrap_or(0),
            binary: parameters.binary_data.unwrap_or(binary),
        })
    }
}

/// Encoded image as JSON has it where its strings are text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    b64: Base64,
}

/// Reads `count` encoded images from a list of strings or objects.
pub(super) fn strings(data: &RawValue, count: usize, base64: bool) -> Result<Vec<Bytes>, InputError> {
    let first = data.get().bytes().find(|byte| !byte.is_ascii_whitespace() && *byte != b'[');
    let decoded: Vec<Base64> = match (base64, first) {
        (false, Some(b'"')) => return Err(InputError::Text),
        (true, _) => list(data, &[count])?,
        (false, _) => list::<Image>(data, &[count])?.into_iter().map(|image| image.b64).collect(),
    };
    Ok(decoded.into_iter().map(|image| Bytes::from(image.0)).collect())
}

/// Reads a list of elements, flat or nested as `shape`, without its sizes being trusted for memory.
pub(super) fn list<'de, T: Deserialize<'de>>(
    data: &'de RawValue,
    shape: &[usize],
) -> Result<Vec<T>, InputError> {
    let flat = [shape.iter().product()];
    let text = data.get();
    let depth =
        text.bytes().filter(|byte| !byte.is_ascii_whitespace()).take_while(|&byte| byte == b'[').count();
    let sizes = match depth {
        0 | 1 => &flat[..],
        depth if depth == shape.len() => shape,
        depth => return Err(InputError::Nested { depth }),
    };
    let mut elements = Vec::with_capacity(flat[0].min(text.len() / size_of::<T>().max(1)));
    let mut json = serde_json::Deserializer::from_str(text);
    Level { elements: &mut elements, sizes, lifetime: PhantomData }
        .deserialize(&mut json)
        .map_err(InputError::Data)?;
    Ok(elements)
}

/// List whose elements are lists of the inner `sizes`, down to elements that are collected.
struct Level<'v, 'de, T> {
    elements: &'v mut Vec<T>,
    sizes: &'v [usize],
    lifetime: PhantomData<&'de ()>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Level<'_, 'de, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Level<'_, 'de, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of {}", self.sizes.first().unwrap_or(&1))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Some((&size, inner)) = self.sizes.split_first() else { return Ok(()) };
        for index in 0..size {
            let elements = &mut *self.elements;
            let found = match inner {
                [] => list.next_element()?.map(|element| elements.push(element)),
                sizes => list.next_element_seed(Level { elements, sizes, lifetime: PhantomData })?,
            };
            found.ok_or_else(|| A::Error::invalid_length(index, &self))?;
        }
        match list.next_element::<IgnoredAny>()? {
            None => Ok(()),
            Some(_) => Err(A::Error::custom(format_args!("there are more than {size} elements"))),
        }
    }
}
