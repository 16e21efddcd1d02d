//! Sessions, which run any ONNX model that has one input of floats or bytes.

mod error;
mod input;
mod io_binding;
mod model;
mod options;
mod placement;
mod threads;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ferronnx_models::onnx::fuse::Fusion;
use ferronnx_models::onnx::{Dim, Element, TensorInfo};
use ferronnx_models::tolerance::Arithmetic;
use half::f16;
use indexmap::IndexMap;
use ndarray::ArrayD;
use ort::memory::AllocationDevice;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{OutputSelector, RunOptions, Session as OrtSession};
use ort::value::{DynValue, TensorElementType};

use crate::device::{self, Device, DeviceError, Provider};
use crate::error::{Error, ErrorKind, ModelError, OrtError, Result};
use crate::files;
use crate::runtime::{self, Runtime};
pub use error::SessionError;
pub use input::Input;
use input::interface;
pub(crate) use input::{describe, fits, kind};
use io_binding::BoundTensors;
use model::{Built, Model};
pub use options::{Optimization, Options};
#[cfg(any(feature = "bench", feature = "serve"))]
pub(crate) use threads::default_threads;
use threads::limited_threads;

/// Model that is ready to run, from any thread: passes take turns, each on all threads of the session.
#[derive(Debug)]
pub struct Session {
    session: Mutex<OrtSession>,
    /// Weights that the session reads in place. Fields are dropped in order, so they outlive it.
    _weights: Option<Vec<u8>>,
    fusion: Fusion,
    /// Memory of CUDA graphs by batch size; none where no graphs are recorded.
    bound: Option<Mutex<HashMap<usize, BoundTensors>>>,
    input: TensorInfo,
    outputs: Vec<TensorInfo>,
    provider: Provider,
    arithmetic: Arithmetic,
    warning: Option<String>,
    /// File of the model; none if it was in memory.
    path: Option<PathBuf>,
}

impl Session {
    /// Builds a session for the model file at `path`.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound), [`Io`](ErrorKind::Io), [`Runtime`](ErrorKind::Runtime),
    /// [`Device`](ErrorKind::Device), or [`Model`](ErrorKind::Model) when the file is not an ONNX model with a single
    /// input of floats or bytes and an output of floats.
    pub fn from_file(path: impl AsRef<Path>, options: &Options) -> Result<Self> {
        let path = path.as_ref();
        let size = size(path)?;
        let session = Self::build(Model::File(path), size, options).map_err(|error| error.at_model(path))?;
        Ok(Self { path: Some(path.into()), ..session })
    }

    /// Builds a session for the model in `bytes`, the content of a file.
    ///
    /// # Errors
    /// Those of [`from_file`](Self::from_file), without a path.
    pub fn from_bytes(bytes: &[u8], options: &Options) -> Result<Self> {
        Self::build(Model::Bytes(bytes, None), bytes.len() as u64, options)
    }

    /// Builds a session for the model file at `path`, whose content has been read; other files are found beside it.
    ///
    /// # Errors
    /// Those of [`from_file`](Self::from_file).
    pub fn from_content(path: &Path, content: &[u8], options: &Options) -> Result<Self> {
        let model = Model::Bytes(content, Some(path));
        let session = Self::build(model, content.len() as u64, options);
        Ok(Self { path: Some(path.into()), ..session.map_err(|error| error.at_model(path))? })
    }

    fn build(model: Model<'_>, size: u64, options: &Options) -> Result<Self> {
        let runtime = runtime::load(options.runtime.as_deref())?;
        let on = |provider| Self::on(provider, runtime, model, size, options);
        match options.device {
            Device::Cpu => on(Provider::Cpu),
            Device::Cuda(index) => on(Provider::Cuda(index)),
            // Nobody expects a GPU of a library that was built without CUDA, so there is no warning.
            Device::Auto if !device::has_cuda() => on(Provider::Cpu),
            Device::Auto => on(Provider::Cuda(0)).or_else(|error| match error.kind() {
                ErrorKind::Device { source, .. } => {
                    let warning = Some(format!("using the CPU, not CUDA: {source}"));
                    Ok(Self { warning, ..on(Provider::Cpu)? })
                }
                _ => Err(error),
            }),
        }
    }

