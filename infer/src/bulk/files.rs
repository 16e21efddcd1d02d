//! Files of an output: which parts are planned, and which are done.

use std::collections::BTreeSet;

use super::error::BulkError;
use super::record::{DoneRecord, FOLDER, InputRecord, JobId, JobRecord, PartNumber, PlanHeader};
use super::store::Store;

/// Files of an output, by their parts.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Files of rows: part and extension.
    pub(super) rows: BTreeSet<(PartNumber, String)>,
    /// Parts with a record of their inputs.
    pub(super) planned: BTreeSet<PartNumber>,
    /// Parts with a record of what is done.
    pub(super) done: BTreeSet<PartNumber>,
}

impl Files {
    /// Lists the files of those parts that `wanted` chooses.
    pub(super) fn list(store: &Store, wanted: impl Fn(PartNumber) -> bool) -> Result<Self, BulkError> {
        let mut files = Self::default();
        for name in store.list("")? {
            if let Some((part, extension)) = PartNumber::of_file(&name)
                && wanted(part)
            {
                files.rows.insert((part, extension.to_owned()));
            }
        }
        for name in store.list(FOLDER)? {
            files.planned.extend(PartNumber::of_inputs(&name).filter(|&part| wanted(part)));
            files.done.extend(PartNumber::of_done(&name).filter(|&part| wanted(part)));
        }
        Ok(files)
    }

    /// Checks that each file of rows has a record, so that no other file is overwritten.
    pub(super) fn check_records(&self, store: &Store) -> Result<(), BulkError> {
        match self.rows.iter().find(|(part, _)| !self.planned.contains(part)) {
            Some((part, extension)) => {
                Err(BulkError::ForeignPart { out: store.to_string(), name: format!("{part}.{extension}") })
            }
            None => Ok(()),
        }
    }

    /// Reads the record of a part that is done: its rows are there, and all its images could be read.
    pub(super) fn done(
        &self,
        store: &Store,
        job: &JobRecord,
        part: PartNumber,
    ) -> Result<Option<DoneRecord>, BulkError> {
        if !self.done.contains(&part) || !self.rows.contains(&(part, job.format.extension().into())) {
            return Ok(None);
        }
        let done: Option<DoneRecord> = store.json(&part.done())?;
        Ok(done.filter(|done| done.job == job.id() && done.tally.unread == 0))
    }
}

/// Removes a part with its records; the plan goes last, for it says that the part is there.
pub(super) fn remove(store: &Store, part: PartNumber) -> Result<(), BulkError> {
    store.delete(&part.done())?;
    for name in store.list("")? {
        if PartNumber::of_file(&name).is_some_and(|(other, _)| other == part) {
            store.delete(&name)?;
        }
    }
    store.delete(&part.inputs())
}

/// Record of a part's inputs, as its bytes.
pub(super) fn plan_bytes(job: &JobId, inputs: &[InputRecord]) -> Result<Vec<u8>, BulkError> {
    let header = PlanHeader { job: job.clone(), inputs: inputs.len() };
    let lines = || -> serde_json::Result<String> {
        let mut lines = serde_json::to_string(&header)?;
        for input in inputs {
            lines.push('\n');
            lines += &serde_json::to_string(input)?;
        }
        Ok(lines + "\n")
    };
    let damaged = |source| BulkError::Record { name: "a record of inputs".into(), source };
    lines().map(String::into_bytes).map_err(damaged)
}

/// Reads the record of a part's inputs.
pub(super) fn read_plan(
    store: &Store,
    part: PartNumber,
) -> Result<(PlanHeader, Vec<InputRecord>), BulkError> {
    let name = part.inputs();
    let bytes = store.read(&name)?.ok_or_else(|| BulkError::NoRecord { name: store.full_name(&name) })?;
    let damaged = |source| BulkError::Record { name: store.full_name(&name), source };
    let mut lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let header: PlanHeader = serde_json::from_slice(lines.next().unwrap_or_default()).map_err(damaged)?;
    let inputs: Vec<InputRecord> =
        lines.map(serde_json::from_slice).collect::<Result<_, _>>().map_err(damaged)?;
    match inputs.len() == header.inputs {
        true => Ok((header, inputs)),
        false => Err(BulkError::NoRecord { name: store.full_name(&name) }),
    }
}
