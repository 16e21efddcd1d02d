//! A model, ready to run: any `.onnx` with one input of floats or bytes.

mod io_binding;
mod model;
mod placement;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ferronnx_models::onnx::fuse::Fusion;
use ferronnx_models::onnx::{Dim, Element, TensorInfo};
use indexmap::IndexMap;
use ndarray::{ArrayD, ArrayView, ArrayViewD, Dimension};
use ort::memory::AllocationDevice;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{OutputSelector, RunOptions, Session as OrtSession, SessionInputValue};
use ort::value::{DynValue, Outlet, TensorElementType, TensorRef, ValueType};

use crate::attention::Attention;
use crate::device::{self, CudaOptions, Device, Provider};
use crate::error::{Error, Result, runtime_message};
use crate::files;
use crate::runtime::{self, Runtime};
use io_binding::BoundTensors;
use model::{Built, Model};

/// How a session is built.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where it computes.
    pub device: Device,
    /// Threads inside an operator on the CPU; ONNX Runtime's choice, one per core, when absent.
    pub threads: Option<usize>,
    /// The library or its folder, see [`runtime`]; searched for when absent.
    pub runtime: Option<PathBuf>,
    /// How much work goes into the graph before it runs.
    pub optimization: Optimization,
    /// How CBAM is computed on the CPU.
    pub attention: Attention,
    /// Threads sleep while they wait for work, as is good when other work wants the cores. They spin otherwise, which takes a
    /// few percent off a pass.
    pub without_spinning: bool,
    /// What is particular to GPUs.
    pub cuda: CudaOptions,
    /// Remember which provider each operator was given to, for [`Session::placement`].
    pub placement: bool,
}

/// How much work goes into a graph before it runs.
///
/// Results differ in their last bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Optimization {
    /// All that makes a pass fast.
    #[default]
    Full,
    /// Weights stay in the order of the file: the session is ready several times sooner, and a pass on the CPU takes longer.
    Quick,
}

/// What a model is fed, of the shape of its input.
#[derive(Debug, Clone)]
pub enum Input<'a> {
    /// Floats.
    Float(ArrayViewD<'a, f32>),
    /// Bytes.
    Bytes(ArrayViewD<'a, u8>),
}

impl<'a, D: Dimension> From<ArrayView<'a, f32, D>> for Input<'a> {
    fn from(values: ArrayView<'a, f32, D>) -> Self {
        Self::Float(values.into_dyn())
    }
}

impl<'a, D: Dimension> From<ArrayView<'a, u8, D>> for Input<'a> {
    fn from(values: ArrayView<'a, u8, D>) -> Self {
        Self::Bytes(values.into_dyn())
    }
}

impl Input<'_> {
    fn shape(&self) -> &[usize] {
        match self {
            Self::Float(values) => values.shape(),
            Self::Bytes(values) => values.shape(),
        }
    }

    fn element(&self) -> Element {
        match self {
            Self::Float(_) => Element::Float,
            Self::Bytes(_) => Element::Uint8,
        }
    }
}

/// A model, ready to run, from any thread: passes take turns, each on all threads of the session.
#[derive(Debug)]
pub struct Session {
    session: Mutex<OrtSession>,
    /// After the session that reads them: fields are dropped in their order.
    _weights: Option<Vec<u8>>,
    fusion: Fusion,
    /// Memory of CUDA graphs by the size of their batch, if there are to be any.
    bound: Option<Mutex<HashMap<usize, BoundTensors>>>,
    input: TensorInfo,
    outputs: Vec<TensorInfo>,
    provider: Provider,
    warning: Option<String>,
}

impl Session {
    /// The model in the file at `path`.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`], [`Error::Runtime`], [`Error::Device`], or [`Error::Model`] when the file
    /// is not an ONNX model, or not one with a single input of floats or bytes and a float output first.
    pub fn from_file(path: &Path, options: &Options) -> Result<Self> {
        let size = size(path)?;
        Self::build(Model::File(path), size, options).map_err(|error| error.at(path))
    }

