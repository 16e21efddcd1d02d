//! Construction of a session from a model file.

use std::ffi::c_char;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path};

use ferronnx_models::onnx::external_data::{ExternalDataError, Loaded, Separated};
use ferronnx_models::onnx::fuse::{self, Fusion};
use ferronnx_models::onnx::{self, TensorInfo, passes};
use ort::AsPointer;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use super::{Optimization, Options, embedding, graph_policy, quantized};
use crate::attention::{AttentionKernels, kernel, operator};
use crate::device::{CudaGraphs, Provider};
use crate::error::{Error, Result};
use crate::ffi::{advise_huge_pages, check};

/// Session setting that makes ONNX Runtime use weights in memory without copying them.
const IN_PLACE: &str = "session.use_external_initializer_file_buffers_directly";

/// Source of a session: a file, or its content, with the file's path if there is one.
#[derive(Debug, Clone, Copy)]
pub(super) enum Model<'a> {
    File(&'a Path),
    Bytes(&'a [u8], Option<&'a Path>),
}

/// Session with the weights that it reads in place.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) session: Session,
    /// Report on fused attention; empty where the file was not looked into.
    pub(super) fusion: Fusion,
    /// Weights that `session` uses in place, so that they must live as long.
    pub(super) weights: Option<Vec<u8>>,
    /// Input of the file, if the graph that runs has another.
    pub(super) file_input: Option<TensorInfo>,
}

impl Built {
    fn whole(session: Session) -> Self {
        Self { session, fusion: Fusion::default(), weights: None, file_input: None }
    }
}

/// Model in the form that a session is built from.
pub(super) struct Prepared<'a> {
    form: Form<'a>,
    /// Reason why its passes are not recorded as CUDA graphs unless that is asked for.
    pub(super) obstacle: Option<String>,
    /// Note that another form of the network would be faster.
    pub(super) note: Option<String>,
}

enum Form<'a> {
    /// Graph and weights apart, with attention fused.
    Separated(Separated, Fusion),
    /// Content of a file whose graph is another than that of the model's file, and the input of that one if it differs.
    Changed(Vec<u8>, Option<TensorInfo>),
    /// The file as it is.
    Whole(Model<'a>),
}

impl Prepared<'_> {
    /// Use of CUDA graphs that the session is built for.
    pub(super) fn graphs(&self, asked: CudaGraphs) -> CudaGraphs {
        if asked == CudaGraphs::Auto && self.obstacle.is_some() { CudaGraphs::Off } else { asked }
    }

    /// Builds the session.
    pub(super) fn commit(self, mut builder: SessionBuilder, options: &Options) -> ort::Result<Built> {
        match self.form {
            Form::Separated(parts, fusion) => commit_separated(builder, parts, fusion, options.optimization),
            Form::Changed(file, file_input) => {
                let session = builder.commit_from_memory(&file)?;
                Ok(Built { file_input, ..Built::whole(session) })
            }
            Form::Whole(Model::File(path)) => Ok(Built::whole(builder.commit_from_file(path)?)),
            Form::Whole(Model::Bytes(bytes, _)) => Ok(Built::whole(builder.commit_from_memory(bytes)?)),
        }
    }
}

