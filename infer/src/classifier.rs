//! Image classifiers: from images to labels with probabilities.

mod builder;
mod card;
mod observe;
mod pass;

use std::borrow::Borrow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ferronnx_models::card::{Activation, ModelCard};
use image::RgbImage;
use ndarray::ArrayD;
use rayon::ThreadPool;
use rayon::prelude::*;

pub use builder::ClassifierBuilder;
pub(crate) use card::{card_of, read_card};
pub(crate) use pass::pass;

use crate::assume::Assumed;
use crate::error::{DecodeError, Result};
use crate::pipeline::{Input, Pipeline, Prepared, milliseconds};
use crate::preprocess::Preprocessor;
use crate::results::{Classified, Failed, Outcome, Prediction, Timings};
use crate::scores::Scores;
use crate::session::{Session, SessionError};

/// Image classifier: a session with labels and preprocessing, read from the model's card.
///
/// Threads can share it. They prepare images in parallel; passes of the network take turns, each on all threads of the
/// session.
pub struct Classifier {
    session: Session,
    card: ModelCard,
    preprocessor: Arc<Preprocessor>,
    pool: Arc<ThreadPool>,
    scores: Scores,
    assumed: Option<Arc<[Assumed]>>,
    /// True if each image has to be in a batch of its own.
    one_by_one: bool,
    top_k: usize,
    batch: usize,
}

/// Source of an image: a file, or bytes in memory.
#[derive(Debug, Clone)]
pub enum Source {
    /// Path of an image file.
    File(PathBuf),
    /// Content of an image file.
    Bytes {
        /// Name of the image in results and messages.
        path: PathBuf,
        /// Content of the file.
        bytes: Vec<u8>,
    },
}

impl Source {
    /// Name of the image in results and messages: its path.
    pub fn path(&self) -> &Path {
        let (Self::File(path) | Self::Bytes { path, .. }) = self;
        path
    }
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<&Path> for Source {
    fn from(path: &Path) -> Self {
        Self::File(path.into())
    }
}

impl Classifier {
    /// Starts a builder with default options.
    pub fn builder() -> ClassifierBuilder {
        ClassifierBuilder::default()
    }

    /// Loads the model file at `path` with default options.
    ///
    /// # Errors
    /// Those of [`ClassifierBuilder::load`].
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder().load(path)
    }

    /// Sets the number of classes in a result; a model with fewer gives all of them.
    #[must_use]
    pub fn with_top_k(mut self, top_k: usize) -> Self {
        self.top_k = top_k;
        self
    }

    /// Card of the model, with its labels.
    pub fn card(&self) -> &ModelCard {
        &self.card
    }

    /// Assumptions about a model without a card; none for one that has a card.
    pub fn assumed(&self) -> &[Assumed] {
        self.assumed.as_deref().unwrap_or_default()
    }

    /// Step that makes the scores of the network probabilities.
    pub fn activation(&self) -> Activation {
        self.scores.activation()
    }

    /// Tells whether any number of classes is right for an image, not exactly one.
    pub fn is_multi_label(&self) -> bool {
        self.scores.is_multi_label()
    }

    /// Session that runs the network.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Batch size of [`classify_files`](Self::classify_files); a model that takes no other runs its own.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Preprocessing of the model.
    pub fn preprocessor(&self) -> &Preprocessor {
        &self.preprocessor
    }

    /// Preprocessing, for threads that outlive a borrow.
    #[cfg(feature = "serve")]
    pub(crate) fn shared_preprocessor(&self) -> Arc<Preprocessor> {
        self.preprocessor.clone()
    }

    /// Assumptions about a model without a card, for results.
    #[cfg(feature = "serve")]
    pub(crate) fn shared_assumptions(&self) -> Option<Arc<[Assumed]>> {
        self.assumed.clone()
    }

    /// Meaning of the output that has the scores.
    #[cfg(feature = "serve")]
    pub(crate) fn meaning(&self) -> &Scores {
        &self.scores
    }

    /// Largest number of images in a pass: `wanted`, unless the file says otherwise.
    #[cfg(feature = "serve")]
    pub(crate) fn most_together(&self, wanted: usize) -> usize {
        match self.session.fixed_batch() {
            Some(fixed) => fixed,
            None if self.one_by_one => 1,
            None => wanted.max(1),
        }
    }

    /// Classifies one image of any size; returns its classes, most likely first.
    ///
    /// # Errors
    /// [`Decode`](crate::ErrorKind::Decode) when the image has no pixels, [`Session`](crate::ErrorKind::Session) when the
    /// network cannot be run, or its output is not finite.
    pub fn classify(&self, image: &RgbImage) -> Result<Vec<Prediction>> {
        let scores = self.scores(&[&self.prepare(image)?], 0)?;
        Ok(self.predictions(&scores[0])?)
    }

    /// Classifies images of any size in one batch; they are prepared on the classifier's threads.
    ///
    /// # Errors
    /// Those of [`classify`](Self::classify), for all images together.
    pub fn classify_batch(&self, images: &[impl Borrow<RgbImage> + Sync]) -> Result<Vec<Vec<Prediction>>> {
        let prepare = |image: &_| self.prepare(Borrow::borrow(image));
        let prepared: Vec<RgbImage> =
            self.pool.install(|| images.par_iter().map(prepare).collect::<Result<_>>())?;
        let scores = self.scores(&prepared.iter().collect::<Vec<_>>(), 0)?;
        Ok(scores.iter().map(|row| self.predictions(row)).collect::<std::result::Result<_, _>>()?)
    }