    fn on(
        provider: Provider,
        runtime: &Runtime,
        model: Model<'_>,
        size: u64,
        options: &Options,
    ) -> Result<Self> {
        let mut builder = configured(runtime, options).map_err(SessionError::from)?;
        if matches!(provider, Provider::Cuda(_)) {
            device::preload_cuda(runtime.path());
        }
        provider.register(&mut builder, &options.cuda)?;
        let built = model.commit(builder, provider, options)?;
        let Built { session, fusion, weights } =
            built.map_err(|error| commit_error(provider, size, error.into()))?;
        let (input, outputs) = interface(&session)?;
        // Bound tensors are 32-bit floats or bytes, as in the files that are exported here.
        let is_plain = |info: &TensorInfo| matches!(info.element, Element::Float | Element::Uint8);
        let bindable = is_plain(&input) && outputs.iter().all(is_plain);
        let is_cuda = matches!(provider, Provider::Cuda(_));
        let bound = (options.cuda.graphs && is_cuda && bindable).then(Mutex::default);
        Ok(Self {
            session: Mutex::new(session),
            _weights: weights,
            fusion,
            bound,
            input,
            outputs,
            provider,
            arithmetic: provider.arithmetic(&options.cuda),
            warning: None,
            path: None,
        })
    }

    /// Runs the model and returns its first output.
    ///
    /// # Errors
    /// [`Session`](ErrorKind::Session) when type or shape of `input` are not the model's, or ONNX Runtime fails.
    pub fn run<'a>(&self, input: impl Into<Input<'a>>) -> Result<ArrayD<f32>> {
        Ok(self.pass(&input.into(), &[&self.outputs[0].name])?.remove(0))
    }

    /// Runs the model and returns its float outputs of these names; whatever only others need is not computed.
    ///
    /// # Errors
    /// Those of [`run`](Self::run), and [`Session`](ErrorKind::Session) when there is no such output.
    pub fn fetch<'a>(&self, input: impl Into<Input<'a>>, outputs: &[&str]) -> Result<Vec<ArrayD<f32>>> {
        Ok(self.pass(&input.into(), outputs)?)
    }

    /// Runs the model and returns outputs; the error is one that can be copied for every image of a batch.
    pub(crate) fn pass(
        &self,
        input: &Input<'_>,
        outputs: &[&str],
    ) -> std::result::Result<Vec<ArrayD<f32>>, SessionError> {
        self.check(input)?;
        let known = |name: &&&str| self.outputs.iter().any(|output| output.name == **name);
        if let Some(name) = outputs.iter().find(|name| !known(name)) {
            return Err(SessionError::NoOutput((*name).into()));
        }
        Ok(match &self.bound {
            Some(bound) => self.replay(bound, input, outputs)?,
            None => self.run_once(input, outputs)?,
        })
    }

    /// Runs a pass over tensors that are made for it.
    fn run_once(&self, input: &Input<'_>, outputs: &[&str]) -> ort::Result<Vec<ArrayD<f32>>> {
        let wanted = outputs.iter().fold(OutputSelector::no_default(), |wanted, name| wanted.with(*name));
        let options = RunOptions::new()?.with_outputs(wanted);
        input.with_tensor(self.input.element, |value| {
            let inputs = ort::inputs![self.input.name.as_str() => value];
            let mut session = self.lock();
            let results = session.run_with_options(inputs, &options)?;
            outputs.iter().map(|name| floats_of(&results[*name])).collect()
        })
    }

    /// Runs a pass by the CUDA graph for its batch size, which the first pass of that size records.
    fn replay(
        &self,
        bound: &Mutex<HashMap<usize, BoundTensors>>,
        input: &Input<'_>,
        outputs: &[&str],
    ) -> ort::Result<Vec<ArrayD<f32>>> {
        let Provider::Cuda(index) = self.provider else { unreachable!("only CUDA has bound tensors") };
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

    /// Checks that the input has the model's type and shape.
    fn check(&self, input: &Input<'_>) -> std::result::Result<(), SessionError> {
        let TensorInfo { name, element, shape: expected } = &self.input;
        let shape = input.shape();
        if input.kind() == kind(*element) && fits(expected, shape) {
            return Ok(());
        }
        Err(SessionError::Input {
            name: name.clone(),
            takes: format!("{} {}", kind(*element), describe(expected)),
            given: format!("{} {shape:?}", input.kind()),
        })
    }

    /// Locks the session. A panic of another thread does not matter: it leaves the session as it was.
    fn lock(&self) -> MutexGuard<'_, OrtSession> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Execution provider by ONNX Runtime's name: `CPUExecutionProvider` or `CUDAExecutionProvider`.
    pub fn provider(&self) -> &'static str {
        self.provider.name()
    }

    /// Arithmetic of convolutions and matrix products over 32-bit floats.
    pub fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
    }

    /// Report on attention: which blocks run as one operator, and why others do not.
    pub fn fusion(&self) -> &Fusion {
        &self.fusion
    }

    /// Reason why [`Device::Auto`] fell back to the CPU, for the user to see.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Number of operators that each provider runs.
    ///
    /// # Errors
    /// [`Session`](ErrorKind::Session) unless the session was built with [`Options::placement`].
    pub fn placement(&self) -> Result<IndexMap<String, usize>> {
        Ok(placement::of(&self.lock()).map_err(SessionError::from)?)
    }

    /// Name, type and shape of the input.
    pub fn input(&self) -> &TensorInfo {
        &self.input
    }

    /// Batch size of a model that takes no other.
    pub(crate) fn fixed_batch(&self) -> Option<usize> {
        match self.input.shape.first() {
            Some(Dim::Fixed(size)) => Some((*size).max(1)),
            _ => None,
        }
    }

    /// Outputs that are float tensors, of 32 bits or converted to them; [`run`](Self::run) returns the first.
    pub fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    /// File of the model; none if it was in memory.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Value of `key` in the file's metadata.
    pub fn metadata(&self, key: &str) -> Option<String> {
        self.lock().metadata().ok()?.custom(key)
    }
}

