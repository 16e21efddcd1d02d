//! Check of an output: each input has one result, and nothing is there twice.

use std::collections::HashSet;

use serde::Serialize;

use super::error::BulkError;
use super::feed::Hidden;
use super::files::{Files, read_plan};
use super::keys::KeySet;
use super::record::{self, DoneRecord, InputRecord, JobRecord, ListedRecord, PartNumber};
use super::rows::Row;
use super::run::inputs;
use super::shard::{Key, Shard};
use super::store::Store;
use super::tally::Tally;
use crate::places::{self, Options, Place};

/// Number of names that are kept of each kind.
const NAMES: usize = 1000;

/// Result of a check: numbers over all parts, and names of what is missing or double.
#[derive(Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// True if every input has exactly one result. Failed images have one.
    pub complete: bool,
    /// Number of inputs: images, and shard files with many of them.
    pub inputs: u64,
    /// Number of images with a result.
    pub results: u64,
    /// Number of these that failed.
    pub failures: u64,
    /// Number of parts that are done.
    pub parts: u64,
    /// Inputs without a result, or without one part of it.
    pub missing: Names,
    /// Images with several results, and inputs in several parts.
    pub double: Names,
    /// Inputs that changed since they were classified.
    pub changed: Names,
    /// Inputs of the parts that are no inputs any more. They do not make the output incomplete.
    pub unexpected: Names,
    /// Files that are not as they were written, each with the reason.
    pub damaged: Names,
    /// Shards whose inputs are not all listed yet.
    pub unlisted_shards: Vec<u64>,
}

/// Names, of which the first are kept.
#[derive(Debug, Default, Serialize)]
pub struct Names {
    /// Number of all of them.
    pub count: u64,
    /// The first thousand.
    pub names: Vec<String>,
}

impl Names {
    fn add(&mut self, name: impl Into<String>) {
        self.count += 1;
        if self.names.len() < NAMES {
            self.names.push(name.into());
        }
    }
}

/// Checks the results in `out`, of one shard or of all.
///
/// They are compared with `places` as they are now, or with the inputs as they were listed if there are none.
///
/// # Errors
/// [`BulkError`] when there is no job in `out`, or the inputs or the output cannot be read.
pub fn check(
    out: &Place,
    places: &[Place],
    shard: Option<Shard>,
    options: &Options,
) -> Result<Report, BulkError> {
    let store = Store::new(out.clone());
    let job: JobRecord = store.json(record::JOB)?.ok_or_else(|| BulkError::NoJob(store.to_string()))?;
    if let Some(shard) = shard.filter(|shard| shard.count() != job.shards) {
        let differences = vec![format!("shards {}, now {}", job.shards, shard.count())];
        return Err(BulkError::OtherJob { out: store.to_string(), differences });
    }
    let (planned, report) = (KeySet::default(), Report::default());
    let mut check = Check { store, job, shard, options: *options, planned, report };
    let files = Files::list(&check.store, |part| check.is_checked(part))?;
    check.parts(&files)?;
    match places {
        [] => check.listed_shards()?,
        places => check.inputs(places, &files)?,
    }
    let mut report = check.report;
    let faults = [&report.missing, &report.double, &report.changed, &report.damaged];
    report.complete = faults.iter().all(|names| names.count == 0) && report.unlisted_shards.is_empty();
    Ok(report)
}

struct Check {
    store: Store,
    job: JobRecord,
    shard: Option<Shard>,
    options: Options,
    /// Inputs of all parts.
    planned: KeySet,
    report: Report,
}

impl Check {
    fn is_checked(&self, part: PartNumber) -> bool {
        self.shard.is_none_or(|shard| part.0 % shard.count() == shard.index())
    }

    /// Checks the parts, each for itself.
    fn parts(&mut self, files: &Files) -> Result<(), BulkError> {
        for (part, extension) in &files.rows {
            if !files.planned.contains(part) || extension != self.job.format.extension() {
                self.report.damaged.add(format!("{part}.{extension}: no job has written it"));
            }
        }
        for &part in &files.planned {
            let (header, inputs) = read_plan(&self.store, part)?;
            if header.job != self.job.id() {
                self.report.damaged.add(format!("{part}: it is of another job"));
                continue;
            }
            for input in &inputs {
                if self.planned.insert(Key::of(&input.name), input.stamp()).is_some() {
                    self.report.double.add(&input.name);
                }
            }
            self.part(part, &inputs)?;
        }
        Ok(())
    }

