//! A model's file on its way into a session.

use std::ffi::c_char;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path};

use ferronnx_models::onnx::external_data::{ExternalDataError, Loaded, Separated};
use ferronnx_models::onnx::fuse::{self, Fusion};
use ort::AsPointer;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use super::{Optimization, Options};
use crate::attention::{Attention, kernel, operator};
use crate::device::Provider;
use crate::error::{Error, Result};
use crate::ffi::check;

/// ONNX Runtime's setting by which weights in memory are used where they lie.
const IN_PLACE: &str = "session.use_external_initializer_file_buffers_directly";

/// Source of a session: a file, or its content.
#[derive(Debug, Clone, Copy)]
pub(super) enum Model<'a> {
    File(&'a Path),
    Bytes(&'a [u8]),
}

/// A session, and the weights that it reads.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) session: Session,
    /// Attention that was fused; nothing where the file was not looked into.
    pub(super) fusion: Fusion,
    /// Memory that `session` uses in place: it has to live as long.
    pub(super) weights: Option<Vec<u8>>,
}

impl Built {
    fn whole(session: Session) -> Self {
        Self { session, fusion: Fusion::default(), weights: None }
    }
}

impl Model<'_> {
    /// The session.
    ///
    /// On the CPU it is given graph and weights apart, which ONNX Runtime copies less often. Where that cannot be done it
    /// reads the file itself, and says what is wrong with it.
    pub(super) fn commit(
        self,
        mut builder: SessionBuilder,
        provider: Provider,
        options: &Options,
    ) -> Result<ort::Result<Built>> {
        let parts = match provider {
            Provider::Cpu => self.separated(self.content()?, options.attention).ok(),
            Provider::Cuda(_) => None,
        };
        let commit = || match (parts, self) {
            (Some((parts, fusion)), _) => commit_separated(builder, parts, fusion, options.optimization),
            (None, Self::File(path)) => Ok(Built::whole(builder.commit_from_file(path)?)),
            (None, Self::Bytes(bytes)) => Ok(Built::whole(builder.commit_from_memory(bytes)?)),
        };
        Ok(commit())
    }

    /// Graph and weights of the file `content`, and the attention that was fused.
    fn separated(
        self,
        content: Vec<u8>,
        attention: Attention,
    ) -> std::result::Result<(Separated, Fusion), ExternalDataError> {
        let mut loaded = Loaded::read(content, |name| self.beside(name))?;
        let fusion = match attention {
            Attention::Fused => fuse::attention(&mut loaded.model, kernel::LANES),
            Attention::Stock => Fusion::default(),
        };
        Ok((loaded.separate()?, fusion))
    }

    fn content(self) -> Result<Vec<u8>> {
        match self {
            Self::File(path) => read(path),
            Self::Bytes(bytes) => Ok(bytes.to_vec()),
        }
    }

    /// The content of a file that this one names, in its folder or below it.
    fn beside(self, name: &str) -> Option<Vec<u8>> {
        let (Self::File(path), name) = (self, Path::new(name)) else { return None };
        let below = name.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        below.then(|| read_whole(&path.with_file_name("").join(name)).ok()).flatten()
    }
}

/// The file, into memory of large pages where there are some: thousands of small ones take as long as the reading.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    read_whole(path).map_err(|error| Error::io(path, error))
}

fn read_whole(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let size = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    let mut content = Vec::new();
    content.try_reserve_exact(size + 1)?; // the last byte is for noticing the end
    #[cfg(target_os = "linux")]
    {
        use rustix::mm::{Advice, madvise};
        let spare = content.spare_capacity_mut();
        let (start, length) = (spare.as_mut_ptr() as usize, spare.len());
        let first = start.next_multiple_of(rustix::param::page_size());
        if let Some(length) = (start + length).checked_sub(first) {
            // SAFETY: the range is of this allocation, and the advice changes nothing of its content. A refusal is no
            // matter.
            let _ = unsafe { madvise(first as *mut _, length, Advice::LinuxHugepage) };
        }
    }
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
        // Only the last level makes floats of half-precision weights once and for all; for others it takes twice the
        // time and changes nothing.
        Optimization::Full if half => GraphOptimizationLevel::All,
        Optimization::Full => GraphOptimizationLevel::Level3,
    };
    let mut builder = builder.with_optimization_level(level)?.with_config_entry(IN_PLACE, "1")?;
    if !fusion.fused.is_empty() {
        builder = builder.with_operators(operator::domain()?)?;
    }
    lend(&mut builder, location, &weights)?;
    let session = builder.commit_from_memory(&graph)?;
    Ok(Built { session, fusion, weights: Some(weights) })
}

/// Names `weights` as the content of the file `location`. `ort` has this for an `Arc<[u8]>` only, which a file cannot be
/// read into without a copy.
fn lend(builder: &mut SessionBuilder, location: &str, weights: &[u8]) -> ort::Result<()> {
    // ASCII, whatever a path's characters are on this system.
    let name: Vec<_> = location.bytes().chain([0]).map(|byte| byte as ort::sys::os_char).collect();
    let (name, start, length) = (name.as_ptr(), weights.as_ptr().cast::<c_char>().cast_mut(), weights.len());
    // SAFETY: all three arrays have one element, and the name, which is copied, ends with a zero. The weights are only
    // read, for as long as the session lives: `commit_separated` returns them beside it, and `Session` drops them after.
    unsafe {
        let add = ort::api().AddExternalInitializersFromMemory;
        check(add(builder.ptr_mut(), &name, &start, &length, 1))
    }
}
