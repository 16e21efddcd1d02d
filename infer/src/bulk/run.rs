//! Work on a shard: reads the inputs of each part, classifies them, and puts the rows in place.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use super::error::BulkError;
use super::feed::{Feeder, Hidden, Mark};
use super::part::{Finished, OpenPart};
use super::plan::{Listed, Planned, Planner};
use super::record::{self, InputRecord, JobRecord};
use super::shard::Shard;
use super::store::Store;
use crate::classifier::Classifier;
use crate::error::{Error, ErrorKind};
use crate::places::{self, Options, Place, Unit};
use crate::results::{Classified, Failed, Outcome};
use crate::session::SessionError;

/// Number of images in a part, unless another one is given.
pub const PART_SIZE: usize = 4096;

/// Job: inputs, output and division.
#[derive(Debug, Clone)]
pub struct Job {
    /// Inputs.
    pub inputs: Vec<Place>,
    /// Folder or prefix of the parts.
    pub out: Place,
    /// Model, settings, format and number of shards.
    pub record: JobRecord,
    /// Shard to work on.
    pub shard: Shard,
    /// Largest number of images in a part, of inputs that are images; a shard file is a part of its own.
    pub part_size: usize,
    /// True to replace the parts of another job in this output.
    pub overwrite: bool,
    /// Settings of reading inputs.
    pub options: Options,
}

/// News of a job at work.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// All inputs are listed.
    Listed(Listed),
    /// An image has its result.
    Image(&'a Outcome),
    /// A part is in place.
    Part {
        /// Number of its inputs.
        inputs: usize,
    },
}

/// Result of a process that worked on a shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Inputs of the shard; none if it was stopped before all were listed.
    pub listed: Option<Listed>,
    /// Parts that were put in place.
    pub parts: u64,
    /// Images that were classified or failed, in these parts.
    pub images: u64,
    /// Images in these parts that failed.
    pub failed: u64,
    /// True if the process was stopped before its end.
    pub is_stopped: bool,
}

impl Job {
    /// Classifies the images of the shard that have no result yet, part by part.
    ///
    /// A part appears as a whole, and what is done is skipped, also when a process was killed. `stop` ends the work; the
    /// part at hand is dropped then.
    ///
    /// # Errors
    /// [`BulkError`] when inputs cannot be listed, the output cannot be read or written, it holds another job, or the
    /// network cannot be run. An image that cannot be read or decoded is a row.
    pub fn run(
        &self,
        classifier: &Classifier,
        stop: &Arc<AtomicBool>,
        see: &mut dyn FnMut(Event<'_>),
    ) -> Result<Summary, BulkError> {
        let store = Store::new(self.out.clone());
        self.open(&store)?;
        let (sender, planned) = channel();
        let hidden = Hidden::default();
        let planner = self.start_planner(&store, &hidden, sender);
        let (marks, seen) = channel();
        let feeder = Feeder::new(store.clone(), self.options, hidden, planned, marks, stop.clone());
        let mut worker = Worker {
            job: self,
            store: &store,
            classifier,
            see,
            part: None,
            finishing: None,
            summary: Summary::default(),
        };
        for (outcome, _) in classifier.score_inputs(feeder) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            worker.add(outcome, &seen)?;
        }
        if stop.load(Ordering::Relaxed) {
            worker.summary.is_stopped = true;
            worker.settle()?;
            return Ok(worker.summary);
        }
        worker.finish(&seen)?;
        // A panic of the planner must not look like the end of the inputs.
        planner.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok(worker.summary)
    }

    /// Writes the record of the job, or compares it with the one that is there.
    fn open(&self, store: &Store) -> Result<(), BulkError> {
        let ours = serde_json::to_vec_pretty(&self.record);
        let ours = ours.map_err(|source| BulkError::Record { name: record::JOB.into(), source })?;
        if store.create(record::JOB, &ours)? {
            return Ok(());
        }
        let name = store.full_name(record::JOB);
        let theirs: JobRecord = store.json(record::JOB)?.ok_or(BulkError::NoRecord { name })?;
        if theirs.id() == self.record.id() {
            return Ok(());
        }
        match self.overwrite {
            true => store.put(record::JOB, &ours),
            false => Err(BulkError::OtherJob {
                out: store.to_string(),
                differences: self.record.differences(&theirs),
            }),
        }
    }

    /// Starts the thread that lists the inputs and divides them into parts, far ahead of the work.
    fn start_planner(&self, store: &Store, hidden: &Hidden, tasks: Sender<Planned>) -> JoinHandle<()> {
        let (job, store, hidden) = (self.clone(), store.clone(), hidden.clone());
        thread::spawn(move || {
            let planner = Planner::resume(&store, &job, tasks.clone());
            if let Err(error) =
                planner.and_then(|planner| planner.plan(inputs(&job.inputs, &job.out, &job.options, &hidden)))
            {
                let _ = tasks.send(Planned::Failed(error));
            }
        })
    }
}

