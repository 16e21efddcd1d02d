//! Sessions, which run any ONNX model that has one input of floats or bytes.

mod device_memory;
mod embedding;
mod error;
mod graph_policy;
mod input;
mod io_binding;
mod model;
mod options;
mod placement;
mod quantized;
mod startup;
mod threads;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ferronnx_models::card::InputForm;
use ferronnx_models::onnx::fuse::Fusion;
use ferronnx_models::onnx::{Dim, TensorInfo};
use ferronnx_models::tolerance::Arithmetic;
use half::f16;
use indexmap::IndexMap;
use ndarray::ArrayD;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{OutputSelector, RunOptions, Session as OrtSession};
use ort::value::{DynValue, TensorElementType};

use crate::device::{self, CudaGraphs, CudaOptions, Device, DeviceError, Provider};
use crate::error::{Error, ErrorKind, ModelError, OrtError, Result, chain};
use crate::files;
use crate::runtime::{self, Runtime};
use device_memory::DeviceMemory;
pub use error::SessionError;
use graph_policy::GraphPolicy;
pub use input::Input;
use input::interface;
pub(crate) use input::{describe, fits, kind};
use io_binding::BoundPasses;
use model::{Built, Model};
pub use options::{Optimization, Options};
pub use startup::Startup;
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
    /// Passes over tensors with a fixed address, on a GPU; none on the CPU, and where sizes are not known.
    bound: Option<Mutex<BoundPasses>>,
    /// Input as the file has it.
    input: TensorInfo,
    /// Input of the graph that runs, if that is another: bytes, which the device normalises.
    bytes: Option<TensorInfo>,
    outputs: Vec<TensorInfo>,
    provider: Provider,
    arithmetic: Arithmetic,
    warning: Option<String>,
    note: Option<String>,
    startup: Startup,
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
        let started = Instant::now();
        let runtime = runtime::load(options.runtime.as_deref())?;
        let loaded = started.elapsed();
        let on = |provider| Self::on(provider, runtime, model, size, options);
        let built = match options.device {
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
        }?;
        let library = loaded + built.startup.library;
        let session = started.elapsed().saturating_sub(library);
        Ok(Self { startup: Startup { library, session }, ..built })
    }

    fn on(
        provider: Provider,
        runtime: &Runtime,
        model: Model<'_>,
        size: u64,
        options: &Options,
    ) -> Result<Self> {
        let built = Self::built(provider, runtime, model, size, options);
        match built {
            // ONNX Runtime refuses to build a session with graphs where an operator is left on the CPU.
            Err(error) if may_retry(provider, &options.cuda, &error) => {
                let cuda = CudaOptions { graphs: CudaGraphs::Off, ..options.cuda };
                let session = Self::built(provider, runtime, model, size, &options.clone().cuda(cuda))?;
                if let Some(bound) = &session.bound {
                    let reason = "not every operator runs on the GPU".into();
                    bound
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .refuse_graphs(options.cuda.graphs, reason);
                }
                Ok(session)
            }
            built => built,
        }
    }

    fn built(
        provider: Provider,
        runtime: &Runtime,
        model: Model<'_>,
        size: u64,
        options: &Options,
    ) -> Result<Self> {
        let mut builder = configured(runtime, options).map_err(SessionError::from)?;
        let mut library = Duration::ZERO;
        if matches!(provider, Provider::Cuda(_)) {
            let started = Instant::now();
            device::preload_cuda(runtime.path());
            library += started.elapsed();
        }
        let prepared = model.prepared(provider, options)?;
        let cuda = CudaOptions { graphs: prepared.graphs(options.cuda.graphs), ..options.cuda };
        let started = Instant::now();
        provider.register(&mut builder, &cuda)?;
        library += started.elapsed();
        let (obstacle, note) = (prepared.obstacle.clone(), prepared.note.clone());
        let built = prepared.commit(builder, options);
        let Built { session, fusion, weights, file_input } =
            built.map_err(|error| commit_error(provider, size, error.into()))?;
        let (graph_input, outputs) = interface(&session)?;
        let bindable = io_binding::is_bindable(&graph_input, &outputs);
        let bound = match provider {
            Provider::Cuda(index) if bindable => {
                let memory = DeviceMemory::cuda(index).map_err(SessionError::from)?;
                Some(Mutex::new(BoundPasses::new(memory, GraphPolicy::new(options.cuda.graphs, obstacle))))
            }
            _ => None,
        };
        let (input, bytes) = match file_input {
            Some(input) => (input, Some(graph_input)),
            None => (graph_input, None),
        };
        Ok(Self {
            session: Mutex::new(session),
            _weights: weights,
            fusion,
            bound,
            input,
            bytes,
            outputs,
            provider,
            arithmetic: provider.arithmetic(&options.cuda),
            warning: None,
            note,
            startup: Startup { library, session: Duration::ZERO },
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
        let place = |name: &&str| {
            let place = self.outputs.iter().position(|output| output.name == *name);
            place.ok_or_else(|| SessionError::NoOutput((*name).into()))
        };
        let wanted: Vec<_> = outputs.iter().map(place).collect::<std::result::Result<_, _>>()?;
        let distinct = wanted.iter().enumerate().all(|(at, place)| !wanted[..at].contains(place));
        Ok(match &self.bound {
            Some(bound) if input.shape()[0] > 0 && distinct => {
                let mut session = self.lock();
                let mut bound = bound.lock().unwrap_or_else(PoisonError::into_inner);
                bound.run(&mut session, input, self.graph_input(), &self.outputs, &wanted)?
            }
            _ => self.run_once(input, outputs)?,
        })
    }

    /// Runs a pass over tensors that are made for it.
    fn run_once(&self, input: &Input<'_>, outputs: &[&str]) -> ort::Result<Vec<ArrayD<f32>>> {
        let wanted = outputs.iter().fold(OutputSelector::no_default(), |wanted, name| wanted.with(*name));
        let mut options = RunOptions::new()?;
        options.set(io_binding::GRAPH, io_binding::NO_GRAPH)?;
        let options = options.with_outputs(wanted);
        let TensorInfo { name, element, .. } = self.graph_input();
        input.with_tensor(*element, |value| {
            let inputs = ort::inputs![name.as_str() => value];
            let mut session = self.lock();
            let results = session.run_with_options(inputs, &options)?;
            outputs.iter().map(|name| floats_of(&results[*name])).collect()
        })
    }

    /// Checks that the input has the model's type and shape.
    fn check(&self, input: &Input<'_>) -> std::result::Result<(), SessionError> {
        let TensorInfo { name, element, shape: expected } = self.graph_input();
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

    /// Tells whether the network runs on a GPU.
    pub(crate) fn is_cuda(&self) -> bool {
        matches!(self.provider, Provider::Cuda(_))
    }

    /// Report on attention: which blocks run as one operator, and why others do not.
    pub fn fusion(&self) -> &Fusion {
        &self.fusion
    }

    /// Reason why [`Device::Auto`] fell back to the CPU, for the user to see.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Note on the form of the network on this device, for the user to see: that another is computed or would be faster.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Times of the steps that built this session.
    pub fn startup(&self) -> Startup {
        self.startup
    }

    /// Number of operators that each provider runs.
    ///
    /// # Errors
    /// [`Session`](ErrorKind::Session) unless the session was built with [`Options::placement`].
    pub fn placement(&self) -> Result<IndexMap<String, usize>> {
        Ok(placement::of(&self.lock()).map_err(SessionError::from)?)
    }

    /// Name, type and shape of the file's input. A session with [`Options::bytes`] may take bytes in its place, see
    /// [`input_form`](Self::input_form).
    pub fn input(&self) -> &TensorInfo {
        &self.input
    }

    /// Form of the images that passes take: bytes where the device normalises them, else that of the file's card, `card`.
    pub fn input_form(&self, card: InputForm) -> InputForm {
        if self.bytes.is_some() { InputForm::Uint8 } else { card }
    }

    /// Input of the graph that runs.
    fn graph_input(&self) -> &TensorInfo {
        self.bytes.as_ref().unwrap_or(&self.input)
    }

    /// Use of CUDA graphs in words: when passes are recorded, or why none are.
    pub fn cuda_graphs(&self) -> String {
        match (&self.bound, self.provider) {
            (_, Provider::Cpu) => "none: the session runs on the CPU".into(),
            (None, _) => "none: sizes of the input or an output are not known before a pass".into(),
            (Some(bound), _) => bound.lock().unwrap_or_else(PoisonError::into_inner).policy().text(),
        }
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
    array(shape, values)
}

fn array(shape: &[i64], values: Vec<f32>) -> ort::Result<ArrayD<f32>> {
    let shape: Vec<usize> = shape.iter().map(|&size| size as usize).collect();
    ArrayD::from_shape_vec(shape, values).map_err(ort::Error::wrap)
}

/// Tells whether a session that failed to build may be built without CUDA graphs, which nobody asked for.
fn may_retry(provider: Provider, options: &CudaOptions, error: &Error) -> bool {
    let is_auto = matches!(provider, Provider::Cuda(_)) && options.graphs == CudaGraphs::Auto;
    is_auto && chain(error).contains("graph capture")
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
