//! Builder of classifiers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::ThreadPool;

use super::Classifier;
use super::card::card_of;
use crate::assume::{Assumptions, Resolved, number};
use crate::device::Device;
use crate::error::{Error, ErrorKind, ModelError, Result};
use crate::preprocess::Preprocessor;
use crate::scores::Scores;
use crate::session::{Optimization, Options, Session};

/// Builder of a [`Classifier`], made by [`Classifier::builder`].
#[derive(Debug, Clone)]
pub struct ClassifierBuilder {
    session: Options,
    assumptions: Assumptions,
    threshold: Option<f32>,
    top_k: usize,
    batch: usize,
}

impl Default for ClassifierBuilder {
    fn default() -> Self {
        let (session, assumptions) = (Options::default(), Assumptions::default());
        Self { session, assumptions, threshold: None, top_k: 5, batch: 8 }
    }
}

impl ClassifierBuilder {
    /// Sets all options of the session at once.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.session = options;
        self
    }

    /// Sets labels and preprocessing of a model without a card. A model with a card refuses them.
    #[must_use]
    pub fn assume(mut self, assumptions: Assumptions) -> Self {
        self.assumptions = assumptions;
        self
    }

    /// Sets the probability from which a class is selected, of a model with several labels an image; its card's, else 0.5,
    /// by default. A model whose classes exclude each other refuses it.
    #[must_use]
    pub fn threshold(mut self, threshold: impl Into<Option<f32>>) -> Self {
        self.threshold = threshold.into();
        self
    }

    /// Sets the device of the network; [`Device::Auto`] by default.
    #[must_use]
    pub fn device(mut self, device: Device) -> Self {
        self.session.device = device;
        self
    }

    /// Sets the number of threads, of the network and for decoding; by default one per core, at most as many as the CPU
    /// quota and the affinity of the process allow.
    #[must_use]
    pub fn threads(mut self, threads: impl Into<Option<usize>>) -> Self {
        self.session.threads = threads.into();
        self
    }

    /// Sets the optimization of the network. For a handful of images, [`Optimization::Quick`] is done sooner.
    #[must_use]
    pub fn optimization(mut self, optimization: Optimization) -> Self {
        self.session.optimization = optimization;
        self
    }

    /// Sets ONNX Runtime's library or its folder; searched for by default, see [`runtime`](crate::runtime).
    #[must_use]
    pub fn runtime(mut self, path: impl Into<PathBuf>) -> Self {
        self.session.runtime = Some(path.into());
        self
    }

    /// Sets the number of classes in a result, 5 by default; a model with fewer gives all of them.
    #[must_use]
    pub fn top_k(mut self, top_k: usize) -> Self {
        self.top_k = top_k;
        self
    }

    /// Sets the batch size of [`Classifier::classify_files`], at least 1; 8 by default.
    #[must_use]
    pub fn batch(mut self, batch: usize) -> Self {
        self.batch = batch.max(1);
        self
    }

    /// Loads the model file at `path`.
    ///
    /// # Errors
    /// Those of [`Session::from_file`]; [`Model`](ErrorKind::Model) when the file has a card that does not fit its
    /// network, or none and too little is [assumed](Self::assume); [`Threads`](ErrorKind::Threads).
    pub fn load(self, path: impl AsRef<Path>) -> Result<Classifier> {
        let path = path.as_ref();
        let session = Session::from_file(path, &self.session)?;
        let threads = self.session.threads.unwrap_or(0);
        let pool =
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(ErrorKind::Threads)?;
        self.build(session, path, Arc::new(pool))
    }

    /// Builds a classifier on the session of the file at `path`, which prepares images on the threads of `pool`.
    ///
    /// # Errors
    /// Those of [`load`](Self::load) about the card.
    pub(crate) fn build(self, session: Session, path: &Path, pool: Arc<ThreadPool>) -> Result<Classifier> {
        let Resolved { card, mut assumed, one_by_one } =
            card_of(&session, &self.assumptions).map_err(|error| error.at_model(path))?;
        let scores = Scores::new(&card, &session, self.threshold);
        if let Some(threshold) = self.threshold {
            if !scores.is_multi_label() {
                return Err(Error::from(ModelError::Threshold).at(path));
            }
            if let Some(usual) = assumed.iter_mut().find(|assumed| assumed.what == "threshold") {
                (usual.value, usual.source) = (number(threshold), "given".into());
            }
        }
        Ok(Classifier {
            preprocessor: Arc::new(Preprocessor::new(&card.preprocessing)),
            session,
            card,
            pool,
            scores,
            one_by_one,
            assumed: (!assumed.is_empty()).then(|| assumed.into()),
            top_k: self.top_k,
            batch: self.batch,
        })
    }
}
