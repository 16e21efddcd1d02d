//! Images to labels with probabilities.

use std::borrow::Borrow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ferronnx_models::card::{CARD_KEY, InputForm, ModelCard};
use ferronnx_models::onnx::{Dim, Element, Summary};
use image::RgbImage;
use ndarray::ArrayD;
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::assume::Assumptions;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::pipeline::{Pipeline, Prepared, milliseconds};
use crate::preprocess::{CHANNELS, Preprocessor};
use crate::results::{Classified, Failed, Outcome, Prediction, Timings, top_classes};
use crate::session::{self, Optimization, Options, Session, describe, fits, kind};

/// An exported model with its card: classifies images.
///
/// It can be shared by threads: they prepare images side by side, and the network takes turns, each on all of the
/// session's threads.
pub struct Classifier {
    session: Session,
    card: ModelCard,
    preprocessor: Arc<Preprocessor>,
    pool: Arc<ThreadPool>,
    /// Whether the network ends with the softmax itself.
    probabilities: bool,
    top_k: usize,
    batch: usize,
}

/// How a [`Classifier`] is made, see [`Classifier::builder`].
#[derive(Debug, Clone)]
pub struct Builder {
    session: Options,
    assumptions: Assumptions,
    top_k: usize,
    batch: usize,
}

/// Where an image comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// The content of a file that is in memory.
    Bytes {
        /// Its name in results and messages.
        path: PathBuf,
        /// The content.
        bytes: Vec<u8>,
    },
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl Builder {
    /// Device, threads and runtime together.
    pub fn options(mut self, options: Options) -> Self {
        self.session = options;
        self
    }

    /// What is known of a model without a card; a model with one needs none of it.
    pub fn assume(mut self, assumptions: Assumptions) -> Self {
        self.assumptions = assumptions;
        self
    }

    /// Where the network runs; [`Device::Auto`] if not said.
    pub fn device(mut self, device: Device) -> Self {
        self.session.device = device;
        self
    }

    /// Threads of the network and for decoding; one per core if not said.
    pub fn threads(mut self, threads: impl Into<Option<usize>>) -> Self {
        self.session.threads = threads.into();
        self
    }

    /// How much work goes into the network before its first image; for a handful, [`Optimization::Quick`] is sooner
    /// done.
    pub fn optimization(mut self, optimization: Optimization) -> Self {
        self.session.optimization = optimization;
        self
    }

    /// ONNX Runtime's library or its folder; searched for if not said, see [`runtime`](crate::runtime).
    pub fn runtime(mut self, path: impl Into<Option<PathBuf>>) -> Self {
        self.session.runtime = path.into();
        self
    }

    /// Classes per image, 5 if not said; a model with fewer gives them all.
    pub fn top_k(mut self, top_k: usize) -> Self {
        self.top_k = top_k;
        self
    }

    /// Images that go through the network together in [`Classifier::classify_files`], at least 1; 8 if not said.
    pub fn batch(mut self, batch: usize) -> Self {
        self.batch = batch.max(1);
        self
    }

    /// Reads the model at `path`.
    ///
    /// # Errors
    /// Those of [`Session::from_file`], and [`Error::Model`] when the file has a card that does not fit its network, or
    /// none and too little is [assumed](Self::assume).
    pub fn load(self, path: &Path) -> Result<Classifier> {
        let session = Session::from_file(path, &self.session)?;
        let unusable = |reason| Error::Model { path: Some(path.into()), reason };
        let card = card_of(&session, &self.assumptions).map_err(unusable)?;
        let probabilities = session.metadata(CARD_KEY).is_none() && {
            let summary = Summary::of_file(&session::read(path)?);
            summary.is_ok_and(|summary| summary.head.as_deref() == Some("Softmax"))
        };
        let threads = self.session.threads.unwrap_or(0);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool =
            pool.map_err(|error| Error::Session(format!("cannot start {threads} threads: {error}")))?;
        Ok(Classifier {
            preprocessor: Arc::new(Preprocessor::new(&card.preprocessing)),
            session,
            card,
            pool: Arc::new(pool),
            probabilities,
            top_k: self.top_k,
            batch: self.batch,
        })
    }
}

/// The model's card, or else the one it would have.
pub(crate) fn card_of(
    session: &Session,
    assumptions: &Assumptions,
) -> std::result::Result<ModelCard, String> {
    if session.metadata(CARD_KEY).is_some() {
        return match assumptions.is_empty() {
            true => read_card(session),
            false => Err(
                "has a model card, so that nothing needs to be assumed of it: leave --labels, --image-size, \
                          --resize, --mean and --std out"
                    .into(),
            ),
        };
    }
    let card = assumptions.card(session)?;
    check(&card, session)?;
    Ok(card)
}

/// The card, if the network is one for it.
pub(crate) fn read_card(session: &Session) -> std::result::Result<ModelCard, String> {
    let text = session.metadata(CARD_KEY).ok_or_else(|| {
        format!("has no model card (`{CARD_KEY}`), so its labels and preprocessing are unknown: `train export` writes one")
    })?;
    let card = ModelCard::from_json(&text).map_err(|error| error.to_string())?;
    check(&card, session)?;
    Ok(card)
}

