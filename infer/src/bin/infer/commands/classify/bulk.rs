//! `infer classify --out`: a job over many images.

use anyhow::{Context, Result, bail};
use ferronnx_infer::Classifier;
use ferronnx_infer::bulk::rows::RowFormat;
use ferronnx_infer::bulk::{BulkError, Event, Job, JobRecord, Listed, Shard, Summary, model_digest};
use ferronnx_infer::places::{Options, Place};
use ferronnx_infer::results::Outcome;
use ferronnx_report::text;
use serde_json::{Map, Value};

use super::places;
use super::progress::Progress;
use crate::args::{ClassifyArgs, Format};
use crate::exit::Done;
use crate::{messages, signals};

/// Number of failed images that are named on standard error; the parts have all.
const NAMED: u64 = 10;

/// Classifies the inputs of `args` that have no result in `out` yet.
pub(super) fn run(args: &ClassifyArgs, out: &Place) -> Result<Done> {
    let format = row_format(args.format)?;
    let inputs = places(&args.paths)?;
    let shard = args.bulk.shard.find()?.unwrap_or(Shard::WHOLE);
    let classifier = super::load(args, false)?;
    let job = Job {
        inputs,
        out: out.clone(),
        record: record(args, &classifier, format, shard)?,
        shard,
        part_size: args.bulk.part_size,
        overwrite: args.bulk.overwrite,
        options: Options::default(),
    };
    let stop = signals::stop()?;
    let mut view = View { progress: Progress::start(), failed: 0 };
    let result = job.run(&classifier, &stop, &mut |event| view.see(&event));
    view.progress.finish();
    let summary = result.map_err(with_advice)?;
    report(&summary, &job);
    Ok(exit(&summary))
}

/// Format of the parts.
fn row_format(format: Option<Format>) -> Result<RowFormat> {
    Ok(match format {
        None | Some(Format::Jsonl) => RowFormat::Jsonl,
        Some(Format::Csv) => RowFormat::Csv,
        #[cfg(feature = "cloud")]
        Some(Format::Parquet) => RowFormat::Parquet,
        #[cfg(not(feature = "cloud"))]
        Some(Format::Parquet) => {
            bail!("--format parquet: this program was built without the feature `cloud`, which writes it")
        }
        Some(Format::Table | Format::Json) => bail!("--format: the parts of --out are jsonl, csv or parquet"),
    })
}

/// Describes what the results depend on.
fn record(
    args: &ClassifyArgs,
    classifier: &Classifier,
    format: RowFormat,
    shard: Shard,
) -> Result<JobRecord> {
    let path = args.model.path();
    let digest = model_digest(&path).with_context(|| path.display().to_string())?;
    let mut settings = Map::new();
    settings.insert("top_k".into(), args.top_k.into());
    settings.insert("threshold".into(), args.threshold.map_or(Value::Null, |value| value.to_string().into()));
    // Labels can lie in another file, of which `assumed` has the number only.
    if !classifier.assumed().is_empty() {
        settings.insert("labels".into(), classifier.card().labels.clone().into());
    }
    for assumed in classifier.assumed().iter().filter(|assumed| assumed.what != "labels") {
        settings.insert(assumed.what.into(), assumed.value.clone());
    }
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    Ok(JobRecord::new(name, digest, settings, format, shard.count()))
}

/// View of a job for people.
struct View {
    progress: Progress,
    failed: u64,
}

impl View {
    fn see(&mut self, event: &Event<'_>) {
        match event {
            Event::Image(Outcome::Failed(failed)) => {
                self.failed += 1;
                if self.failed <= NAMED {
                    messages::failed(self.progress.bar(), failed);
                }
                if self.failed == NAMED {
                    self.progress.line("more failures are in the results only");
                }
                self.progress.image(true);
            }
            Event::Image(_) => self.progress.image(false),
            Event::Part { inputs } => self.progress.inputs(*inputs as u64),
            Event::Listed(listed) => {
                self.progress.total(listed.inputs - listed.done.inputs.min(listed.inputs));
                if let Some(line) = remarks(listed) {
                    self.progress.line(&line);
                }
            }
            _ => {}
        }
    }
}

/// Words what is remarkable about the inputs, if anything is.
fn remarks(listed: &Listed) -> Option<String> {
    let remark = |count: u64, one: &str, many: &str| match count {
        0 => None,
        1 => Some(format!("1 input {one}")),
        _ => Some(format!("{count} inputs {many}")),
    };
    let remarks: Vec<_> = [
        remark(listed.done.inputs, "was done before", "were done before"),
        remark(
            listed.changed,
            "changed since it was done: its part is done again",
            "changed since they were done: their parts are done again",
        ),
        remark(
            listed.repeated,
            "is named more than once: it is classified once",
            "are named more than once: they are classified once",
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!remarks.is_empty()).then(|| remarks.join("; "))
}

/// Says what was done, and how to go on.
fn report(summary: &Summary, job: &Job) {
    let Summary { parts, images, failed, .. } = summary;
    let failed = if *failed == 0 { String::new() } else { format!(", {failed} of them failed") };
    let shard = if job.shard == Shard::WHOLE { String::new() } else { format!("shard {}: ", job.shard) };
    let (images, parts) = (text::counted(*images, "image"), text::counted(*parts, "new part"));
    messages::note(format_args!("{shard}{images} in {parts}{failed}: {}", job.out));
    if summary.is_stopped {
        messages::note("stopped: the same command goes on with what is missing");
    }
}

/// Exit code by all results of the shard, those of earlier processes too.
fn exit(summary: &Summary) -> Done {
    if summary.is_stopped {
        return Done::Stopped;
    }
    let before = summary.listed.map(|listed| listed.done).unwrap_or_default();
    let (images, failed) = (before.images + summary.images, before.failed + summary.failed);
    let counts = [images - failed, failed].map(|count| usize::try_from(count).unwrap_or(usize::MAX));
    // A shard may be empty where there are few inputs.
    if images == 0 { Done::All } else { Done::from_counts(counts[0], counts[1]) }
}

/// Adds the flags that help.
pub(super) fn with_advice(error: BulkError) -> anyhow::Error {
    let advice = match &error {
        BulkError::OtherJob { .. } => "choose another --out, or replace them with --overwrite",
        BulkError::ForeignPart { .. } => "choose another --out, or remove it",
        BulkError::Record { .. } | BulkError::NoRecord { .. } => {
            "choose another --out, or remove _job and the parts"
        }
        _ => return error.into(),
    };
    let text = ferronnx_infer::error::chain(&error);
    anyhow::anyhow!("{text}: {advice}")
}