/// Reads the model file at `path`.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    size(path)?;
    model::read(path)
}

/// Size of the file at `path`, in bytes, after a check that it can be read: ONNX Runtime only says that parsing failed.
fn size(path: &Path) -> Result<u64> {
    let metadata = files::metadata(path)?;
    if metadata.is_dir() {
        return Err(Error::from(ModelError::Folder).at(path));
    }
    fs::File::open(path).map_err(|error| Error::io(path, error))?;
    Ok(metadata.len())
}

fn configured(runtime: &Runtime, options: &Options) -> ort::Result<SessionBuilder> {
    let builder = OrtSession::builder(&runtime.environment)?
        .with_optimization_level(GraphOptimizationLevel::Level3)?
        .with_intra_op_spinning(options.spinning)?
        .with_inter_op_spinning(false)?;
    let builder = match options.threads.or_else(limited_threads) {
        Some(threads) => builder.with_intra_threads(threads)?,
        None => builder,
    };
    Ok(match options.placement {
        true => builder.with_config_entry(placement::KEY, "1")?,
        false => builder,
    })
}

/// Copies the floats of a tensor at once; `ndarray`'s own conversion goes value by value.
fn floats_of(value: &DynValue) -> ort::Result<ArrayD<f32>> {
    let (shape, values) = match value.dtype().tensor_type() {
        Some(TensorElementType::Float16) => {
            let (shape, values) = value.try_extract_tensor::<f16>()?;
            (shape, values.iter().map(|value| value.to_f32()).collect())
        }
        Some(TensorElementType::Float64) => {
            let (shape, values) = value.try_extract_tensor::<f64>()?;
            (shape, values.iter().map(|&value| value as f32).collect())
        }
        _ => {
            let (shape, values) = value.try_extract_tensor::<f32>()?;
            (shape, values.to_vec())
        }
    };
    let shape: Vec<usize> = shape.iter().map(|&size| size as usize).collect();
    ArrayD::from_shape_vec(shape, values).map_err(ort::Error::wrap)
}

/// Converts a failure to build a session.
///
/// The text tells the failures apart: ONNX Runtime's code is the same for those of CUDA.
fn commit_error(provider: Provider, size: u64, error: OrtError) -> Error {
    match provider {
        Provider::Cuda(index) if is_about_cuda(error.message()) => device::cuda_error(index, error),
        _ if error.message().contains("rotobuf parsing failed")
            || error.message().contains("No graph was found") =>
        {
            ModelError::NotOnnx { bytes: size }.into()
        }
        _ => ModelError::Refused(error.without_path()).into(),
    }
}

/// Tells whether a failure to build a session is about the device, not the model.
fn is_about_cuda(message: &str) -> bool {
    ["CUDA failure", "CUDNN failure", "CUBLAS failure"].iter().any(|text| message.contains(text))
        || DeviceError::recognise(message).is_some()
}
