//! Batches: several jobs in one pass of the network.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ndarray::{ArrayD, ArrayViewD, Axis, Slice, concatenate};

use super::Passed;
use super::queue::{Job, Queue, Rows};
use crate::classifier::{Classifier, pass};
use crate::serve::failure::Failure;
use crate::serve::metrics::ModelMetrics;
use crate::session::{Input, SessionError};

/// Average time of the network for a row, of the last passes.
#[derive(Debug, Default)]
pub(super) struct Pace(AtomicU64);

impl Pace {
    /// Time for a row; none before the first pass.
    pub(super) fn per_row(&self) -> Option<Duration> {
        let nanoseconds = self.0.load(Ordering::Relaxed);
        (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds))
    }

    pub(super) fn add(&self, pass: Duration, rows: usize) {
        let now = pass.as_nanos() as u64 / rows.max(1) as u64;
        let before = self.0.load(Ordering::Relaxed);
        self.0.store(if before == 0 { now } else { (7 * before + now) / 8 }, Ordering::Relaxed);
    }
}

/// Runs batches of the queue on the session of `classifier` until the queue is closed and empty.
pub(super) fn work(queue: &Queue, classifier: &Classifier, pace: &Pace, metrics: &ModelMetrics) {
    while let Some(jobs) = queue.take() {
        let start = Instant::now();
        // A panic is a fault of ours; the next batch is none the worse.
        let outputs = catch_unwind(AssertUnwindSafe(|| compute(classifier, &jobs)));
        let elapsed = start.elapsed();
        let rows = jobs.iter().map(|job| job.rows.count()).sum();
        pace.add(elapsed, rows);
        metrics.pass(rows);
        match outputs {
            Ok(Ok(outputs)) => answer(jobs, &outputs, start, elapsed, rows),
            Ok(Err(error)) => refuse(jobs, &error.into()),
            Err(_) => refuse(jobs, &Failure::Internal),
        }
    }
}

/// Outputs of a pass by name; the first dimension of each is the batch.
type Outputs = Vec<(String, ArrayD<f32>)>;

fn compute(classifier: &Classifier, jobs: &[Job]) -> Result<Outputs, SessionError> {
    let mut names: Vec<&str> = Vec::new();
    for name in jobs.iter().flat_map(|job| job.outputs.iter()) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let found = match &jobs[0].rows {
        Rows::Image(_) => {
            let images = jobs.iter().filter_map(|job| match &job.rows {
                Rows::Image(image) => Some(image),
                _ => None,
            });
            let images: Vec<_> = images.collect();
            let (session, preprocessor) = (classifier.session(), classifier.preprocessor());
            pass(session, preprocessor, classifier.card().input, &images, 0, &names)?
        }
        Rows::Floats(_) => tensors(classifier, jobs, &names, |rows| match rows {
            Rows::Floats(values) => Some(values.view()),
            _ => None,
        })?,
        Rows::Bytes(_) => tensors(classifier, jobs, &names, |rows| match rows {
            Rows::Bytes(values) => Some(values.view()),
            _ => None,
        })?,
    };
    Ok(names.into_iter().map(str::to_owned).zip(found).collect())
}

/// Runs the tensors of all jobs in one pass. A batch of a fixed size is filled up with copies of the last row.
fn tensors<T: Clone>(
    classifier: &Classifier,
    jobs: &[Job],
    names: &[&str],
    view: impl Fn(&Rows) -> Option<ArrayViewD<'_, T>>,
) -> Result<Vec<ArrayD<f32>>, SessionError>
where
    for<'a> Input<'a>: From<ArrayViewD<'a, T>>,
{
    let session = classifier.session();
    let mut parts: Vec<_> = jobs.iter().filter_map(|job| view(&job.rows)).collect();
    let rows: usize = parts.iter().map(|part| part.shape()[0]).sum();
    let size = session.fixed_batch().unwrap_or(rows);
    let last = parts[parts.len() - 1].clone();
    let last = last.slice_axis(Axis(0), Slice::from(-1..));
    parts.extend(std::iter::repeat_n(last, size.saturating_sub(rows)));
    let joined;
    let input = match &parts[..] {
        [only] => only.view(),
        parts => {
            joined = concatenate(Axis(0), parts).expect("the queue gives rows of one shape");
            joined.view()
        }
    };
    let mut found = session.pass(&input.into(), names)?;
    for output in found.iter_mut().filter(|output| size > rows && output.shape().first() == Some(&size)) {
        output.slice_axis_inplace(Axis(0), Slice::from(..rows));
    }
    Ok(found)
}

/// Sends each job its rows of the outputs.
fn answer(jobs: Vec<Job>, outputs: &Outputs, start: Instant, elapsed: Duration, batch: usize) {
    let is_alone = jobs.len() == 1;
    let mut from = 0;
    for job in jobs {
        let rows = from..from + job.rows.count();
        from = rows.end;
        let own = |name: &String| {
            let (_, output) = outputs.iter().find(|(output, _)| output == name).ok_or(Failure::Internal)?;
            if is_alone {
                return Ok(output.clone());
            }
            if output.shape().first() != Some(&batch) {
                let text = format!("the output `{name}` has no row for each image: send one at a time");
                return Err(Failure::Invalid(text));
            }
            let (start, end) = (rows.start as isize, rows.end as isize);
            Ok(output.slice_axis(Axis(0), Slice::from(start..end)).to_owned())
        };
        let outputs = job.outputs.iter().map(own).collect::<Result<_, _>>();
        let passed = outputs.map(|outputs| Passed {
            outputs,
            prepared: job.prepared,
            queue: start.saturating_duration_since(job.since),
            compute: elapsed,
            batch,
        });
        job.reply.send(passed);
    }
}

fn refuse(jobs: Vec<Job>, failure: &Failure) {
    for job in jobs {
        job.reply.send(Err(failure.clone()));
    }
}