    /// Compares the rows of a part with its inputs.
    fn part(&mut self, part: PartNumber, inputs: &[InputRecord]) -> Result<(), BulkError> {
        let name = part.file(self.job.format);
        let done: Option<DoneRecord> = self.store.json(&part.done())?;
        let done = done.filter(|done| done.job == self.job.id());
        let (Some(done), Some(bytes)) = (done, self.store.read(&name)?) else {
            inputs.iter().for_each(|input| self.report.missing.add(&input.name));
            return Ok(());
        };
        let mut rows = Rows::new(inputs);
        let report = &mut self.report;
        let mut add = |row: Row<'_>| {
            if !rows.add(&row, report) {
                report.damaged.add(format!("{name}: {} is none of its inputs", row.name));
            }
        };
        if let Err(error) = self.job.format.read(&bytes[..], &mut add) {
            report.damaged.add(format!("{name}: {error}"));
            rows.is_explained = true;
        }
        report.parts += 1;
        report.results += rows.tally.rows;
        report.failures += rows.tally.failed;
        let mut is_explained = rows.finish(report);
        if !is_explained && !rows.tally.has_rows_of(&done.tally) {
            is_explained = rows.read_again(inputs, &self.options, report);
        }
        if !is_explained && !rows.tally.has_rows_of(&done.tally) {
            let (found, written) = (rows.tally.rows, done.tally.rows);
            report
                .damaged
                .add(format!("{name}: its {found} results are not the {written} that were written"));
        }
        Ok(())
    }

    /// Checks that the inputs of each shard were listed to the end.
    fn listed_shards(&mut self) -> Result<(), BulkError> {
        let shards = match self.shard {
            Some(shard) => shard.index()..shard.index() + 1,
            None => 0..self.job.shards,
        };
        for shard in shards {
            let listed: Option<ListedRecord> = self.store.json(&record::listed(shard))?;
            if listed.is_none_or(|listed| listed.job != self.job.id()) {
                self.report.unlisted_shards.push(shard);
            }
        }
        self.report.inputs = self.planned.len() as u64;
        Ok(())
    }

    /// Compares the inputs as they are now with those of the parts.
    fn inputs(&mut self, places: &[Place], files: &Files) -> Result<(), BulkError> {
        let mut listed = KeySet::default();
        for input in inputs(places, self.store.place(), &self.options, &Hidden::default()) {
            let input = input?;
            let key = Key::of(&input.name);
            if self.shard.is_some_and(|shard| !shard.has(key)) || listed.insert(key, 0).is_some() {
                continue;
            }
            match self.planned.get(key) {
                None => self.report.missing.add(&input.name),
                Some(stamp) if stamp != input.stamp() => self.report.changed.add(&input.name),
                Some(_) => {}
            }
        }
        self.report.inputs = listed.len() as u64;
        // Names are in the records only: they are read again where one has no input.
        if self.report.inputs < self.planned.len() as u64 + self.report.missing.count {
            for &part in &files.planned {
                let (_, inputs) = read_plan(&self.store, part)?;
                let gone = inputs.iter().filter(|input| listed.get(Key::of(&input.name)).is_none());
                gone.for_each(|input| self.report.unexpected.add(&input.name));
            }
        }
        Ok(())
    }
}

/// Rows of one part, compared with its inputs.
struct Rows<'a> {
    /// Images that are inputs themselves.
    images: HashSet<&'a str>,
    /// Shard files.
    shards: Vec<&'a str>,
    seen: HashSet<Key>,
    tally: Tally,
    is_explained: bool,
}

impl<'a> Rows<'a> {
    fn new(inputs: &'a [InputRecord]) -> Self {
        let (shards, images): (Vec<&InputRecord>, Vec<_>) =
            inputs.iter().partition(|input| input.kind.is_shard());
        let images = images.into_iter().map(|input| input.name.as_str()).collect();
        let shards = shards.into_iter().map(|input| input.name.as_str()).collect();
        Self { images, shards, seen: HashSet::new(), tally: Tally::default(), is_explained: false }
    }

    /// Counts a row; tells whether it is of one of the inputs.
    fn add(&mut self, row: &Row<'_>, report: &mut Report) -> bool {
        self.tally.add(row.name, row.failed);
        let is_known =
            self.images.contains(row.name) || self.shards.iter().any(|shard| is_of(row.name, shard));
        let is_new = self.seen.insert(Key::of(row.name));
        if is_known && !is_new {
            report.double.add(row.name);
        }
        self.is_explained |= !is_known || !is_new;
        is_known
    }

    /// Reports images without a row; tells whether a fault was reported by name.
    fn finish(&mut self, report: &mut Report) -> bool {
        for image in &self.images {
            if !self.seen.contains(&Key::of(image)) {
                self.is_explained = true;
                report.missing.add(*image);
            }
        }
        self.is_explained
    }

    /// Reads the shard files again to name their images that have no row; tells whether there are any.
    fn read_again(&self, inputs: &[InputRecord], options: &Options, report: &mut Report) -> bool {
        let unit = |input: &InputRecord| Some(input.clone().unit(Place::parse(&input.name).ok()?));
        let shards = inputs.iter().filter(|input| input.kind.is_shard());
        let units: Vec<_> = shards.filter_map(unit).collect();
        let before = report.missing.count;
        for item in places::items(units.into_iter(), options) {
            if !self.seen.contains(&Key::of(&item.name)) {
                report.missing.add(item.name);
            }
        }
        report.missing.count > before
    }
}

/// Tells whether a row is one of a shard file: an image in it, or its failure as a whole.
fn is_of(name: &str, shard: &str) -> bool {
    name.strip_prefix(shard).is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
}
