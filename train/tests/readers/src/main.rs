//! Runs one exported file: `readers tract|rten MODEL.onnx INPUT float|uint8 N,...`.
//!
//! INPUT holds the elements of a batch, little-endian. Prints a JSON object with the logits of the batch as a whole and of
//! its pictures one by one, from the same loaded model: the file's batch is symbolic.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rten::{Model, ValueOrView};
use rten_tensor::Tensor as RtenTensor;
use rten_tensor::prelude::*;
use tract_onnx::prelude::{Framework, InferenceModelExt, IntoRunnable, IntoTValue, Tensor, tvec};

/// What the file is fed, and its shape.
enum Input {
    Float(Vec<f32>, Vec<usize>),
    Bytes(Vec<u8>, Vec<usize>),
}

impl Input {
    fn read(path: &str, element: &str, shape: &str) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| path.to_owned())?;
        let shape = shape.split(',').map(str::parse).collect::<Result<_, _>>()?;
        let float = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("chunks of four"));
        Ok(match element {
            "float" => Self::Float(bytes.chunks_exact(4).map(float).collect(), shape),
            "uint8" => Self::Bytes(bytes, shape),
            _ => bail!("float or uint8, not {element}"),
        })
    }

    /// The pictures one by one.
    fn pictures(&self) -> Vec<Self> {
        let one = |shape: &[usize]| [&[1], &shape[1..]].concat();
        match self {
            Self::Float(values, shape) => values
                .chunks(values.len() / shape[0])
                .map(|part| Self::Float(part.into(), one(shape)))
                .collect(),
            Self::Bytes(values, shape) => values
                .chunks(values.len() / shape[0])
                .map(|part| Self::Bytes(part.into(), one(shape)))
                .collect(),
        }
    }

    fn tract(&self) -> Result<Tensor> {
        match self {
            Self::Float(values, shape) => Tensor::from_shape(shape, values),
            Self::Bytes(values, shape) => Tensor::from_shape(shape, values),
        }
    }

    fn rten(&self) -> ValueOrView<'static> {
        match self {
            Self::Float(values, shape) => RtenTensor::from_data(shape, values.clone()).into(),
            Self::Bytes(values, shape) => RtenTensor::from_data(shape, values.clone()).into(),
        }
    }
}

/// A loaded file: a batch to its logits.
type Run = Box<dyn Fn(&Input) -> Result<Vec<f32>>>;

fn tract(model: &Path) -> Result<Run> {
    let model = tract_onnx::onnx().model_for_path(model)?.into_optimized()?.into_runnable()?;
    Ok(Box::new(move |input| {
        let logits = model.run(tvec![input.tract()?.into_tvalue()])?.remove(0);
        Ok(logits.to_plain_array_view::<f32>()?.iter().copied().collect())
    }))
}

fn rten(model: &Path) -> Result<Run> {
    let model = Model::load_file(model)?;
    let (input_id, logits_id) = (model.node_id("input")?, model.node_id("logits")?);
    Ok(Box::new(move |input| {
        let [logits] = model.run_n(vec![(input_id, input.rten())], [logits_id], None)?;
        let logits: RtenTensor<f32> = logits.try_into().map_err(|error| anyhow::anyhow!("{error:?}"))?;
        Ok(logits.iter().copied().collect())
    }))
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [runtime, model, input, element, shape] = &arguments[..] else {
        bail!("usage: readers tract|rten MODEL.onnx INPUT float|uint8 N,...");
    };
    let input = Input::read(input, element, shape)?;
    let run = match &runtime[..] {
        "tract" => tract(model.as_ref())?,
        "rten" => rten(model.as_ref())?,
        _ => bail!("tract or rten, not {runtime}"),
    };
    let single = input.pictures().iter().map(&run).collect::<Result<Vec<_>>>()?.concat();
    println!("{}", serde_json::json!({ "batch": run(&input)?, "single": single }));
    Ok(())
}
