//! Runs one exported file: `readers tract|rten MODEL.onnx INPUT float|uint8 N,...`.
//!
//! INPUT holds the elements of a batch, little-endian. Prints the logits as a JSON array: of the batch as a whole, then
//! of its images one by one, from the same loaded model, for the file's batch is symbolic. If that fails, prints why,
//! from the general to the particular.
//!
//! `readers tract|rten MODEL.onnx time N,... PASSES` prints the median time of a pass over floats in milliseconds instead;
//! rten has as many threads as `RTEN_NUM_THREADS` says, tract one.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use rten::{Model, ValueOrView};
use rten_tensor::Tensor as RtenTensor;
use rten_tensor::prelude::*;
use tract_onnx::prelude::{Framework, InferenceModelExt, IntoRunnable, IntoTValue, Tensor, tvec};

/// Input of the file, and its shape.
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

    /// The images one by one.
    fn images(&self) -> Vec<Self> {
        fn parts<T: Clone>(
            values: &[T],
            shape: &[usize],
            make: fn(Vec<T>, Vec<usize>) -> Input,
        ) -> Vec<Input> {
            let one = [&[1], &shape[1..]].concat();
            values.chunks(values.len() / shape[0]).map(|part| make(part.into(), one.clone())).collect()
        }
        match self {
            Self::Float(values, shape) => parts(values, shape, Self::Float),
            Self::Bytes(values, shape) => parts(values, shape, Self::Bytes),
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
        let logits = model.run(tvec![input.tract()?.into_tvalue()])?.remove(0); // the first of the outputs
        Ok(logits.to_plain_array_view::<f32>()?.iter().copied().collect())
    }))
}

fn rten(model: &Path) -> Result<Run> {
    let model = Model::load_file(model)?;
    let (input_id, logits_id) = (model.node_id("input")?, model.node_id("logits")?);
    Ok(Box::new(move |input| {
        let [logits] = model.run_n(vec![(input_id, input.rten())], [logits_id], None)?;
        let logits: RtenTensor<f32> = logits.try_into().map_err(|error| anyhow!("{error:?}"))?;
        Ok(logits.iter().copied().collect())
    }))
}

fn load(runtime: &str, model: &str) -> Result<Run> {
    match runtime {
        "tract" => tract(model.as_ref()),
        "rten" => rten(model.as_ref()),
        _ => bail!("tract or rten, not {runtime}"),
    }
}

/// The median time of a pass in milliseconds.
fn time(run: &Run, shape: &str, passes: &str) -> Result<f32> {
    let shape: Vec<usize> = shape.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let input = Input::Float(vec![0.5; shape.iter().product()], shape);
    run(&input)?;
    let mut times = (0..passes.parse()?)
        .map(|_| {
            let start = Instant::now();
            run(&input).map(|_| start.elapsed().as_secs_f32() * 1e3)
        })
        .collect::<Result<Vec<_>>>()?;
    times.sort_by(f32::total_cmp);
    times.get(times.len() / 2).copied().context("no pass")
}

fn run(arguments: &[String]) -> Result<Vec<f32>> {
    if let [runtime, model, command, shape, passes] = arguments
        && command == "time"
    {
        return Ok(vec![time(&load(runtime, model)?, shape, passes)?]);
    }
    let [runtime, model, input, element, shape] = arguments else {
        bail!("usage: readers tract|rten MODEL.onnx INPUT float|uint8 N,...");
    };
    let input = Input::read(input, element, shape)?;
    let run = load(runtime, model)?;
    let mut logits = run(&input)?;
    for image in input.images() {
        logits.extend(run(&image)?);
    }
    Ok(logits)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(logits) => println!("{}", serde_json::json!(logits)),
        Err(error) => {
            error.chain().for_each(|cause| eprintln!("{cause}"));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
