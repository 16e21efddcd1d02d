//! Conversion of messages from and to the protocol's types.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;

use super::inference::infer_parameter::ParameterChoice;
use super::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use super::inference::model_infer_response::InferOutputTensor;
use super::inference::model_metadata_response::TensorMetadata as TensorMessage;
use super::inference::{
    InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse, ModelMetadataResponse,
    ServerMetadataResponse,
};
use crate::serve::protocol::{
    Elements, Input, InputError, ModelMetadata, OutputError, OutputTensor, ProtocolError, Request,
    RequestedOutput, Response, ServerMetadata, TensorMetadata, Typed,
};

/// Region of shared memory for a tensor, a parameter of inputs and outputs.
const SHARED_MEMORY: &str = "shared_memory_region";

/// Converts a request for an inference; its tensors stay slices of the message.
///
/// # Errors
/// [`ProtocolError`] when a tensor has no elements or two forms of them, or a parameter has a wrong value.
pub fn request(message: ModelInferRequest) -> Result<Request<'static>, ProtocolError> {
    let (inputs, raw) = (message.inputs, message.raw_input_contents);
    if !raw.is_empty() && raw.len() != inputs.len() {
        return Err(ProtocolError::RawContents { raw: raw.len(), inputs: inputs.len() });
    }
    let timeout = count(&message.parameters, "timeout", "a number of microseconds")?;
    let mut raw = raw.into_iter();
    let inputs = inputs.into_iter().map(|tensor| input(tensor, raw.next()));
    Ok(Request {
        id: message.id,
        timeout: timeout.filter(|&timeout| timeout > 0).map(Duration::from_micros),
        inputs: inputs.collect::<Result<_, _>>()?,
        outputs: message.outputs.into_iter().map(requested).collect::<Result<_, _>>()?,
        binary: true,
    })
}

fn input(tensor: InferInputTensor, raw: Option<Bytes>) -> Result<Input<'static>, ProtocolError> {
    let InferInputTensor { name, datatype, shape, parameters, contents } = tensor;
    let elements = match (raw, contents.map(typed)) {
        _ if parameters.contains_key(SHARED_MEMORY) => Err(InputError::SharedMemory),
        (Some(raw), None | Some(None)) => Ok(Elements::Raw(raw)),
        (None, Some(Some(contents))) => Ok(Elements::Typed(contents)),
        (Some(_), Some(Some(_))) => Err(InputError::TwoContents),
        (None, None | Some(None)) => Err(InputError::NoData),
    };
    match elements {
        Ok(elements) => Ok(Input { name, datatype, shape, elements }),
        Err(reason) => Err(ProtocolError::input(name, reason)),
    }
}

/// Takes the one field of `contents` that has elements; none if all are empty.
fn typed(contents: InferTensorContents) -> Option<Typed> {
    let InferTensorContents {
        bool_contents,
        int_contents,
        int64_contents,
        uint_contents,
        uint64_contents,
        fp32_contents,
        fp64_contents,
        bytes_contents,
    } = contents;
    let others = [
        bool_contents.is_empty(),
        int_contents.is_empty(),
        int64_contents.is_empty(),
        uint64_contents.is_empty(),
    ];
    let has_others = others.contains(&false);
    let mut found = [
        (!uint_contents.is_empty()).then_some(Typed::Unsigned(uint_contents)),
        (!fp32_contents.is_empty()).then_some(Typed::Floats(fp32_contents)),
        (!fp64_contents.is_empty()).then_some(Typed::Doubles(fp64_contents)),
        (!bytes_contents.is_empty()).then_some(Typed::Bytes(bytes_contents)),
        has_others.then_some(Typed::Other),
    ]
    .into_iter()
    .flatten();
    let first = found.next();
    if found.next().is_some() { Some(Typed::Other) } else { first }
}

fn requested(output: InferRequestedOutputTensor) -> Result<RequestedOutput, ProtocolError> {
    let InferRequestedOutputTensor { name, parameters } = output;
    if parameters.contains_key(SHARED_MEMORY) {
        return Err(ProtocolError::output(name, OutputError::SharedMemory));
    }
    let classification = count(&parameters, "classification", "a number of classes")?.unwrap_or(0);
    let classification = usize::try_from(classification).unwrap_or(usize::MAX);
    Ok(RequestedOutput { name, classification, binary: true })
}

/// Reads a parameter that is a number from 0 on.
fn count(
    parameters: &HashMap<String, InferParameter>,
    key: &'static str,
    expected: &'static str,
) -> Result<Option<u64>, ProtocolError> {
    let Some(parameter) = parameters.get(key) else { return Ok(None) };
    let number = match parameter.parameter_choice {
        Some(ParameterChoice::Int64Param(number)) => u64::try_from(number).ok(),
        Some(ParameterChoice::Uint64Param(number)) => Some(number),
        _ => None,
    };
    number.map(Some).ok_or(ProtocolError::Parameter(key, expected))
}

/// Converts a response; all elements are in `raw_output_contents`.
pub fn response(response: Response) -> ModelInferResponse {
    let raw_output_contents = response.outputs.iter().map(|output| output.values.encode()).collect();
    ModelInferResponse {
        model_name: response.model_name,
        model_version: response.model_version,
        id: response.id,
        parameters: HashMap::new(),
        outputs: response.outputs.into_iter().map(output).collect(),
        raw_output_contents,
    }
}

fn output(output: OutputTensor) -> InferOutputTensor {
    InferOutputTensor {
        datatype: output.values.datatype().name().into(),
        shape: output.shape.iter().map(|&size| size as i64).collect(),
        name: output.name,
        parameters: HashMap::new(),
        contents: None,
    }
}

impl From<ServerMetadata> for ServerMetadataResponse {
    fn from(metadata: ServerMetadata) -> Self {
        Self {
            name: metadata.name.into(),
            version: metadata.version.into(),
            extensions: metadata.extensions.iter().map(ToString::to_string).collect(),
        }
    }
}

impl From<ModelMetadata> for ModelMetadataResponse {
    fn from(metadata: ModelMetadata) -> Self {
        Self {
            name: metadata.name,
            versions: metadata.versions,
            platform: metadata.platform.into(),
            inputs: metadata.inputs.into_iter().map(Into::into).collect(),
            outputs: metadata.outputs.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<TensorMetadata> for TensorMessage {
    fn from(metadata: TensorMetadata) -> Self {
        let TensorMetadata { name, datatype, shape } = metadata;
        Self { name, datatype: datatype.name().into(), shape }
    }
}
