//! Benchmark of the steps from image files to classes.

use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Latency, Plan, Run};
use crate::classifier::Classifier;
use crate::decode;
use crate::error::Result;
use crate::pipeline::milliseconds;
use crate::results::{Failed, Outcome};

/// Number of images that are decoded and preprocessed one by one to time them.
const IMAGES: usize = 256;

/// Times of the steps from image files to classes; those of decoding and preprocessing are of one thread, for one image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Images {
    /// Number of images decoded.
    pub count: usize,
    /// Time to read and decode an image.
    pub decode_ms: Latency,
    /// Time to resize, crop and normalise an image.
    pub preprocess_ms: Latency,
    /// Time of the network for an image: the median of a pass divided by its [batch size](Self::end_to_end_batch).
    pub inference_ms: f64,
    /// Throughput from files to classes, in images per second; all threads decode while the network runs.
    pub end_to_end_ips: f64,
    /// Batch size of the passes.
    pub end_to_end_batch: usize,
}

impl Images {
    /// Measures the images of `plan` with the model at `path`.
    pub(super) fn of(path: &Path, plan: &Plan, runs: &[Run]) -> Result<Self> {
        let batch = plan.batches.iter().copied().max().unwrap_or(1);
        let (device, threads) = (plan.devices[0], plan.threads[0]);
        let options = plan.session.clone().device(device).threads(threads);
        let classifier = Classifier::builder()
            .options(options)
            .assume(plan.assumptions.clone())
            .batch(batch)
            .load(path)?;
        let (mut decoding, mut preprocessing) = (Vec::new(), Vec::new());
        for image in plan.images.iter().take(IMAGES) {
            let start = Instant::now();
            let image = decode::file(image)?;
            decoding.push(milliseconds(start));
            let start = Instant::now();
            let preprocessor = classifier.preprocessor();
            let form = classifier.session().input_form(classifier.card().input);
            preprocessor.batch(&[preprocessor.prepare(&image)], form);
            preprocessing.push(milliseconds(start));
        }
        // The images are repeated until the time is over.
        let start = Instant::now();
        let mut done = 0;
        while start.elapsed() < plan.measured {
            for outcome in classifier.classify_files(plan.images.iter().cloned()) {
                if let Outcome::Failed(Failed { path, error }) = outcome {
                    return Err(error.at(path));
                }
                done += 1;
            }
        }
        let run = runs.iter().find(|run| run.batch == batch);
        Ok(Self {
            count: decoding.len(),
            decode_ms: Latency::of(&decoding),
            preprocess_ms: Latency::of(&preprocessing),
            inference_ms: run.map_or(0.0, |run| run.latency_ms.p50 / batch as f64),
            end_to_end_ips: f64::from(done) / start.elapsed().as_secs_f64(),
            end_to_end_batch: batch,
        })
    }
}