impl<'a> Model<'a> {
    /// Prepares the model for a session with `provider`.
    ///
    /// On the CPU a session gets graph and weights separately, which saves copies. On a GPU it gets the file, unless images
    /// are to be normalised there or 8 bits to become halves. Where a file cannot be read or changed, ONNX Runtime reads it
    /// itself and reports what is wrong with it.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(super) fn prepared(self, provider: Provider, options: &Options) -> Result<Prepared<'a>> {
        let whole = Form::Whole(self);
        match provider {
            Provider::Cpu => {
                let parts = self.separated(self.content()?, options.attention).ok();
                let form = parts.map_or(whole, |(parts, fusion)| Form::Separated(parts, fusion));
                Ok(Prepared { form, obstacle: None, note: None })
            }
            Provider::Cuda(_) => {
                let Ok(mut loaded) = Loaded::read(self.content()?, |name| self.beside(name)) else {
                    let obstacle = Some("the graph cannot be read".into());
                    return Ok(Prepared { form: whole, obstacle, note: None });
                };
                let obstacle = graph_policy::obstacle(&loaded.model);
                let can_change = fits_in_a_file(&loaded.model);
                let halves = can_change && options.halves;
                let halved = if halves { quantized::in_halves(&loaded.model) } else { None };
                let is_halved = halved.is_some();
                let note =
                    if is_halved { Some(quantized::HALVED.into()) } else { quantized::note(&loaded.model) };
                loaded.model = halved.unwrap_or(loaded.model);
                let embed = can_change && options.bytes;
                let input = if embed { embedding::embed(&mut loaded.model) } else { None };
                let form = match is_halved || input.is_some() {
                    true => Form::Changed(loaded.model.encode(), input),
                    false => whole,
                };
                Ok(Prepared { form, obstacle, note })
            }
        }
    }

    /// Separates graph and weights of the file `content`, and fuses attention.
    ///
    /// # Errors
    /// [`ExternalDataError`] when they cannot be separated.
    fn separated(
        self,
        content: Vec<u8>,
        attention: AttentionKernels,
    ) -> std::result::Result<(Separated, Fusion), ExternalDataError> {
        let mut loaded = Loaded::read(content, |name| self.beside(name))?;
        passes::replace_zip_maps(&mut loaded.model);
        let fused = |kinds| fuse::attention(&mut loaded.model, kinds, kernel::LANES);
        let fusion = attention.kinds().map(fused).unwrap_or_default();
        Ok((loaded.separate()?, fusion))
    }

    fn content(self) -> Result<Vec<u8>> {
        match self {
            Self::File(path) => read(path),
            Self::Bytes(bytes, _) => Ok(bytes.to_vec()),
        }
    }

    /// Reads a file that the model names, if it lies in the model's folder or below.
    fn beside(self, name: &str) -> Option<Vec<u8>> {
        let (Self::File(path) | Self::Bytes(_, Some(path))) = self else { return None };
        let name = Path::new(name);
        let below = name.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        below.then(|| read_whole(&path.with_file_name("").join(name)).ok()).flatten()
    }
}

/// True if the model can be encoded in memory: a file of Protocol Buffers ends at 2 GB.
fn fits_in_a_file(model: &onnx::Model) -> bool {
    /// Largest number of values, as floats a gigabyte.
    const LARGEST: i64 = 1 << 28;
    let values = model.graph.initializers.values().map(|tensor| tensor.dims().iter().product::<i64>());
    values.sum::<i64>() <= LARGEST
}

/// Reads a file into memory with huge pages where the system has them: mapping thousands of small pages takes as long as
/// reading.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    read_whole(path).map_err(|error| Error::io(path, error))
}

fn read_whole(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let size = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    let mut content = Vec::new();
    content.try_reserve_exact(size + 1)?; // one byte more, so that the end is noticed without growing
    advise_huge_pages(content.spare_capacity_mut());
    file.read_to_end(&mut content)?;
    Ok(content)
}

fn commit_separated(
    builder: SessionBuilder,
    parts: Separated,
    fusion: Fusion,
    optimization: Optimization,
) -> ort::Result<Built> {
    let Separated { graph, half, location, weights } = parts;
    let level = match optimization {
        Optimization::Quick => GraphOptimizationLevel::Level2,
        // Only the last level converts half-precision weights to floats once instead of in every pass. For other models
        // it takes twice the time and changes nothing.
        Optimization::Full if half => GraphOptimizationLevel::All,
        Optimization::Full => GraphOptimizationLevel::Level3,
    };
    let mut builder = builder.with_optimization_level(level)?.with_config_entry(IN_PLACE, "1")?;
    if !fusion.fused.is_empty() {
        builder = builder.with_operators(operator::domain()?)?;
    }
    lend(&mut builder, location, &weights)?;
    let session = builder.commit_from_memory(&graph)?;
    Ok(Built { session, fusion, weights: Some(weights), file_input: None })
}

/// Registers `weights` as the content of the file `location`, without copying them.
///
/// `ort` offers this for an `Arc<[u8]>` only, into which a file cannot be read without a copy.
fn lend(builder: &mut SessionBuilder, location: &str, weights: &[u8]) -> ort::Result<()> {
    // The name is ASCII, so each byte is a character of a path on every system.
    let name: Vec<_> = location.bytes().chain([0]).map(|byte| byte as ort::sys::os_char).collect();
    let (name, start, length) = (name.as_ptr(), weights.as_ptr().cast::<c_char>().cast_mut(), weights.len());
    // SAFETY: all three arrays have one element. The name ends with a zero and is copied. The weights are only read, and
    // only while the session lives: `commit_detached` returns them with it, and `Session` drops them after it.
    unsafe {
        let add = ort::api().AddExternalInitializersFromMemory;
        check(add(builder.ptr_mut(), &name, &start, &length, 1))
    }
}
