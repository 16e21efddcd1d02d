//! Background decoding: images are decoded on worker threads while the network runs.
//!
//! A thread takes the inputs batch by batch, decodes each batch on the pool and sends it on, in order. The channel holds
//! one batch. With the one being decoded and the one being run, at most three batches are in memory, however many inputs
//! there are.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use image::RgbImage;
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::classifier::Source;
use crate::decode;
use crate::error::{Error, Result};
use crate::preprocess::Preprocessor;
use crate::results::Timings;

/// Image to prepare: its source, or the reason why it could not be read.
#[derive(Debug)]
pub(crate) enum Input {
    Source(Source),
    /// Image that could not be read; the error is its result.
    #[cfg_attr(not(feature = "data"), expect(dead_code))] // images of places, which need the feature
    Unreadable {
        path: PathBuf,
        error: Error,
    },
}

impl From<Source> for Input {
    fn from(source: Source) -> Self {
        Self::Source(source)
    }
}

#[cfg(feature = "data")]
impl From<crate::places::Item> for Input {
    fn from(item: crate::places::Item) -> Self {
        let path = PathBuf::from(&item.name);
        item.source().map_or_else(|error| Self::Unreadable { path, error }, Self::Source)
    }
}

/// Image resized and cropped to the input's size, or the reason why that failed.
pub(crate) struct Prepared {
    pub(crate) path: PathBuf,
    pub(crate) image: Result<RgbImage>,
    pub(crate) timings: Timings,
}

/// Iterator over batches of prepared images, in the order of the inputs.
pub(crate) struct Pipeline {
    batches: Receiver<Vec<Prepared>>,
    worker: Option<JoinHandle<()>>,
}

impl Pipeline {
    /// Starts the worker.
    pub(crate) fn start(
        pool: Arc<ThreadPool>,
        preprocessor: Arc<Preprocessor>,
        inputs: impl Iterator<Item = Input> + Send + 'static,
        batch: usize,
    ) -> Self {
        let (sender, batches) = sync_channel(1);
        let work = move || {
            let mut inputs = inputs.fuse();
            loop {
                let batch: Vec<_> = inputs.by_ref().take(batch).collect();
                if batch.is_empty() {
                    return;
                }
                let prepared = pool
                    .install(|| batch.into_par_iter().map(|input| prepare(input, &preprocessor)).collect());
                // The receiver was dropped: nobody wants the rest.
                if sender.send(prepared).is_err() {
                    return;
                }
            }
        };
        Self { batches, worker: Some(thread::spawn(work)) }
    }
}

impl Iterator for Pipeline {
    type Item = Vec<Prepared>;

    fn next(&mut self) -> Option<Vec<Prepared>> {
        if let Ok(batch) = self.batches.recv() {
            return Some(batch);
        }
        // A panic of the worker must not look like the end of the images.
        if let Some(Err(panic)) = self.worker.take().map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
        None
    }
}

fn prepare(input: Input, preprocessor: &Preprocessor) -> Prepared {
    let mut timings = Timings::default();
    let source = match input {
        Input::Source(source) => source,
        Input::Unreadable { path, error } => return Prepared { path, image: Err(error), timings },
    };
    let start = Instant::now();
    let decoded = match &source {
        Source::File(path) => decode::file(path),
        Source::Bytes { path, bytes } => decode::bytes(bytes).map_err(|error| error.at(path)),
    };
    timings.decode = milliseconds(start);
    let start = Instant::now();
    let (Source::File(path) | Source::Bytes { path, .. }) = source;
    let image = decoded.and_then(|image| decode::guard(|| Ok(preprocessor.prepare(&image))));
    let image = image.map_err(|error| error.at(&path));
    timings.preprocess = milliseconds(start);
    Prepared { path, image, timings }
}

/// Milliseconds since `since`.
pub(crate) fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
