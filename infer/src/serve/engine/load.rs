//! Loading of an engine: reading, verification, sessions and warm-up.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ferronnx_models::certificate::CERTIFICATE_KEY;
use image::RgbImage;
use rayon::ThreadPool;

use super::Engine;
use super::batch::{self, Pace};
use super::queue::Queue;
use crate::assume::Assumptions;
use crate::classifier::{Classifier, pass};
use crate::decode;
use crate::error::{Error, ErrorKind, ModelError};
use crate::files;
use crate::serve::metrics::ModelMetrics;
use crate::serve::protocol::Interface;
use crate::session::{self, Options, Session, default_threads};
use crate::verify::Verification;

/// Settings of every engine of a server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoadOptions {
    /// Options of the sessions.
    pub session: Options,
    /// Labels and preprocessing of models without a card.
    pub assume: Assumptions,
    /// Largest difference of a logit that verification allows, relative to the largest; the certificate's when absent.
    pub tolerance: Option<f64>,
    /// Serve files without a certificate too.
    pub allow_uncertified: bool,
    /// Most rows in a pass.
    pub max_batch: usize,
    /// Time that a batch which is not full waits for more.
    pub max_delay: Duration,
    /// Number of sessions, each with its share of the threads.
    pub sessions: usize,
    /// Most memory of an image's pixels, in bytes.
    pub max_pixel_bytes: u64,
}

impl Default for LoadOptions {
    /// One session, batches of 8 rows without waiting, and images of 192 MiB: 64 megapixels.
    fn default() -> Self {
        Self {
            session: Options::default().spinning(false),
            assume: Assumptions::default(),
            tolerance: None,
            allow_uncertified: false,
            max_batch: 8,
            max_delay: Duration::ZERO,
            sessions: 1,
            max_pixel_bytes: 192 << 20,
        }
    }
}

/// Reason why a model is not served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be used.
    #[error(transparent)]
    Model(#[from] Error),
    /// The certificate does not hold.
    #[error("{}: the certificate does not hold: {}", crate::escape::path(.path), .failures.join("; "))]
    DoesNotHold {
        /// File of the model.
        path: PathBuf,
        /// Failures, one sentence each.
        failures: Vec<String>,
    },
    /// There is no certificate.
    #[error("{}: the file has no certificate", crate::escape::path(.0))]
    Uncertified(PathBuf),
    /// A fault of ours.
    #[error("{}: internal error while the model was loaded", crate::escape::path(.0))]
    Internal(PathBuf),
}

impl Engine {
    /// Loads the model file at `path`, verifies it on this device, and warms it up.
    ///
    /// # Errors
    /// [`LoadError`]: the file cannot be used, or its certificate does not hold or is missing.
    pub(crate) fn load(
        path: &Path,
        options: &LoadOptions,
        metrics: Arc<ModelMetrics>,
    ) -> Result<Self, LoadError> {
        let metadata = files::metadata(path)?;
        // Reading anything else may take for ever, and a server has to stop when it is told to.
        if !metadata.is_file() && !metadata.is_dir() {
            return Err(Error::from(ModelError::NotAFile).at(path).into());
        }
        let content = session::read(path)?;
        let pool = Arc::new(decoders(options.session.threads)?);
        let settings = options.session.clone().threads(share(options));
        let first = Session::from_content(path, &content, &settings)?;
        let certificate = verify(path, &content, &first, options)?;
        let mut classifiers = vec![classifier(first, path, options, &pool)?];
        for _ in 1..options.sessions {
            let session = Session::from_content(path, &content, &settings)?;
            classifiers.push(classifier(session, path, options, &pool)?);
        }
        let max_batch = classifiers[0].most_together(options.max_batch);
        let queue = Arc::new(Queue::new(max_batch, options.max_delay));
        let pace = Arc::new(Pace::default());
        for classifier in &classifiers {
            warm_up(classifier, max_batch)?;
        }
        let limits = decode::Limits { max_bytes: options.max_pixel_bytes, ..decode::Limits::default() };
        let classifier = classifiers[0].clone();
        let (session, classes) = (classifier.session(), classifier.card().labels.len());
        let interface = Arc::new(Interface::new(session.input(), session.outputs(), classes));
        let engine =
            Self { classifier, certificate, interface, pool, queue, pace, limits, max_batch, metrics };
        for classifier in classifiers {
            engine.start(classifier)?;
        }
        Ok(engine)
    }

    /// Starts the thread that runs batches on the session of `classifier`.
    fn start(&self, classifier: Arc<Classifier>) -> Result<(), Error> {
        let (queue, pace, metrics) = (self.queue.clone(), self.pace.clone(), self.metrics.clone());
        let work = move || batch::work(&queue, &classifier, &pace, &metrics);
        let thread = thread::Builder::new().name("batcher".into()).spawn(work);
        thread.map(drop).map_err(|error| ErrorKind::Io(error).into())
    }
}

/// Threads of each session: an equal share.
fn share(options: &LoadOptions) -> Option<usize> {
    match options.sessions {
        0 | 1 => options.session.threads,
        sessions => Some((options.session.threads.unwrap_or_else(default_threads) / sessions).max(1)),
    }
}

/// Threads that decode images.
fn decoders(threads: Option<usize>) -> Result<ThreadPool, Error> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads.unwrap_or(0))
        .thread_name(|index| format!("decoder-{index}"));
    Ok(pool.build().map_err(ErrorKind::Threads)?)
}

fn verify(
    path: &Path,
    content: &[u8],
    session: &Session,
    options: &LoadOptions,
) -> Result<Option<Verification>, LoadError> {
    if session.metadata(CERTIFICATE_KEY).is_none() {
        return match options.allow_uncertified {
            true => Ok(None),
            false => Err(LoadError::Uncertified(path.into())),
        };
    }
    let found = Verification::of_session(content, session, options.tolerance)
        .map_err(|error| error.at_model(path))?;
    match found.failures() {
        failures if failures.is_empty() => Ok(Some(found)),
        failures => Err(LoadError::DoesNotHold { path: path.into(), failures }),
    }
}

fn classifier(
    session: Session,
    path: &Path,
    options: &LoadOptions,
    pool: &Arc<ThreadPool>,
) -> Result<Arc<Classifier>, Error> {
    let builder = Classifier::builder().options(options.session.clone()).assume(options.assume.clone());
    Ok(Arc::new(builder.build(session, path, pool.clone())?))
}

/// Runs passes of the largest and the smallest size, so that memory is taken and kernels are chosen before the first
/// request.
fn warm_up(classifier: &Classifier, max_batch: usize) -> Result<(), Error> {
    let size = classifier.preprocessor().size();
    let gray = RgbImage::from_pixel(size.width, size.height, image::Rgb([128; 3]));
    let outputs: Vec<&str> =
        classifier.session().outputs().iter().map(|output| output.name.as_str()).collect();
    for rows in [max_batch, 1] {
        let images = vec![&gray; rows];
        pass(classifier.session(), classifier.preprocessor(), classifier.card().input, &images, 0, &outputs)?;
    }
    Ok(())
}