    /// The model in `bytes`, the content of a file.
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file).
    pub fn from_bytes(bytes: &[u8], options: &Options) -> Result<Self> {
        Self::build(Model::Bytes(bytes), bytes.len() as u64, options)
    }

    fn build(model: Model<'_>, size: u64, options: &Options) -> Result<Self> {
        let runtime = runtime::load(options.runtime.as_deref())?;
        let on = |provider| Self::on(provider, runtime, model, size, options);
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
        model: Model<'_>,
        size: u64,
        options: &Options,
    ) -> Result<Self> {
        let mut builder = configured(runtime, options).map_err(|error| failed(&error))?;
        if matches!(provider, Provider::Cuda(_)) {
            device::preload_cuda(runtime.path());
        }
        provider.register(&mut builder, &options.cuda)?;
        let built = model.commit(builder, provider, options)?;
        let Built { session, fusion, weights } =
            built.map_err(|error| commit_error(provider, size, &error))?;
        let (input, outputs) = interface(&session)?;
        let bound = (options.cuda.graphs && matches!(provider, Provider::Cuda(_))).then(Mutex::default);
        Ok(Self {
            session: Mutex::new(session),
            _weights: weights,
            fusion,
            bound,
            input,
            outputs,
            provider,
            warning: None,
        })
    }

    /// Runs the model: the input's shape to the first output's.
    ///
    /// # Errors
    /// [`Error::Session`] when type or shape of `input` are not the model's, or running fails.
    pub fn run<'a>(&self, input: impl Into<Input<'a>>) -> Result<ArrayD<f32>> {
        let first = self.outputs[0].name.clone();
        Ok(self.fetch(input, &[&first])?.remove(0))
    }

    /// Runs the model for the float outputs of these names; what only others need is not computed.
    ///
    /// # Errors
    /// As [`run`](Self::run), and when there is no such output.
    pub fn fetch<'a>(&self, input: impl Into<Input<'a>>, outputs: &[&str]) -> Result<Vec<ArrayD<f32>>> {
        let input = input.into();
        self.check(&input)?;
        for name in outputs {
            if !self.outputs.iter().any(|output| output.name == *name) {
                return Err(Error::Session(format!("the model has no float output `{name}`")));
            }
        }
        if let Some(bound) = &self.bound {
            return self.replay(bound, &input, outputs).map_err(|error| failed(&error));
        }
        let run = || -> ort::Result<Vec<ArrayD<f32>>> {
            let wanted = outputs.iter().fold(OutputSelector::no_default(), |wanted, name| wanted.with(*name));
            let options = RunOptions::new()?.with_outputs(wanted);
            let (floats, bytes);
            let value: SessionInputValue<'_> = match &input {
                Input::Float(values) => {
                    floats = values.as_standard_layout();
                    TensorRef::from_array_view(floats.view())?.into()
                }
                Input::Bytes(values) => {
                    bytes = values.as_standard_layout();
                    TensorRef::from_array_view(bytes.view())?.into()
                }
            };
            let inputs = ort::inputs![self.input.name.as_str() => value];
            let mut session = self.lock();
            let results = session.run_with_options(inputs, &options)?;
            outputs.iter().map(|name| floats_of(&results[*name])).collect()
        };
        run().map_err(|error| failed(&error))
    }

    /// A pass by the CUDA graph for this size of batch, which the first pass of the size records.
    fn replay(
        &self,
        bound: &Mutex<HashMap<usize, BoundTensors>>,
        input: &Input<'_>,
        outputs: &[&str],
    ) -> ort::Result<Vec<ArrayD<f32>>> {
        let Provider::Cuda(index) = self.provider else { unreachable!("there is no such memory elsewhere") };
        let mut session = self.lock();
        let mut bound = bound.lock().unwrap_or_else(PoisonError::into_inner);
        let graph = match bound.entry(input.shape()[0]) {
            Entry::Occupied(graph) => graph.into_mut(),
            Entry::Vacant(place) => {
                let device = (AllocationDevice::CUDA, index as i32);
                let batch = *place.key();
                place.insert(BoundTensors::new(&session, device, batch, &self.input, &self.outputs)?)
            }
        };
        let mut all: Vec<Option<ArrayD<f32>>> =
            graph.run(&mut session, input)?.into_iter().map(Some).collect();
        let position = |name: &&str| self.outputs.iter().position(|output| output.name == **name);
        Ok(outputs.iter().filter_map(|name| all[position(name)?].take()).collect())
    }

    /// Whether the model takes this input.
    fn check(&self, input: &Input<'_>) -> Result<()> {
        let TensorInfo { name, element, shape: expected } = &self.input;
        let shape = input.shape();
        if input.element() != *element || !fits(expected, shape) {
            let (takes, given) = (kind(*element), kind(input.element()));
            let expected = describe(expected);
            return Err(Error::Session(format!(
                "input `{name}` takes {takes} {expected}, not {given} {shape:?}"
            )));
        }
        Ok(())
    }

    /// Nothing panics while it is held; were it so, the session would be as it was.
    fn lock(&self) -> MutexGuard<'_, OrtSession> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// ONNX Runtime's name of what executes the operators: `CPUExecutionProvider` or `CUDAExecutionProvider`.
    pub fn provider(&self) -> &'static str {
        self.provider.name()
    }

    /// What became of CBAM: by what it is computed, and why not by one operator.
    pub fn fusion(&self) -> &Fusion {
        &self.fusion
    }

    /// Why [`Device::Auto`] does not compute where it should have, for the user to see.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// How many operators each provider was given when ONNX Runtime divided the graph.
    ///
    /// # Errors
    /// [`Error::Session`] unless the session was built with [`Options::placement`].
    pub fn placement(&self) -> Result<IndexMap<String, usize>> {
        placement::of(&self.lock()).map_err(|error| failed(&error))
    }

    /// The input.
    pub fn input(&self) -> &TensorInfo {
        &self.input
    }

    /// The outputs that are float tensors; [`run`](Self::run) returns the first.
    pub fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    /// The value of `key` in the file's metadata.
    pub fn metadata(&self, key: &str) -> Option<String> {
        self.lock().metadata().ok()?.custom(key)
    }
}

