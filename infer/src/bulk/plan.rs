//! Division of the inputs of a shard into parts.
//!
//! A part is planned before it is begun: the record of its inputs is created, unless one of this number is there. So an
//! input is in one part only, also when inputs are added, or when two processes work on one shard: the second one finds
//! the first one's plan. Whoever works on a part writes the same rows.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::Sender;

use super::error::BulkError;
use super::files::{Files, plan_bytes, read_plan, remove};
use super::keys::KeySet;
use super::record::{self, InputRecord, JobId, ListedRecord, PartNumber};
use super::run::Job;
use super::shard::Key;
use super::store::Store;
use super::tally::Tally;
use crate::places::UnitKind;

/// Part to work on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) part: PartNumber,
    /// Number of inputs.
    pub(super) inputs: usize,
    /// True where another process may have done it in the meantime.
    pub(super) is_shared: bool,
}

/// Message of the planner.
#[derive(Debug)]
pub(super) enum Planned {
    /// A part to work on.
    Part(Task),
    /// All inputs of the shard have their parts.
    Listed(Listed),
    /// The inputs could not be listed, or a part not planned.
    Failed(BulkError),
}

/// Inputs of a shard, by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Listed {
    /// Inputs of all shards.
    pub all: u64,
    /// Inputs of this shard.
    pub inputs: u64,
    /// Parts that were done already.
    pub done: Done,
    /// Inputs that changed since their part was done: it is done again.
    pub changed: u64,
    /// Inputs that were named more than once.
    pub repeated: u64,
}

/// Parts that were done before this process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Their inputs.
    pub inputs: u64,
    /// Their images.
    pub images: u64,
    /// Images of these that failed.
    pub failed: u64,
}

impl Done {
    fn of(inputs: usize, tally: &Tally) -> Self {
        Self { inputs: inputs as u64, images: tally.rows, failed: tally.failed }
    }

    fn plus(self, other: Self) -> Self {
        let Self { inputs, images, failed } = other;
        Self { inputs: self.inputs + inputs, images: self.images + images, failed: self.failed + failed }
    }
}

/// Parts of a shard.
pub(super) struct Planner<'a> {
    store: &'a Store,
    job: &'a Job,
    id: JobId,
    /// Inputs that have a part.
    known: KeySet,
    next: PartNumber,
    /// Parts that were done before.
    done: BTreeMap<PartNumber, Done>,
    tasks: Sender<Planned>,
}

impl<'a> Planner<'a> {
    /// Reads what earlier processes planned and did of a shard, and sends on the parts that are not done.
    pub(super) fn resume(store: &'a Store, job: &'a Job, tasks: Sender<Planned>) -> Result<Self, BulkError> {
        let next = PartNumber(job.shard.index());
        let (id, known) = (job.record.id(), KeySet::default());
        let mut planner = Self { store, job, id, known, next, done: BTreeMap::new(), tasks };
        let files = Files::list(store, |part| planner.owns(part))?;
        files.check_records(store)?;
        for &part in &files.planned {
            let (header, inputs) = read_plan(store, part)?;
            if header.job != planner.id {
                planner.refuse_or_remove(part)?;
                continue;
            }
            planner.next = planner.next.max(planner.after(part));
            planner.learn(&inputs);
            if let Some(record) = files.done(store, &job.record, part)? {
                planner.done.insert(part, Done::of(inputs.len(), &record.tally));
                continue;
            }
            // The record, if there is one, is about rows that are gone or incomplete.
            store.delete(&part.done())?;
            planner.send(part, inputs.len(), true);
        }
        Ok(planner)
    }

    fn owns(&self, part: PartNumber) -> bool {
        part.0 % self.job.shard.count() == self.job.shard.index()
    }

    fn learn(&mut self, inputs: &[InputRecord]) {
        for input in inputs {
            self.known.insert(Key::of(&input.name), input.stamp());
        }
    }