/// Lists inputs, without what a job wrote: parts in parquet would be read as images of the next start.
pub(super) fn inputs<'a>(
    places: &[Place],
    out: &Place,
    options: &Options,
    hidden: &'a Hidden,
) -> impl Iterator<Item = Result<InputRecord, BulkError>> + use<'a> {
    let prefix = format!("{}/", out.name().trim_end_matches('/'));
    let folder = out.path().and_then(|path| path.canonicalize().ok());
    let is_output = move |unit: &Unit| {
        let lies_in =
            |folder: &PathBuf| unit.place.path()?.canonicalize().ok().map(|path| path.starts_with(folder));
        unit.name.starts_with(&prefix)
            || unit.kind.is_shard() && folder.as_ref().and_then(lies_in) == Some(true)
    };
    places::units(places.to_vec(), options).filter_map(move |unit| match unit {
        Ok(unit) => (!is_output(&unit)).then(|| Ok(InputRecord::of(unit, hidden))),
        Err(error) => Some(Err(error.into())),
    })
}

/// Consumer of the results, and of the feeder's marks beside them.
struct Worker<'a> {
    job: &'a Job,
    store: &'a Store,
    classifier: &'a Classifier,
    see: &'a mut dyn FnMut(Event<'_>),
    part: Option<OpenPart>,
    /// Part that another thread puts in place.
    finishing: Option<JoinHandle<Result<Finished, BulkError>>>,
    summary: Summary,
}

impl Worker<'_> {
    /// Adds the result of the next image to its part.
    fn add(&mut self, outcome: Outcome, marks: &Receiver<Mark>) -> Result<(), BulkError> {
        // The feeder tells of an image before it gives it.
        for mark in marks {
            if let Mark::Image { name, is_unread } = mark {
                return self.row(named(outcome, &name)?, &name, is_unread);
            }
            self.obey(mark)?;
        }
        Ok(())
    }

    fn row(&mut self, outcome: Outcome, name: &str, is_unread: bool) -> Result<(), BulkError> {
        if let Some(part) = &mut self.part {
            part.add(name, &outcome, is_unread)?;
        }
        (self.see)(Event::Image(&outcome));
        Ok(())
    }

    /// Does what a mark says that is no image.
    fn obey(&mut self, mark: Mark) -> Result<(), BulkError> {
        match mark {
            Mark::Begin(task) => {
                let multi_label = self.classifier.is_multi_label();
                self.part = Some(OpenPart::begin(self.store, &self.job.record, task, multi_label)?);
            }
            Mark::End => {
                self.settle()?;
                self.finishing = self.part.take().map(|part| thread::spawn(|| part.finish()));
            }
            Mark::Listed(listed) => {
                self.summary.listed = Some(listed);
                (self.see)(Event::Listed(listed));
            }
            Mark::Failed(error) => {
                self.settle()?;
                return Err(error);
            }
            Mark::Image { .. } => {}
        }
        Ok(())
    }

    /// Waits until the last part is in place.
    fn settle(&mut self) -> Result<(), BulkError> {
        let Some(thread) = self.finishing.take() else { return Ok(()) };
        let finished = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        self.summary.parts += 1;
        self.summary.images += finished.rows;
        self.summary.failed += finished.failed;
        (self.see)(Event::Part { inputs: finished.inputs });
        Ok(())
    }

    /// Obeys the last marks, and ends the last part.
    fn finish(&mut self, marks: &Receiver<Mark>) -> Result<(), BulkError> {
        for mark in marks.try_iter() {
            self.obey(mark)?;
        }
        self.settle()?;
        match self.summary.listed {
            Some(Listed { all: 0, .. }) => Err(BulkError::NoInputs),
            _ => Ok(()),
        }
    }
}

/// Gives an outcome the name of its input. A network that cannot be run is an error, for no other image could be either.
fn named(outcome: Outcome, name: &str) -> Result<Outcome, BulkError> {
    let path = name.into();
    Ok(match outcome {
        Outcome::Failed(Failed { error, .. }) if ends_job(&error) => return Err(BulkError::Network(error)),
        Outcome::Failed(Failed { error, .. }) => Outcome::Failed(Failed { path, error }),
        // What is assumed of a model without a card is said once, in the record of the job.
        Outcome::Classified(classified) => {
            Outcome::Classified(Classified { path, assumed: None, ..classified })
        }
    })
}

fn ends_job(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Session(error) if !matches!(error, SessionError::NotFinite { .. }))
}
