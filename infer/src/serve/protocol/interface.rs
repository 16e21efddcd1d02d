//! Inputs and outputs of a model, as clients see them.

use std::time::Duration;

use bytes::Bytes;
use ferronnx_models::onnx::{Dim, TensorInfo};
use ndarray::ArrayD;

use super::request::check_outputs;
use super::{
    Datatype, Input, InputError, OutputError, ProtocolError, Request, RequestedOutput, TensorMetadata,
};

/// Inputs and outputs of a model.
///
/// A model takes its own tensor, or encoded images as `image` (`encoded_image` if its own input is called `image`). It
/// gives its float outputs in 32 bits, and the probabilities of the classes as `probabilities`
/// (`class_probabilities` if it has an output of that name).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    inputs: [TensorMetadata; 2],
    outputs: Vec<TensorMetadata>,
}

/// Request that fits the model, with its elements read.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// Identifier that the answer repeats; empty if there is none.
    pub id: String,
    /// Time that the client gives the server; none for the server's own.
    pub timeout: Option<Duration>,
    /// Images.
    pub content: Content,
    /// Outputs to return, at least one.
    pub outputs: Vec<Wanted>,
}

/// Images of a request, at least one.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Encoded images: the content of a file each.
    Images(Vec<Bytes>),
    /// Input tensor of the model as floats, `[N, ...]`.
    Floats(ArrayD<f32>),
    /// Input tensor of the model as bytes, `[N, ...]`.
    Bytes(ArrayD<u8>),
}

impl Content {
    /// Number of images.
    pub fn rows(&self) -> usize {
        match self {
            Self::Images(images) => images.len(),
            Self::Floats(tensor) => tensor.shape().first().copied().unwrap_or(1),
            Self::Bytes(tensor) => tensor.shape().first().copied().unwrap_or(1),
        }
    }

    /// Size of the images in memory, in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Images(images) => images.iter().map(|image| image.len() + size_of::<Bytes>()).sum(),
            Self::Floats(tensor) => tensor.len() * size_of::<f32>(),
            Self::Bytes(tensor) => tensor.len(),
        }
    }
}

/// Output to return, which the model has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Name of the output.
    pub name: String,
    /// Origin of the values.
    pub source: Source,
    /// Form of the answer.
    pub form: Form,
    /// True for binary data instead of JSON.
    pub binary: bool,
}

/// Origin of an output's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The model's output of that name.
    Output,
    /// The probabilities of the classes.
    Probabilities,
}

/// Form in which an output is returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// All values.
    Values,
    /// So many most likely classes, as `score:index:label`.
    Classes(usize),
}

impl Interface {
    /// Describes a model by the input and the float outputs of its session, and its number of classes.
    pub fn new(input: &TensorInfo, outputs: &[TensorInfo], classes: usize) -> Self {
        let taken = |name: &str, infos: &[TensorInfo]| infos.iter().any(|info| info.name == name);
        let image = if input.name == "image" { "encoded_image" } else { "image" };
        let probabilities =
            if taken("probabilities", outputs) { "class_probabilities" } else { "probabilities" };
        let datatype = Datatype::of(input.element).unwrap_or(Datatype::Fp32);
        let batch = input.shape.first();
        let output = |info: &TensorInfo| TensorMetadata {
            name: info.name.clone(),
            datatype: Datatype::Fp32,
            shape: sizes(&info.shape, batch),
        };
        let classes = TensorMetadata {
            name: probabilities.into(),
            datatype: Datatype::Fp32,
            shape: vec![-1, i64::try_from(classes).unwrap_or(-1)],
        };
        Self {
            inputs: [
                TensorMetadata { name: input.name.clone(), datatype, shape: sizes(&input.shape, batch) },
                TensorMetadata { name: image.into(), datatype: Datatype::Bytes, shape: vec![-1] },
            ],
            outputs: outputs.iter().map(output).chain([classes]).collect(),
        }
    }

    /// Inputs, of which a request gives one: the tensor of the model, and encoded images.
    pub fn inputs(&self) -> &[TensorMetadata] {
        &self.inputs
    }

    /// Outputs: those of the model, and the probabilities last.
    pub fn outputs(&self) -> &[TensorMetadata] {
        &self.outputs
    }

