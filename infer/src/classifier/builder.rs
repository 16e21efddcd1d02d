//! Builder of classifiers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferronnx_models::card::ModelCard;
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
    batch: Option<usize>,
}

impl Default for ClassifierBuilder {
    fn default() -> Self {
        let (session, assumptions) = (Options::default(), Assumptions::default());
        Self { session, assumptions, threshold: None, top_k: 5, batch: None }
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

    /// Sets the batch size of [`Classifier::classify_files`], at least 1; by default 8 on the CPU, and on a GPU 256, or 64
    /// where images are larger than 64x64.
    #[must_use]
    pub fn batch(mut self, batch: impl Into<Option<usize>>) -> Self {
        self.batch = batch.into();
        self
    }

    /// Options of the session.
    pub(crate) fn session_options(&self) -> &Options {
        &self.session
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
            batch: self.batch.map_or_else(|| default_batch(session.is_cuda(), &card), |batch| batch.max(1)),
            session,
            card,
            pool,
            scores,
            one_by_one,
            assumed: (!assumed.is_empty()).then(|| assumed.into()),
            top_k: self.top_k,
        })
    }
}

/// Batch size unless one is set. A GPU computes many images in little more time than one; on the CPU, more than a few at
/// once only take more memory.
fn default_batch(is_cuda: bool, card: &ModelCard) -> usize {
    let size = card.preprocessing.crop;
    match (is_cuda, size.height.max(size.width)) {
        (false, _) => 8,
        (true, ..=64) => 256,
        (true, _) => 64,
    }
}

#[cfg(test)]
mod tests {
    use ferronnx_models::card::{Preprocessing, Provenance};

    use super::*;

    #[test]
    fn the_batch_size_follows_device_and_image_size() {
        let sizes = |cuda| {
            [32, 64, 65, 224].map(|size| {
                let provenance = Provenance {
                    producer: "test".into(),
                    engine: "none".into(),
                    created: "2026-01-01".into(),
                };
                let preprocessing = Preprocessing::for_size(size);
                default_batch(cuda, &ModelCard::new(vec!["a".into(), "b".into()], preprocessing, provenance))
            })
        };
        assert_eq!(sizes(false), [8; 4]);
        assert_eq!(sizes(true), [256, 256, 64, 64]);
    }
}