/// Whether the network is one for this card.
fn check(card: &ModelCard, session: &Session) -> std::result::Result<(), String> {
    let crop = card.preprocessing.crop as usize;
    let (element, item) = match card.input {
        InputForm::Float => (Element::Float, [CHANNELS, crop, crop]),
        InputForm::Uint8 => (Element::Uint8, [crop, crop, CHANNELS]),
    };
    let input = session.input();
    match &input.shape[..] {
        [Dim::Symbol(_) | Dim::Fixed(1), rest @ ..] if input.element == element && fits(rest, &item) => {}
        _ => {
            let (found, [a, b, c]) = (format!("{} {}", kind(input.element), describe(&input.shape)), item);
            let kind = kind(element);
            return Err(format!("takes {found}, but images are prepared as {kind} [batch, {a}, {b}, {c}]"));
        }
    }
    let (labels, output) = (card.labels.len(), &session.outputs()[0].shape);
    match output[..] {
        [_, Dim::Fixed(classes)] if classes == labels => Ok(()),
        _ => Err(format!("gives {}, but there are {labels} labels", describe(output))),
    }
}

impl Classifier {
    /// A classifier in the making.
    pub fn builder() -> Builder {
        Builder { session: Options::default(), assumptions: Assumptions::default(), top_k: 5, batch: 8 }
    }

    /// The model's card.
    pub fn card(&self) -> &ModelCard {
        &self.card
    }

    /// The session that runs the network.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The most likely classes of `image`, most likely first.
    ///
    /// # Errors
    /// [`Error::Session`] when the network cannot be run, or its output is not finite.
    pub fn classify(&self, image: &RgbImage) -> Result<Vec<Prediction>> {
        let logits = self.logits(&[&self.preprocessor.prepare(image)])?;
        self.predictions(&logits[0])
    }

    /// The most likely classes of each of `images`, which go through the network together; they may be of any size.
    /// Images are prepared on the classifier's threads.
    ///
    /// # Errors
    /// As [`classify`](Self::classify), for all of them.
    pub fn classify_batch(&self, images: &[impl Borrow<RgbImage> + Sync]) -> Result<Vec<Vec<Prediction>>> {
        let prepare = |image: &_| self.preprocessor.prepare(Borrow::borrow(image));
        let prepared: Vec<RgbImage> = self.pool.install(|| images.par_iter().map(prepare).collect());
        let logits = self.logits(&prepared.iter().collect::<Vec<_>>())?;
        logits.iter().map(|row| self.predictions(row)).collect()
    }

    /// What the network observed in `image` on the way: the outputs of these names beside the logits, which come
    /// first. The first dimension of each, the batch, is 1.
    ///
    /// # Errors
    /// [`Error::Session`] when there is no such output, or the network cannot be run.
    pub fn observe(&self, image: &RgbImage, names: &[&str]) -> Result<(Vec<Prediction>, Vec<ArrayD<f32>>)> {
        let prepared = self.preprocessor.prepare(image);
        let input = self.preprocessor.batch(&[&prepared], self.card.input);
        let logits = self.session.outputs()[0].name.clone();
        let names: Vec<_> = [&[&logits[..]], names].concat();
        let mut fetched = self.session.fetch(&input, &names)?;
        let logits: Vec<f32> = fetched.remove(0).into_iter().collect();
        Ok((self.predictions(&logits)?, fetched))
    }

    /// How images are prepared.
    pub fn preprocessor(&self) -> &Preprocessor {
        &self.preprocessor
    }

    /// What becomes of each of `sources`, in their order. Other threads decode ahead while the network runs; one
    /// image's failure is its own.
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

        let mut rows = logits.as_ref().map_err(ToString::to_string).map(|rows| rows.iter());
        let mut predict = || match &mut rows {
            Ok(rows) => self.predictions(rows.next().expect("one row for each image that was prepared")),
            Err(reason) => Err(Error::Session(reason.clone())),
        };
        let outcome = |Prepared { path, image, timings }: Prepared| match image.and_then(|_| predict()) {
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

    /// Prepared images, `N` of `[H, W, C]`, to `N` rows of logits.
    fn logits(&self, prepared: &[&RgbImage]) -> Result<Vec<Vec<f32>>> {
        let together = match self.session.input().shape[0] {
            Dim::Fixed(size) => size,
            Dim::Symbol(_) => prepared.len().max(1),
        };
        let mut rows = Vec::with_capacity(prepared.len());
        for images in prepared.chunks(together) {
            let logits = self.session.run(&self.preprocessor.batch(images, self.card.input))?;
            rows.extend(logits.outer_iter().map(|row| row.iter().copied().collect()));
        }
        if self.probabilities {
            // What the softmax was made of, but for a constant that it forgets.
            rows.iter_mut().flatten().for_each(|value: &mut f32| *value = value.max(f32::MIN_POSITIVE).ln());
        }
        Ok(rows)
    }

    fn predictions(&self, logits: &[f32]) -> Result<Vec<Prediction>> {
        top_classes(logits, &self.card.labels, self.top_k)
    }
}