    fn refuse_or_remove(&self, part: PartNumber) -> Result<(), BulkError> {
        if !self.job.overwrite {
            let differences = vec![format!("{part} was made by another model or with other settings")];
            return Err(BulkError::OtherJob { out: self.store.to_string(), differences });
        }
        remove(self.store, part)
    }

    fn after(&self, part: PartNumber) -> PartNumber {
        PartNumber(part.0 + self.job.shard.count())
    }

    fn send(&self, part: PartNumber, inputs: usize, is_shared: bool) {
        // Nobody waits for it: the process ends.
        let _ = self.tasks.send(Planned::Part(Task { part, inputs, is_shared }));
    }

    /// Divides the inputs that have no part yet.
    pub(super) fn plan(
        mut self,
        inputs: impl Iterator<Item = Result<InputRecord, BulkError>>,
    ) -> Result<(), BulkError> {
        let mut listed = Listed::default();
        let mut chunk: Vec<InputRecord> = Vec::new();
        let mut changed: Vec<InputRecord> = Vec::new();
        let mut seen = KeySet::default();
        for input in inputs {
            let input = input?;
            listed.all += 1;
            let key = Key::of(&input.name);
            if !self.job.shard.has(key) {
                continue;
            }
            if seen.insert(key, 0).is_some() {
                listed.repeated += 1;
                continue;
            }
            listed.inputs += 1;
            match self.known.get(key) {
                Some(stamp) if stamp == input.stamp() => {}
                Some(_) => changed.push(input),
                None if input.kind == UnitKind::Image => chunk.push(input),
                // A shard file is a part of its own.
                None => self.claim(vec![input])?,
            }
            if chunk.len() == self.job.part_size {
                self.claim(std::mem::take(&mut chunk))?;
            }
        }
        self.claim(chunk)?;
        listed.changed = changed.len() as u64;
        self.renew(changed)?;
        listed.done = self.done.values().fold(Done::default(), |sum, part| sum.plus(*part));
        let record = ListedRecord { job: self.id.clone(), inputs: listed.inputs };
        self.store.put_json(&record::listed(self.job.shard.index()), &record)?;
        let _ = self.tasks.send(Planned::Listed(listed));
        Ok(())
    }

    /// Plans a part of these inputs, but for those that another process planned meanwhile.
    fn claim(&mut self, mut inputs: Vec<InputRecord>) -> Result<(), BulkError> {
        while !inputs.is_empty() {
            let part = self.next;
            self.next = self.after(part);
            if self.store.create(&part.inputs(), &plan_bytes(&self.id, &inputs)?)? {
                self.learn(&inputs);
                self.send(part, inputs.len(), false);
                return Ok(());
            }
            let (header, theirs) = read_plan(self.store, part)?;
            if header.job != self.id {
                let differences = vec![format!("{part} is planned by another job at this moment")];
                return Err(BulkError::OtherJob { out: self.store.to_string(), differences });
            }
            self.learn(&theirs);
            self.send(part, theirs.len(), true);
            inputs.retain(|input| self.known.get(Key::of(&input.name)).is_none());
        }
        Ok(())
    }

    /// Plans the parts of changed inputs again, as the inputs are now.
    fn renew(&mut self, changed: Vec<InputRecord>) -> Result<(), BulkError> {
        if changed.is_empty() {
            return Ok(());
        }
        let changed: HashMap<String, InputRecord> =
            changed.into_iter().map(|input| (input.name.clone(), input)).collect();
        for &part in &Files::list(self.store, |part| self.owns(part))?.planned {
            let (_, mut inputs) = read_plan(self.store, part)?;
            let mut is_changed = false;
            for input in &mut inputs {
                if let Some(now) = changed.get(&input.name) {
                    is_changed |= input != now;
                    *input = now.clone();
                }
            }
            if is_changed {
                self.done.remove(&part);
                self.store.delete(&part.done())?;
                self.store.put(&part.inputs(), &plan_bytes(&self.id, &inputs)?)?;
                self.send(part, inputs.len(), false);
            }
        }
        Ok(())
    }
}
