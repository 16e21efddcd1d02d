//! Engine: one verified model with its sessions, its queue and the threads that decode images.
//!
//! An image is decoded and resized on a pool of threads and queued. A thread for each session takes what is in the queue
//! when the session is free, at most a batch, and runs it in one pass. Dropping the engine ends its threads when the queue
//! is empty, so that a model can be replaced while requests are answered.

mod batch;
mod load;
mod queue;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ndarray::ArrayD;
use rayon::ThreadPool;

use super::admission::Permit;
use super::failure::Failure;
use super::metrics::ModelMetrics;
use super::protocol::Interface;
use crate::classifier::Classifier;
use crate::decode;
use crate::preprocess::Preprocessor;
use crate::verify::Verification;
use batch::Pace;
pub use load::{LoadError, LoadOptions};
use queue::{Job, Queue, Reply, Rows};

/// One verified model with its sessions, its queue and the threads that decode images.
pub(crate) struct Engine {
    /// Classifier of the first session, for what all have in common.
    classifier: Arc<Classifier>,
    certificate: Option<Verification>,
    /// Inputs and outputs as clients see them.
    interface: Arc<Interface>,
    pool: Arc<ThreadPool>,
    queue: Arc<Queue>,
    pace: Arc<Pace>,
    limits: decode::Limits,
    max_batch: usize,
    metrics: Arc<ModelMetrics>,
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// Input of a model.
#[derive(Debug)]
pub(crate) enum Item {
    /// Content of an image file.
    Encoded(Bytes),
    /// Tensor of floats, `[N, ...]`, at most [`Engine::max_batch`] rows.
    Floats(ArrayD<f32>),
    /// Tensor of bytes, `[N, ...]`, at most [`Engine::max_batch`] rows.
    Bytes(ArrayD<u8>),
}

impl Item {
    /// Number of rows of the network's input.
    pub(crate) fn rows(&self) -> usize {
        let first = |shape: &[usize]| shape.first().copied().unwrap_or(1);
        match self {
            Self::Encoded(_) => 1,
            Self::Floats(values) => first(values.shape()),
            Self::Bytes(values) => first(values.shape()),
        }
    }
}

/// Result of a pass, for one job.
#[derive(Debug)]
struct Passed {
    outputs: Vec<ArrayD<f32>>,
    prepared: Prepared,
    queue: Duration,
    compute: Duration,
    batch: usize,
}

/// Answer of a model for an [`Item`].
#[derive(Debug)]
pub(crate) struct Answer {
    /// Outputs in the order in which they were asked for; the first dimension of each is that of the item.
    pub(crate) outputs: Vec<ArrayD<f32>>,
    /// Part of an image that the network saw: left, top, width and height, in pixels.
    pub(crate) seen: Option<[f64; 4]>,
    /// Times of the steps.
    pub(crate) timings: Timings,
}

/// Times of the steps of an answer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Timings {
    /// Time to decode the image.
    pub(crate) decode: Duration,
    /// Time to resize and crop it.
    pub(crate) preprocess: Duration,
    /// Time in the queue.
    pub(crate) queue: Duration,
    /// Time of the whole pass of the network.
    pub(crate) compute: Duration,
    /// Number of rows in the pass.
    pub(crate) batch: usize,
}

impl Timings {
    /// The same times as `infer classify` reports them: in milliseconds, the network's divided by the rows of its pass.
    pub(crate) fn of_image(&self) -> crate::results::Timings {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        crate::results::Timings {
            decode: milliseconds(self.decode),
            preprocess: milliseconds(self.preprocess),
            inference: milliseconds(self.compute) / self.batch.max(1) as f64,
        }
    }
}

impl Engine {
    /// Runs the model on `item` and fetches `outputs` by their names in the file.
    ///
    /// Dropping the future takes the item out of the queue.
    ///
    /// # Errors
    /// [`Failure::Image`], [`Failure::Network`], [`Failure::Deadline`], and [`Failure::Internal`] for a fault of ours.
    pub(crate) async fn run(
        &self,
        item: Item,
        outputs: &Arc<[String]>,
        deadline: Instant,
        permit: Permit,
    ) -> Result<Answer, Failure> {
        let (reply, answer) = Reply::new(permit);
        let (outputs, queue) = (outputs.clone(), self.queue.clone());
        let job = move |rows, prepared, reply| {
            let since = Instant::now();
            queue.push(Job { rows, outputs, deadline, since, prepared, reply });
        };
        let rows = item.rows();
        match item {
            Item::Floats(values) => job(Rows::Floats(values), Prepared::default(), reply),
            Item::Bytes(values) => job(Rows::Bytes(values), Prepared::default(), reply),
            Item::Encoded(encoded) => {
                let (preprocessor, limits) = (self.classifier.shared_preprocessor(), self.limits);
                self.pool.spawn_fifo(move || {
                    if reply.is_closed() {
                        return;
                    }
                    let result = match deadline > Instant::now() {
                        true => prepare(&encoded, &preprocessor, &limits),
                        false => Err(Failure::Deadline),
                    };
                    match result {
                        Ok((image, prepared)) => job(Rows::Image(image), prepared, reply),
                        Err(failure) => reply.send(Err(failure)),
                    }
                });
            }
        }
        let passed = match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(answer) => answer.map_err(|_| Failure::Internal)??,
            Err(_) => return Err(Failure::Deadline),
        };
        let Passed { outputs, prepared: Prepared { seen, timings }, queue, compute, batch } = passed;
        let timings = Timings { queue, compute, batch, ..timings };
        self.metrics.answer(rows, &timings);
        Ok(Answer { outputs, seen, timings })
    }

    /// Classifier of the first session: card, labels, preprocessing, meaning of the scores. Passes go through
    /// [`run`](Self::run).
    pub(crate) fn classifier(&self) -> &Classifier {
        &self.classifier
    }

    /// Result of the verification; none for a file without a certificate.
    pub(crate) fn certificate(&self) -> Option<&Verification> {
        self.certificate.as_ref()
    }

    /// Inputs and outputs as clients see them.
    pub(crate) fn interface(&self) -> &Arc<Interface> {
        &self.interface
    }

    /// Largest number of rows in a pass.
    pub(crate) fn max_batch(&self) -> usize {
        self.max_batch
    }

    /// Average time for a row in the last passes; none before the first.
    pub(crate) fn time_per_row(&self) -> Option<Duration> {
        self.pace.per_row()
    }
}

/// Facts about a prepared image; none about a tensor.
#[derive(Debug, Default)]
struct Prepared {
    seen: Option<[f64; 4]>,
    timings: Timings,
}

fn prepare(
    encoded: &[u8],
    preprocessor: &Preprocessor,
    limits: &decode::Limits,
) -> Result<(image::RgbImage, Prepared), Failure> {
    let start = Instant::now();
    let image = decode::bytes_within(encoded, limits)?;
    let decode = start.elapsed();
    let start = Instant::now();
    let prepared = decode::guard(|| Ok(preprocessor.prepare(&image)))?;
    let timings = Timings { decode, preprocess: start.elapsed(), ..Timings::default() };
    Ok((prepared, Prepared { seen: Some(preprocessor.seen(image.width(), image.height())), timings }))
}
