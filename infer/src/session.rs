//! A model, ready to run: any `.onnx` with one float input.

use std::path::{Path, PathBuf};

use models::onnx::{Dim, ValueInfo};
use ndarray::{ArrayD, ArrayViewD};
use ort::session::Session as OrtSession;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::{Outlet, TensorElementType, TensorRef, ValueType};

use crate::device::{self, Device, Provider};
use crate::error::{Error, Result, runtime_message};
use crate::files;
use crate::runtime::{self, Runtime};

/// How a session is built.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where it computes.
    pub device: Device,
    /// Threads inside an operator on the CPU; ONNX Runtime's choice, one per core, when absent.
    pub threads: Option<usize>,
    /// The library or its folder, see [`runtime`]; searched for when absent.
    pub runtime: Option<PathBuf>,
}

/// A model, ready to run.
#[derive(Debug)]
pub struct Session {
    session: OrtSession,
    input: ValueInfo,
    outputs: Vec<ValueInfo>,
    provider: Provider,
    warning: Option<String>,
}

impl Session {
    /// The model in the file at `path`.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`], [`Error::Runtime`], [`Error::Device`], or [`Error::Model`] when the file
    /// is not an ONNX model, or not one with a single float input and a float output first.
    pub fn from_file(path: &Path, options: &Options) -> Result<Self> {
        let metadata = files::metadata(path)?;
        if metadata.is_dir() {
            return Err(unusable("is a folder, not an ONNX model").at(path));
        }
        // ONNX Runtime only says that parsing failed.
        std::fs::File::open(path).map_err(|error| Error::io(path, error))?;
        Self::build(options, metadata.len(), |builder| builder.commit_from_file(path))
            .map_err(|error| error.at(path))
    }

    /// The model in `bytes`, the content of a file.
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file).
    pub fn from_bytes(bytes: &[u8], options: &Options) -> Result<Self> {
        Self::build(options, bytes.len() as u64, |builder| builder.commit_from_memory(bytes))
    }

    fn build(
        options: &Options,
        size: u64,
        commit: impl Fn(&mut SessionBuilder) -> ort::Result<OrtSession>,
    ) -> Result<Self> {
        let runtime = runtime::load(options.runtime.as_deref())?;
        let on = |provider| Self::on(provider, runtime, options, size, &commit);
        match options.device {
            Device::Cpu => on(Provider::Cpu),
            Device::Cuda(index) => on(Provider::Cuda(index)),
            // Nobody expects a GPU of a library without the provider: no warning.
            Device::Auto if !device::has_cuda() => on(Provider::Cpu),
            Device::Auto => match on(Provider::Cuda(0)) {
                Err(Error::Device { reason, .. }) => {
                    let reason = reason.trim_end_matches(", or use --device cpu");
                    let warning = Some(format!("using the CPU, not CUDA: {reason}"));
                    Ok(Self { warning, ..on(Provider::Cpu)? })
                }
                result => result,
            },
        }
    }

    fn on(
        provider: Provider,
        runtime: &Runtime,
        options: &Options,
        size: u64,
        commit: impl Fn(&mut SessionBuilder) -> ort::Result<OrtSession>,
    ) -> Result<Self> {
        let mut builder = configured(runtime, options).map_err(|error| failed(&error))?;
        if matches!(provider, Provider::Cuda(_)) {
            device::preload_cuda(runtime.path());
        }
        provider.register(&mut builder)?;
        let session = commit(&mut builder).map_err(|error| commit_error(provider, size, &error))?;
        let (input, outputs) = interface(&session)?;
        Ok(Self { session, input, outputs, provider, warning: None })
    }

    /// Runs the model: the input's shape to the first output's.
    ///
    /// # Errors
    /// [`Error::Session`] when the shape of `input` is not the model's, or running fails.
    pub fn run(&mut self, input: ArrayViewD<'_, f32>) -> Result<ArrayD<f32>> {
        let fits = |(&size, dim): (&usize, &Dim)| match dim {
            Dim::Fixed(expected) => size == *expected,
            Dim::Symbol(_) => true,
        };
        let expected = &self.input.shape;
        if input.ndim() != expected.len() || !input.shape().iter().zip(expected).all(fits) {
            let (name, expected) = (&self.input.name, describe(expected));
            return Err(Error::Session(format!("input `{name}` takes {expected}, not {:?}", input.shape())));
        }
        let input = input.as_standard_layout();
        let output = &self.outputs[0].name;
        let mut run = || -> ort::Result<ArrayD<f32>> {
            let tensor = TensorRef::from_array_view(input.view())?;
            let results = self.session.run(ort::inputs![self.input.name.as_str() => tensor])?;
            Ok(results[output.as_str()].try_extract_array::<f32>()?.into_owned())
        };
        run().map_err(|error| failed(&error))
    }

    /// ONNX Runtime's name of what executes the operators: `CPUExecutionProvider` or `CUDAExecutionProvider`.
    pub fn provider(&self) -> &'static str {
        self.provider.name()
    }

    /// Why [`Device::Auto`] does not compute where it should have, for the user to see.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// The input.
    pub fn input(&self) -> &ValueInfo {
        &self.input
    }

    /// The outputs that are float tensors; [`run`](Self::run) returns the first.
    pub fn outputs(&self) -> &[ValueInfo] {
        &self.outputs
    }

    /// The value of `key` in the file's metadata.
    pub fn metadata(&self, key: &str) -> Option<String> {
        self.session.metadata().ok()?.custom(key)
    }
}