    /// Classifies one image and fetches more outputs of the network by name; the first dimension of each, the batch, is 1.
    ///
    /// # Errors
    /// Those of [`classify`](Self::classify), and [`Session`](crate::ErrorKind::Session) when there is no such output.
    pub fn observe(&self, image: &RgbImage, names: &[&str]) -> Result<(Vec<Prediction>, Vec<ArrayD<f32>>)> {
        let (scores, fetched) = self.look(image, names)?;
        Ok((self.predictions(&scores)?, fetched))
    }

    /// Classifies image files in order, in batches; other threads decode the next ones while the network runs.
    ///
    /// An image that fails is an [`Outcome::Failed`], and the others go on.
    pub fn classify_files<S: Into<Source>>(
        &self,
        sources: impl IntoIterator<Item = S>,
    ) -> impl Iterator<Item = Outcome> {
        self.score_files(sources).map(|(outcome, _)| outcome)
    }

    /// Classifies image files as [`classify_files`](Self::classify_files), and gives the probabilities of all classes with
    /// each outcome, in the order of the labels; none for an image that failed.
    pub(crate) fn score_files<S: Into<Source>>(
        &self,
        sources: impl IntoIterator<Item = S>,
    ) -> impl Iterator<Item = (Outcome, Vec<f64>)> {
        let sources: Vec<Source> = sources.into_iter().map(Into::into).collect();
        self.score_inputs(sources.into_iter().map(Input::from))
    }

    /// Classifies inputs as [`score_files`](Self::score_files) does, while `inputs` still finds them: another thread calls
    /// it, at most three batches ahead.
    pub(crate) fn score_inputs(
        &self,
        inputs: impl Iterator<Item = Input> + Send + 'static,
    ) -> impl Iterator<Item = (Outcome, Vec<f64>)> {
        let pipeline = Pipeline::start(self.pool.clone(), self.preprocessor.clone(), inputs, self.batch);
        let mut filled = false;
        pipeline.flat_map(move |batch| {
            filled |= batch.len() == self.batch;
            self.classify_prepared(batch, if filled { self.least() } else { 0 })
        })
    }

    /// Classifies images of places in order, in batches, while the next ones are read and decoded.
    ///
    /// An image that cannot be read is an [`Outcome::Failed`], and the others go on.
    #[cfg(feature = "data")]
    pub fn classify_items(
        &self,
        items: impl Iterator<Item = crate::places::Item> + Send + 'static,
    ) -> impl Iterator<Item = Outcome> {
        self.score_inputs(items.map(Input::from)).map(|(outcome, _)| outcome)
    }

    /// Number of images that a batch is filled up to once a full one has run: a GPU searches for algorithms at each new
    /// size, which takes longer than to compute the images that are added. On the CPU, they would only take time.
    fn least(&self) -> usize {
        if self.session.is_cuda() { self.batch } else { 0 }
    }

    fn classify_prepared(&self, batch: Vec<Prepared>, least: usize) -> Vec<(Outcome, Vec<f64>)> {
        let start = Instant::now();
        let images: Vec<_> = batch.iter().filter_map(|prepared| prepared.image.as_ref().ok()).collect();
        let scores = self.scores(&images, least);
        let inference = milliseconds(start) / images.len().max(1) as f64;

        let mut rows = scores.as_ref().map(|rows| rows.iter());
        let mut predict = || -> std::result::Result<_, SessionError> {
            match &mut rows {
                Ok(rows) => {
                    let row = rows.next().expect("one row for each image that was prepared");
                    let probabilities = self.scores.probabilities(row)?;
                    Ok((self.scores.ranked(row, &probabilities, self.top_k), probabilities))
                }
                Err(error) => Err((*error).clone()),
            }
        };
        let outcome = |Prepared { path, image, timings }: Prepared| match image.and_then(|_| Ok(predict()?)) {
            Ok((predictions, probabilities)) => {
                let classified = Classified {
                    path,
                    predictions,
                    activation: self.activation(),
                    assumed: self.assumed.clone(),
                    provider: self.session.provider(),
                    timings_ms: Timings { inference, ..timings },
                };
                (Outcome::Classified(classified), probabilities)
            }
            Err(error) => (Outcome::Failed(Failed { path, error }), Vec::new()),
        };
        batch.into_iter().map(outcome).collect()
    }

    /// Prepares an image, if it has pixels.
    fn prepare(&self, image: &RgbImage) -> Result<RgbImage> {
        match image.is_empty() {
            true => Err(DecodeError::NoPixels.into()),
            false => Ok(self.preprocessor.prepare(image)),
        }
    }

    /// Computes a row of scores for each of `N` prepared images, `[H, W, C]`, in batches of at least `least`.
    fn scores(
        &self,
        prepared: &[&RgbImage],
        least: usize,
    ) -> std::result::Result<Vec<Vec<f32>>, SessionError> {
        let most = self.session.fixed_batch().unwrap_or(prepared.len().max(1));
        let together = if self.one_by_one { 1 } else { most };
        let least = if self.one_by_one { 0 } else { least };
        let mut rows = Vec::with_capacity(prepared.len());
        for images in prepared.chunks(together) {
            let output = self.pass(images, least, &[&self.scores.output])?.remove(0);
            rows.extend(self.scores.rows(&output, images.len())?);
        }
        Ok(rows)
    }

    /// Runs one pass over prepared images and fetches outputs for them.
    fn pass(
        &self,
        prepared: &[&RgbImage],
        least: usize,
        outputs: &[&str],
    ) -> std::result::Result<Vec<ArrayD<f32>>, SessionError> {
        pass(&self.session, &self.preprocessor, self.card.input, prepared, least, outputs)
    }

    pub(crate) fn predictions(&self, scores: &[f32]) -> std::result::Result<Vec<Prediction>, SessionError> {
        self.scores.predictions(scores, self.top_k)
    }
}
