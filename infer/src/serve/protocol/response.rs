//! Responses to inferences.

use bytes::{BufMut, Bytes, BytesMut};
use ndarray::ArrayD;
use serde::Serialize;

use super::{Datatype, Form, OutputError, ProtocolError, Wanted};

/// Response to an inference.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// Name of the model.
    pub model_name: String,
    /// Version of the model.
    pub model_version: String,
    /// Identifier of the request; empty if it had none.
    pub id: String,
    /// Output tensors.
    pub outputs: Vec<OutputTensor>,
}

/// Output tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputTensor {
    /// Name of the output.
    pub name: String,
    /// Sizes of the dimensions.
    pub shape: Vec<usize>,
    /// Elements in row-major order.
    pub values: Values,
    /// True for binary data instead of JSON.
    pub binary: bool,
}

/// Elements of an output.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Values {
    /// `FP32`.
    Floats(Vec<f32>),
    /// `BYTES`.
    Texts(Vec<String>),
}

impl Values {
    /// Datatype of the elements.
    pub fn datatype(&self) -> Datatype {
        match self {
            Self::Floats(_) => Datatype::Fp32,
            Self::Texts(_) => Datatype::Bytes,
        }
    }

    /// Encodes the elements as binary data.
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        match self {
            Self::Floats(values) => {
                bytes.reserve(size_of_val(&values[..]));
                values.iter().for_each(|&value| bytes.put_f32_le(value));
            }
            Self::Texts(texts) => {
                for text in texts {
                    bytes.put_u32_le(text.len() as u32);
                    bytes.put_slice(text.as_bytes());
                }
            }
        }
        bytes.freeze()
    }
}

impl OutputTensor {
    /// Makes an output in the form that was asked for, from `values`, `[N, ...]`; `labels` name the classes.
    ///
    /// # Errors
    /// [`ProtocolError::Output`] when classes are asked for and the output has not one score for each, or one that is
    /// not a number.
    pub fn new(wanted: Wanted, values: ArrayD<f32>, labels: &[String]) -> Result<Self, ProtocolError> {
        let Wanted { name, form, binary, .. } = wanted;
        let (shape, values) = match form {
            Form::Values => (values.shape().to_vec(), Values::Floats(values.into_iter().collect())),
            Form::Classes(most) => match classes(&values, labels, most) {
                Ok((shape, texts)) => (shape, Values::Texts(texts)),
                Err(reason) => return Err(ProtocolError::output(name, reason)),
            },
        };
        Ok(Self { name, shape, values, binary })
    }
}

/// Finds the `most` highest scores of each row, highest first and ties in the order of the classes, as
/// `score:index:label`; returns them with their shape, `[N, most]`.
fn classes(
    scores: &ArrayD<f32>,
    labels: &[String],
    most: usize,
) -> Result<(Vec<usize>, Vec<String>), OutputError> {
    let shape = scores.shape();
    if shape.len() < 2 || shape[1..].iter().product::<usize>() != labels.len() {
        return Err(OutputError::Classes { classes: labels.len(), shape: shape.to_vec() });
    }
    if let Some(&value) = scores.iter().find(|score| score.is_nan()) {
        return Err(OutputError::NotFinite { value });
    }
    let most = most.min(labels.len());
    let mut texts = Vec::with_capacity(shape[0] * most);
    for row in scores.outer_iter() {
        let row: Vec<f32> = row.iter().copied().collect();
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
        texts.extend(order[..most].iter().map(|&index| format!("{}:{index}:{}", row[index], labels[index])));
    }
    Ok((vec![shape[0], most], texts))
}

#[derive(Serialize)]
struct Json<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'a str,
    outputs: Vec<JsonOutput<'a>>,
}

#[derive(Serialize)]
struct JsonOutput<'a> {
    name: &'a str,
    datatype: Datatype,
    shape: &'a [usize],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<BinarySize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Values>,
}

#[derive(Serialize)]
struct BinarySize {
    binary_data_size: usize,
}

impl Response {
    /// Encodes the body of an HTTP response; with binary data after the JSON, also the length of the JSON.
    ///
    /// # Errors
    /// [`ProtocolError::Output`] when an output has a value that JSON has no number for.
    pub fn to_json(&self) -> Result<(Bytes, Option<usize>), ProtocolError> {
        let mut binary = Vec::new();
        let mut outputs = Vec::with_capacity(self.outputs.len());
        for output in &self.outputs {
            let (data, parameters) = if output.binary {
                binary.push(output.values.encode());
                let size = binary.last().map_or(0, Bytes::len);
                (None, Some(BinarySize { binary_data_size: size }))
            } else {
                output.check_json()?;
                (Some(&output.values), None)
            };
            let OutputTensor { name, shape, values, .. } = output;
            outputs.push(JsonOutput { name, datatype: values.datatype(), shape, parameters, data });
        }
        let Self { model_name, model_version, id, .. } = self;
        let json = serde_json::to_vec(&Json { model_name, model_version, id, outputs });
        let mut body = json.map_err(ProtocolError::Json)?;
        let header = (!binary.is_empty()).then_some(body.len());
        binary.iter().for_each(|bytes| body.extend_from_slice(bytes));
        Ok((body.into(), header))
    }
}

impl OutputTensor {
    /// Checks that JSON has a number for each value: it has none for infinities and NaN.
    fn check_json(&self) -> Result<(), ProtocolError> {
        let Values::Floats(values) = &self.values else { return Ok(()) };
        match values.iter().find(|value| !value.is_finite()) {
            Some(&value) => Err(ProtocolError::output(&self.name, OutputError::NotFinite { value })),
            None => Ok(()),
        }
    }
}
