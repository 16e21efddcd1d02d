//! Queue of prepared images and tensors, from which free sessions take batches.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use image::RgbImage;
use ndarray::ArrayD;
use tokio::sync::oneshot;

use super::super::admission::Permit;
use super::super::failure::Failure;
use super::{Passed, Prepared};

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
    pub(super) prepared: Prepared,
    pub(super) reply: Reply,
}

/// Way to whoever waits for an answer, with the place that the question takes in the server.
pub(super) struct Reply {
    sender: oneshot::Sender<Result<Passed, Failure>>,
    permit: Permit,
}

impl Reply {
    pub(super) fn new(permit: Permit) -> (Self, oneshot::Receiver<Result<Passed, Failure>>) {
        let (sender, answer) = oneshot::channel();
        (Self { sender, permit }, answer)
    }

    /// Tells whether nobody waits any more.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Frees the place and answers, in this order: a client that has its answer finds a place for its next question.
    pub(super) fn send(self, result: Result<Passed, Failure>) {
        drop(self.permit);
        // A client that has gone needs no answer.
        let _ = self.sender.send(result);
    }
}

impl Job {
    /// Returns the job if its answer is still wanted; a client whose deadline has passed is told so.
    fn unless_over(self) -> Option<Self> {
        if self.reply.is_closed() {
            return None;
        }
        if self.deadline <= Instant::now() {
            self.reply.send(Err(Failure::Deadline));
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
            let Some(job) = job.unless_over() else { continue };
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

#[cfg(test)]
mod tests {
    use std::thread;

    use axum::http::HeaderMap;

    use super::*;
    use crate::serve::admission::Admission;

    type Answer = oneshot::Receiver<Result<Passed, Failure>>;

    const FAR: Duration = Duration::from_secs(60);

    fn job(rows: Rows, left: Duration) -> (Job, Answer) {
        let admitted = Admission::new(1, 1, 1).admit(&HeaderMap::new()).unwrap();
        let (reply, answer) = Reply::new(admitted.permit(1).unwrap());
        let (outputs, since) = (Arc::from(["y".to_owned()]), Instant::now());
        let job = Job { rows, outputs, deadline: since + left, since, prepared: Prepared::default(), reply };
        (job, answer)
    }

    fn image() -> Rows {
        Rows::Image(RgbImage::new(1, 1))
    }

    fn floats(shape: &[usize]) -> Rows {
        Rows::Floats(ArrayD::zeros(shape))
    }

    fn sizes(queue: &Queue) -> Vec<Vec<usize>> {
        queue.close();
        let batches = std::iter::from_fn(|| queue.take());
        batches.map(|batch| batch.iter().map(|job| job.rows.count()).collect()).collect()
    }

    #[test]
    fn a_batch_takes_what_is_there_and_is_alike() {
        let queue = Queue::new(4, Duration::ZERO);
        let rows = [image(), image(), floats(&[2, 3]), floats(&[2, 3]), floats(&[1, 3]), floats(&[1, 5])];
        let answers: Vec<_> = rows
            .into_iter()
            .map(|rows| {
                let (job, answer) = job(rows, FAR);
                queue.push(job);
                answer
            })
            .collect();
        assert_eq!(sizes(&queue), [vec![1, 1], vec![2, 2], vec![1], vec![1]]);
        drop(answers);
    }

    #[test]
    fn a_job_that_is_too_large_is_alone() {
        let queue = Queue::new(2, Duration::ZERO);
        let (first, _first) = job(floats(&[1, 3]), FAR);
        let (second, _second) = job(floats(&[7, 3]), FAR);
        queue.push(first);
        queue.push(second);
        assert_eq!(sizes(&queue), [[1], [7]]);
    }

    #[test]
    fn who_has_gone_or_waited_too_long_is_dropped() {
        let queue = Queue::new(8, Duration::ZERO);
        let (gone, answer) = job(image(), FAR);
        drop(answer);
        let (late, mut answer) = job(image(), Duration::ZERO);
        let (wanted, _wanted) = job(image(), FAR);
        [gone, late, wanted].into_iter().for_each(|job| queue.push(job));
        assert_eq!(queue.take().unwrap().len(), 1);
        assert!(matches!(answer.try_recv(), Ok(Err(Failure::Deadline))));
        assert!(sizes(&queue).is_empty());
    }

    #[test]
    fn a_batch_waits_for_more_at_most_the_delay() {
        let queue = Queue::new(2, FAR);
        let (first, _first) = job(image(), FAR);
        queue.push(first);
        thread::scope(|scope| {
            let batch = scope.spawn(|| queue.take().unwrap().len());
            let (second, answer) = job(image(), FAR);
            queue.push(second);
            assert_eq!(batch.join().unwrap(), 2);
            drop(answer);
        });
        let queue = Queue::new(2, Duration::from_millis(5));
        let (only, _only) = job(image(), FAR);
        queue.push(only);
        assert_eq!(queue.take().unwrap().len(), 1);
    }

    #[test]
    fn sessions_that_wait_end_when_the_queue_is_closed() {
        let queue = Queue::new(2, Duration::ZERO);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| queue.take().is_none());
            queue.close();
            assert!(waiting.join().unwrap());
        });
    }
}