/// Threads that wait by spinning save nothing here and take the cores from those that decode pictures.
fn configured(runtime: &Runtime, options: &Options) -> ort::Result<SessionBuilder> {
    let builder = OrtSession::builder(&runtime.environment)?
        .with_optimization_level(GraphOptimizationLevel::Level3)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?;
    Ok(match options.threads {
        Some(threads) => builder.with_intra_threads(threads)?,
        None => builder,
    })
}

/// The one input, and the outputs.
fn interface(session: &OrtSession) -> Result<(ValueInfo, Vec<ValueInfo>)> {
    let (inputs, outputs) = (session.inputs(), session.outputs());
    let [input] = inputs else {
        let names: Vec<_> = inputs.iter().map(Outlet::name).collect();
        let names = names.join(", ");
        return Err(unusable(format!("needs {} inputs ({names}), one is supported", inputs.len())));
    };
    let input = float_tensor(input).ok_or_else(|| {
        let (name, kind) = (input.name(), input.dtype());
        unusable(format!("the input `{name}` is {kind}, a float tensor is supported"))
    })?;
    match outputs.first().map(float_tensor) {
        Some(Some(_)) => Ok((input, outputs.iter().filter_map(float_tensor).collect())),
        _ => Err(unusable("the first output is not a float tensor")),
    }
}

fn float_tensor(outlet: &Outlet) -> Option<ValueInfo> {
    let ValueType::Tensor { ty: TensorElementType::Float32, shape, dimension_symbols } = outlet.dtype()
    else {
        return None;
    };
    let dim = |(&size, symbol): (&i64, &String)| match usize::try_from(size) {
        Ok(size) => Dim::Fixed(size),
        Err(_) => Dim::Symbol(symbol.clone()),
    };
    let shape = shape.iter().zip(dimension_symbols.iter()).map(dim).collect();
    Some(ValueInfo { name: outlet.name().into(), shape })
}

/// `[batch, 3, 32, 32]`.
pub(crate) fn describe(shape: &[Dim]) -> String {
    let dims: Vec<_> = shape
        .iter()
        .map(|dim| match dim {
            Dim::Fixed(size) => size.to_string(),
            Dim::Symbol(name) if name.is_empty() => "?".into(),
            Dim::Symbol(name) => name.clone(),
        })
        .collect();
    format!("[{}]", dims.join(", "))
}

fn commit_error(provider: Provider, size: u64, error: &ort::Error) -> Error {
    let message = runtime_message(error);
    match provider {
        Provider::Cuda(index) if message.contains("CUDA failure") => device::cuda_error(index, &message),
        _ if message.contains("rotobuf parsing failed") || message.contains("No graph was found") => {
            unusable(format!("not an ONNX model (is it complete? {size} bytes)"))
        }
        _ => unusable(format!("ONNX Runtime refuses the model: {}", after_the_path(&message))),
    }
}

/// `Load model from PATH failed:WHY` names the file a second time.
fn after_the_path(message: &str) -> &str {
    match message.strip_prefix("Load model from ").and_then(|rest| rest.split_once(" failed:")) {
        Some((_, reason)) => reason,
        None => message,
    }
}

fn unusable(reason: impl Into<String>) -> Error {
    Error::Model { path: None, reason: reason.into() }
}

fn failed(error: &ort::Error) -> Error {
    Error::Session(format!("ONNX Runtime failed: {}", runtime_message(error)))
}
