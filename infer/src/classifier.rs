//! Image classifiers: from images to labels with probabilities.

mod builder;
mod card;

use std::borrow::Borrow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ferronnx_models::card::ModelCard;
use ferronnx_models::onnx::Dim;
use image::RgbImage;
use ndarray::ArrayD;
use rayon::ThreadPool;
use rayon::prelude::*;

pub use builder::ClassifierBuilder;
#[cfg(feature = "bench")]
pub(crate) use card::card_of;
pub(crate) use card::read_card;

use crate::error::Result;
use crate::pipeline::{Pipeline, Prepared, milliseconds};
use crate::preprocess::Preprocessor;
use crate::results::{Classified, Failed, Outcome, Prediction, Timings, top_classes};
use crate::session::{Input, Session, SessionError};

/// Image classifier: a session with labels and preprocessing, read from the model's card.
///
/// Threads can share it. They prepare images in parallel; passes of the network take turns, each on all threads of the
/// session.
pub struct Classifier {
    session: Session,
    card: ModelCard,
    preprocessor: Arc<Preprocessor>,
    pool: Arc<ThreadPool>,
    /// True if the network ends with a softmax, so that its output is probabilities.
    probabilities: bool,
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

    /// Card of the model, with its labels.
    pub fn card(&self) -> &ModelCard {
        &self.card
    }

    /// Session that runs the network.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Preprocessing of the model.
    pub fn preprocessor(&self) -> &Preprocessor {
        &self.preprocessor
    }

    /// Classifies one image of any size; returns its classes, most likely first.
    ///
    /// # Errors
    /// [`Session`](crate::ErrorKind::Session) when the network cannot be run, or its output is not finite.
    pub fn classify(&self, image: &RgbImage) -> Result<Vec<Prediction>> {
        let logits = self.logits(&[&self.preprocessor.prepare(image)])?;
        Ok(self.predictions(&logits[0])?)
    }

    /// Classifies images of any size in one batch; they are prepared on the classifier's threads.
    ///
    /// # Errors
    /// Those of [`classify`](Self::classify), for all images together.
    pub fn classify_batch(&self, images: &[impl Borrow<RgbImage> + Sync]) -> Result<Vec<Vec<Prediction>>> {
        let prepare = |image: &_| self.preprocessor.prepare(Borrow::borrow(image));
        let prepared: Vec<RgbImage> = self.pool.install(|| images.par_iter().map(prepare).collect());
        let logits = self.logits(&prepared.iter().collect::<Vec<_>>())?;
        Ok(logits.iter().map(|row| self.predictions(row)).collect::<std::result::Result<_, _>>()?)
    }

    /// Classifies one image and fetches more outputs of the network by name; the first dimension of each, the batch, is 1.
    ///
    /// # Errors
    /// [`Session`](crate::ErrorKind::Session) when there is no such output, or the network cannot be run.
    pub fn observe(&self, image: &RgbImage, names: &[&str]) -> Result<(Vec<Prediction>, Vec<ArrayD<f32>>)> {
        let prepared = self.preprocessor.prepare(image);
        let input = self.preprocessor.batch(&[&prepared], self.card.input);
        let logits = self.session.outputs()[0].name.clone();
        let names: Vec<_> = [&[&logits[..]], names].concat();
        let mut fetched = self.session.fetch(&input, &names)?;
        let logits: Vec<f32> = fetched.remove(0).into_iter().collect();
        Ok((self.predictions(&logits)?, fetched))
    }

    /// Classifies image files in order, in batches; other threads decode the next ones while the network runs.
    ///
    /// An image that fails is an [`Outcome::Failed`], and the others go on.
    pub fn classify_files<S: Into<Source>>(
        &self,
        sources: impl IntoIterator<Item = S>,
    ) -> impl Iterator<Item = Outcome> {
        let sources = sources.into_iter().map(Into::into).collect();
        let pipeline = Pipeline::start(self.pool.clone(), self.preprocessor.clone(), sources, self.batch);
        pipeline.flat_map(|batch| self.classify_prepared(batch))
    }

    fn classify_prepared(&self, batch: Vec<Prepared>) -> Vec<Outcome> {
        let start = Instant::now();
        let images: Vec<_> = batch.iter().filter_map(|prepared| prepared.image.as_ref().ok()).collect();
        let logits = self.logits(&images);
        let inference = milliseconds(start) / images.len().max(1) as f64;

        let mut rows = logits.as_ref().map(|rows| rows.iter());
        let mut predict = || match &mut rows {
            Ok(rows) => self.predictions(rows.next().expect("one row for each image that was prepared")),
            Err(error) => Err((*error).clone()),
        };
        let outcome = |Prepared { path, image, timings }: Prepared| match image.and_then(|_| Ok(predict()?)) {
            Ok(predictions) => Outcome::Classified(Classified {
                path,
                predictions,
                provider: self.session.provider(),
                timings_ms: Timings { inference, ..timings },
            }),
            Err(error) => Outcome::Failed(Failed { path, error }),
        };
        batch.into_iter().map(outcome).collect()
    }

    /// Computes a row of logits for each of `N` prepared images, `[H, W, C]`.
    fn logits(&self, prepared: &[&RgbImage]) -> std::result::Result<Vec<Vec<f32>>, SessionError> {
        let together = match self.session.input().shape[0] {
            Dim::Fixed(size) => size,
            Dim::Symbol(_) => prepared.len().max(1),
        };
        let mut rows = Vec::with_capacity(prepared.len());
        for images in prepared.chunks(together) {
            let batch = self.preprocessor.batch(images, self.card.input);
            let logits = self.session.first_output(&Input::from(&batch))?;
            rows.extend(logits.outer_iter().map(|row| row.iter().copied().collect()));
        }
        if self.probabilities {
            // Logits up to an additive constant, which a softmax cancels: `ln(p)`.
            rows.iter_mut().flatten().for_each(|value: &mut f32| *value = value.max(f32::MIN_POSITIVE).ln());
        }
        Ok(rows)
    }

    fn predictions(&self, logits: &[f32]) -> std::result::Result<Vec<Prediction>, SessionError> {
        top_classes(logits, &self.card.labels, self.top_k)
    }
}
