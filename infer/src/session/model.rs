//! A model's file on its way into a session.

use std::path::Path;
use std::sync::Arc;

use models::onnx::{self, Detached};
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use super::{Optimization, read};
use crate::device::Provider;
use crate::error::Result;

/// ONNX Runtime's setting by which weights in memory are used where they lie.
const IN_PLACE: &str = "session.use_external_initializer_file_buffers_directly";

/// What a session is built from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Model<'a> {
    File(&'a Path),
    Bytes(&'a [u8]),
}

/// A session, and the weights that it reads.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) session: Session,
    /// Whatever `session` uses in place: it has to live as long.
    pub(super) weights: Option<Arc<[u8]>>,
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
        optimization: Optimization,
    ) -> Result<ort::Result<Built>> {
        let detached = match provider {
            Provider::Cpu => onnx::detach(self.content()?),
            Provider::Cuda(_) => None,
        };
        let commit = || match (detached, self) {
            (Some(detached), _) => commit_detached(builder, detached, optimization),
            (None, Self::File(path)) => Ok(Built { session: builder.commit_from_file(path)?, weights: None }),
            (None, Self::Bytes(bytes)) => {
                Ok(Built { session: builder.commit_from_memory(bytes)?, weights: None })
            }
        };
        Ok(commit())
    }

    fn content(self) -> Result<Vec<u8>> {
        match self {
            Self::File(path) => read(path),
            Self::Bytes(bytes) => Ok(bytes.to_vec()),
        }
    }
}

fn commit_detached(
    builder: SessionBuilder,
    detached: Detached,
    optimization: Optimization,
) -> ort::Result<Built> {
    let Detached { graph, half, location, weights } = detached;
    let level = match optimization {
        Optimization::Quick => GraphOptimizationLevel::Level2,
        // Only the last level makes floats of half-precision weights once and for all; for others it takes twice the
        // time and changes nothing.
        Optimization::Full if half => GraphOptimizationLevel::All,
        Optimization::Full => GraphOptimizationLevel::Level3,
    };
    let mut builder = builder
        .with_optimization_level(level)?
        .with_external_initializer_file_in_memory(location, weights.clone())?
        .with_config_entry(IN_PLACE, "1")?;
    let session = builder.commit_from_memory(&graph)?;
    Ok(Built { session, weights: Some(weights) })
}
