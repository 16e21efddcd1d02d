//! Part at hand: its rows, until they are in place.

use super::error::BulkError;
use super::plan::Task;
use super::record::{DoneRecord, JobRecord};
use super::rows::{RowWriter, Rows};
use super::store::Store;
use super::tally::Tally;
use crate::places::Output;
use crate::results::Outcome;

/// Part whose rows are written, and not visible yet. Dropped, it leaves nothing.
pub(super) struct OpenPart {
    task: Task,
    store: Store,
    job: JobRecord,
    rows: Rows<Output>,
    tally: Tally,
}

/// Part that is in place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finished {
    pub(super) inputs: usize,
    pub(super) rows: u64,
    pub(super) failed: u64,
}

impl OpenPart {
    /// Begins the rows of a part.
    pub(super) fn begin(
        store: &Store,
        job: &JobRecord,
        task: Task,
        multi_label: bool,
    ) -> Result<Self, BulkError> {
        let file = store.file(&task.part.file(job.format))?;
        let rows = job.format.writer(multi_label, file);
        let name = || store.full_name(&task.part.file(job.format));
        let rows = rows.map_err(|source| BulkError::Write { name: name(), source })?;
        Ok(Self { task, store: store.clone(), job: job.clone(), rows, tally: Tally::default() })
    }

    /// Adds the row of an image; `is_unread` if it could not be read, and may be readable later.
    pub(super) fn add(&mut self, name: &str, outcome: &Outcome, is_unread: bool) -> Result<(), BulkError> {
        self.tally.add(name, matches!(outcome, Outcome::Failed(_)));
        self.tally.unread += u64::from(is_unread);
        self.rows.write(outcome).map_err(|source| BulkError::Write { name: self.name(), source })
    }

    /// Puts the rows in place, and then the record that says so.
    pub(super) fn finish(self) -> Result<Finished, BulkError> {
        let name = self.name();
        let Self { task, store, job, rows, tally } = self;
        rows.into_inner().map_err(|source| BulkError::Write { name, source })?.finish()?;
        let finished = Finished { inputs: task.inputs, rows: tally.rows, failed: tally.failed };
        store.put_json(&task.part.done(), &DoneRecord { job: job.id(), tally })?;
        Ok(finished)
    }

    fn name(&self) -> String {
        self.store.full_name(&self.task.part.file(self.job.format))
    }
}