/// The content of the model file at `path`.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    size(path)?;
    model::read(path)
}

/// Size of the file at `path`, which can be read: ONNX Runtime only says that parsing failed.
fn size(path: &Path) -> Result<u64> {
    let metadata = files::metadata(path)?;
    if metadata.is_dir() {
        return Err(unusable("is a folder, not an ONNX model").at(path));
    }
    fs::File::open(path).map_err(|error| Error::io(path, error))?;
    Ok(metadata.len())
}

fn configured(runtime: &Runtime, options: &Options) -> ort::Result<SessionBuilder> {
    let builder = OrtSession::builder(&runtime.environment)?
        .with_optimization_level(GraphOptimizationLevel::Level3)?
        .with_intra_op_spinning(!options.without_spinning)?
        .with_inter_op_spinning(false)?;
    let builder = match options.threads {
        Some(threads) => builder.with_intra_threads(threads)?,
        None => builder,
    };
    Ok(match options.placement {
        true => builder.with_config_entry(placement::KEY, "1")?,
        false => builder,
    })
}

/// A copy of the floats in `value`, in one go: `ndarray` takes an array of any dimensions value by value.
fn floats_of(value: &DynValue) -> ort::Result<ArrayD<f32>> {
    let (shape, values) = value.try_extract_tensor::<f32>()?;
    let shape: Vec<usize> = shape.iter().map(|&size| size as usize).collect();
    ArrayD::from_shape_vec(shape, values.to_vec()).map_err(|error| ort::Error::new(error.to_string()))
}

/// The one input, and the outputs.
fn interface(session: &OrtSession) -> Result<(TensorInfo, Vec<TensorInfo>)> {
    let (inputs, outputs) = (session.inputs(), session.outputs());
    let [input] = inputs else {
        let names: Vec<_> = inputs.iter().map(Outlet::name).collect();
        let names = names.join(", ");
        return Err(unusable(format!("needs {} inputs ({names}), one is supported", inputs.len())));
    };
    let input = tensor(input, &[Element::Float, Element::Uint8]).ok_or_else(|| {
        let (name, kind) = (input.name(), input.dtype());
        unusable(format!("the input `{name}` is {kind}, a tensor of floats or bytes is supported"))
    })?;
    let float = |outlet| tensor(outlet, &[Element::Float]);
    match outputs.first().map(float) {
        Some(Some(_)) => Ok((input, outputs.iter().filter_map(float).collect())),
        _ => Err(unusable("the first output is not a float tensor")),
    }
}

/// The outlet, if it is a tensor of one of these types.
fn tensor(outlet: &Outlet, elements: &[Element]) -> Option<TensorInfo> {
    let ValueType::Tensor { ty, shape, dimension_symbols } = outlet.dtype() else { return None };
    let element = match ty {
        TensorElementType::Float32 => Element::Float,
        TensorElementType::Uint8 => Element::Uint8,
        _ => return None,
    };
    let dim = |(&size, symbol): (&i64, &String)| match usize::try_from(size) {
        Ok(size) => Dim::Fixed(size),
        Err(_) => Dim::Symbol(symbol.clone()),
    };
    let shape = shape.iter().zip(dimension_symbols.iter()).map(dim).collect();
    let info = TensorInfo { name: outlet.name().into(), element, shape };
    elements.contains(&element).then_some(info)
}

/// Whether a tensor of these sizes is one of this shape: dimensions with names are of any size.
pub(crate) fn fits(shape: &[Dim], sizes: &[usize]) -> bool {
    let fit = |(dim, size): (&Dim, &usize)| matches!(dim, Dim::Symbol(_)) || *dim == Dim::Fixed(*size);
    shape.len() == sizes.len() && shape.iter().zip(sizes).all(fit)
}

/// `floats` or `bytes`.
pub(crate) fn kind(element: Element) -> &'static str {
    if element == Element::Uint8 { "bytes" } else { "floats" }
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