    /// Checks that a request of at most `most` images fits the model, and reads the elements of its tensor.
    ///
    /// # Errors
    /// [`ProtocolError`] when there is not exactly one input, or an input or output is not the model's.
    pub fn accept(&self, mut request: Request<'_>, most: usize) -> Result<Accepted, ProtocolError> {
        let outputs = self.wanted(request.outputs, request.binary)?;
        let input = match (request.inputs.pop(), request.inputs.len()) {
            (Some(input), 0) => input,
            (None, _) => return Err(ProtocolError::NoInput { takes: self.takes() }),
            (Some(_), others) => {
                return Err(ProtocolError::SeveralInputs { given: others + 1, takes: self.takes() });
            }
        };
        let name = input.name.clone();
        let content = self.content(input, most).map_err(|reason| ProtocolError::input(name, reason))?;
        Ok(Accepted { id: request.id, timeout: request.timeout, content, outputs })
    }

    /// Checks the input and reads its elements.
    fn content(&self, input: Input<'_>, most: usize) -> Result<Content, InputError> {
        let tensor = self.inputs.iter().find(|tensor| tensor.name == input.name);
        let tensor = tensor.ok_or_else(|| InputError::Unknown { takes: self.takes() })?;
        if input.datatype != tensor.datatype.name() {
            return Err(InputError::Datatype { given: input.datatype, takes: tensor.datatype.name() });
        }
        let takes = format!("{:?}", tensor.shape);
        if input.shape.len() != tensor.shape.len() {
            return Err(InputError::Rank { given: input.shape.len(), takes });
        }
        let sizes = input.sizes(&takes)?;
        if !tensor.fits(&sizes) {
            return Err(InputError::Shape { given: input.shape, takes });
        }
        let rows = sizes.first().copied().unwrap_or(1);
        if rows > most {
            return Err(InputError::TooMany { rows, most });
        }
        match tensor.datatype {
            Datatype::Bytes => input.elements.strings(rows).map(Content::Images),
            Datatype::Uint8 => shaped(input.elements.bytes(&sizes)?, &sizes).map(Content::Bytes),
            datatype => shaped(input.elements.floats(datatype, &sizes)?, &sizes).map(Content::Floats),
        }
    }

    /// Finds the outputs that are asked for; all if there are none.
    fn wanted(&self, requested: Vec<RequestedOutput>, binary: bool) -> Result<Vec<Wanted>, ProtocolError> {
        check_outputs(&requested)?;
        let last = self.outputs.len() - 1;
        let wanted = |index: usize, classification, binary| Wanted {
            name: self.outputs[index].name.clone(),
            source: if index == last { Source::Probabilities } else { Source::Output },
            form: if classification == 0 { Form::Values } else { Form::Classes(classification) },
            binary,
        };
        if requested.is_empty() {
            return Ok((0..=last).map(|index| wanted(index, 0, binary)).collect());
        }
        let find = |output: RequestedOutput| match self.outputs.iter().position(|one| one.name == output.name)
        {
            Some(index) => Ok(wanted(index, output.classification, output.binary)),
            None => {
                let has: Vec<_> = self.outputs.iter().map(|output| format!("`{}`", output.name)).collect();
                Err(ProtocolError::output(output.name, OutputError::Unknown { has: has.join(", ") }))
            }
        };
        requested.into_iter().map(find).collect()
    }

    /// Text of the inputs: `` `input` FP32 [-1, 3, 32, 32] or `image` BYTES [-1] ``.
    fn takes(&self) -> String {
        self.inputs.each_ref().map(ToString::to_string).join(" or ")
    }
}

/// Sizes of dimensions, with -1 for those of any size. `batch` is among them: the server fills batches of a fixed size,
/// and splits larger ones.
fn sizes(shape: &[Dim], batch: Option<&Dim>) -> Vec<i64> {
    let size = |(index, dim): (usize, &Dim)| match dim {
        dim if index == 0 && Some(dim) == batch => -1,
        Dim::Fixed(size) => i64::try_from(*size).unwrap_or(-1),
        Dim::Symbol(_) => -1,
    };
    shape.iter().enumerate().map(size).collect()
}

/// Gives elements their shape, which has as many.
fn shaped<T>(elements: Vec<T>, sizes: &[usize]) -> Result<ArrayD<T>, InputError> {
    let given = elements.len();
    let wrong = |_| InputError::Count { given, expected: sizes.iter().product() };
    ArrayD::from_shape_vec(sizes, elements).map_err(wrong)
}
