//! Queue of prepared images and tensors, from which free sessions take batches.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use image::RgbImage;
use ndarray::ArrayD;
use tokio::sync::oneshot;

use super::super::admission::Permit;
use super::super::failure::Failure;
use super::Passed;

/// Rows of a model's input.
#[derive(Debug)]
pub(super) enum Rows {
    /// One image, resized and cropped.
    Image(RgbImage),
    /// Tensor of floats, `[N, ...]`.
    Floats(ArrayD<f32>),
    /// Tensor of bytes, `[N, ...]`.
    Bytes(ArrayD<u8>),
}

impl Rows {
    /// Number of rows, `N`.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Image(_) => 1,
            Self::Floats(values) => values.shape()[0],
            Self::Bytes(values) => values.shape()[0],
        }
    }

    /// Tells whether both can be in one batch.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Image(_), Self::Image(_)) => true,
            (Self::Floats(a), Self::Floats(b)) => a.shape()[1..] == b.shape()[1..],
            (Self::Bytes(a), Self::Bytes(b)) => a.shape()[1..] == b.shape()[1..],
            _ => false,
        }
    }
}

/// Rows that wait for the network, with the place where the answer goes.
pub(super) struct Job {
    pub(super) rows: Rows,
    /// Names of the outputs that are wanted.
    pub(super) outputs: Arc<[String]>,
    pub(super) deadline: Instant,
    /// Moment at which it was queued.
    pub(super) since: Instant,
    pub(super) reply: oneshot::Sender<Result<Passed, Failure>>,
    /// Place in the server, freed with the job.
    pub(super) _permit: Permit,
}

impl Job {
    /// Tells whether the answer is still wanted; a client whose deadline has passed is told so.
    fn is_wanted(self) -> Option<Self> {
        if self.reply.is_closed() {
            return None;
        }
        if self.deadline <= Instant::now() {
            let _ = self.reply.send(Err(Failure::Deadline));
            return None;
        }
        Some(self)
    }
}

/// Queue that several sessions share. Its length is bounded by the permits of the jobs.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    max_batch: usize,
    max_delay: Duration,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Queue {
    /// Creates a queue for batches of at most `max_batch` rows. A batch that is not full waits `max_delay` for more.
    pub(super) fn new(max_batch: usize, max_delay: Duration) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), max_batch, max_delay }
    }

    /// Adds a job at the end.
    pub(super) fn push(&self, job: Job) {
        self.lock().jobs.push_back(job);
        self.changed.notify_one();
    }

    /// Ends the queue: jobs that are in it are still taken.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Takes the next batch and waits for one; none when the queue is closed and empty.
    ///
    /// A batch has rows of one shape. Jobs whose client has gone or whose deadline has passed are dropped.
    pub(super) fn take(&self) -> Option<Vec<Job>> {
        let mut state = self.lock();
        loop {
            state = self.filled(state);
            let batch = state.batch(self.max_batch);
            if !batch.is_empty() {
                if !state.jobs.is_empty() {
                    self.changed.notify_one();
                }
                return Some(batch);
            }
            if state.closed && state.jobs.is_empty() {
                return None;
            }
        }
    }

    /// Waits until there is a job, and after that for a full batch or the delay.
    fn filled<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        while state.jobs.is_empty() && !state.closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        while let Some(first) = state.jobs.front() {
            let left = (first.since + self.max_delay).saturating_duration_since(Instant::now());
            let rows: usize = state.jobs.iter().map(|job| job.rows.count()).sum();
            if left.is_zero() || rows >= self.max_batch || state.closed {
                break;
            }
            (state, _) = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes jobs from the front for one batch.
    fn batch(&mut self, max: usize) -> Vec<Job> {
        let mut batch: Vec<Job> = Vec::new();
        let mut rows = 0;
        while let Some(job) = self.jobs.pop_front() {
            let Some(job) = job.is_wanted() else { continue };
            let is_like = batch.first().is_none_or(|first| first.rows.is_like(&job.rows));
            if !batch.is_empty() && (!is_like || rows + job.rows.count() > max) {
                self.jobs.push_front(job);
                break;
            }
            rows += job.rows.count();
            batch.push(job);
        }
        batch
    }
}
