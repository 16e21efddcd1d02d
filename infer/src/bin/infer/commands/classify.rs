//! Command `infer classify`: classifies images.

mod bulk;
mod check;
mod progress;

use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use ferronnx_infer::bulk::Shard;
use ferronnx_infer::bulk::rows::RowWriter;
use ferronnx_infer::classifier::{Classifier, Source};
use ferronnx_infer::device::short_name;
use ferronnx_infer::files::LeftOut;
use ferronnx_infer::places::{self, Options, Place};
use ferronnx_infer::results::{Failed, Outcome};
use ferronnx_infer::session::Optimization;
use ferronnx_infer::{Error, ErrorKind, decode, files};
use indicatif::ProgressBar;

use super::model;
use crate::args::{ClassifyArgs, Format};
use crate::exit::Done;
use crate::messages;
use crate::output;

/// Number of images from which the network is optimized, unless a batch size is given.
const FEW: usize = 8;

/// Classifies the images of `args` and prints the result of each, or does what a flag for large jobs says.
pub fn run(args: &ClassifyArgs) -> Result<Done> {
    if let Some(out) = &args.bulk.check {
        return check::run(args, out);
    }
    if let Some(out) = &args.bulk.out {
        return bulk::run(args, out);
    }
    let format = args.format.unwrap_or(Format::Table);
    let shard = args.bulk.shard.find()?.unwrap_or(Shard::WHOLE);
    if args.paths.iter().any(|path| holds_many(path)) {
        return stream(args, format, shard);
    }
    let classifier = load(args, is_few(args))?;
    let Inputs { mut sources, failed, left_out } = inputs(&args.paths)?;
    sources.retain(|source| shard.contains(&source.path().to_string_lossy()));
    if !left_out.is_empty() {
        messages::note(format_args!("left out: {left_out}"));
    }

    let mut report = Report::new(format, classifier.is_multi_label(), sources.len())?;
    for failed in failed {
        report.add(&Outcome::Failed(failed))?;
    }
    let start = Instant::now();
    for outcome in classifier.classify_files(sources) {
        report.add(&outcome)?;
    }
    let seconds = start.elapsed().as_secs_f64();
    report.finish(seconds, &classifier)
}

/// Classifies images of lists, shards and stores while they are read.
fn stream(args: &ClassifyArgs, format: Format, shard: Shard) -> Result<Done> {
    let (inputs, options) = (places(&args.paths)?, Options::default());
    let classifier = load(args, false)?;
    let mut report = Report::new(format, classifier.is_multi_label(), 0)?;
    let (failed, failures) = channel();
    let units = places::units(inputs, &options).filter_map(move |unit| match unit {
        Ok(unit) => shard.contains(&unit.name).then_some(unit),
        Err(error) => {
            // Nobody reads it when the output was closed.
            let _ = failed.send(error);
            None
        }
    });
    let start = Instant::now();
    for outcome in classifier.classify_items(places::items(units, &options)) {
        report.add(&outcome)?;
    }
    let seconds = start.elapsed().as_secs_f64();
    for error in failures {
        let path = error.path().map(Path::to_owned).unwrap_or_default();
        report.add(&Outcome::Failed(Failed { path, error }))?;
    }
    report.finish(seconds, &classifier)
}

/// Tells whether a path is no image and no folder of images, but a list, a shard or an address.
fn holds_many(path: &Path) -> bool {
    !is_standard_input(path) && place(path).is_ok_and(|place| places::holds_many(&place))
}

/// Parses paths and addresses that a job can find again.
fn places(paths: &[impl AsRef<Path>]) -> Result<Vec<Place>> {
    let named = |path: &Path| match is_standard_input(path) {
        true => bail!(
            "`-`: an image on standard input cannot be in a large job: give files, folders or addresses"
        ),
        false => place(path),
    };
    paths.iter().map(|path| named(path.as_ref())).collect()
}

fn place(path: &Path) -> Result<Place> {
    match path.to_str() {
        Some(text) => Place::parse(text).map_err(|error| anyhow!(messages::words(&error))),
        None => Ok(path.to_owned().into()),
    }
}

fn is_standard_input(path: &Path) -> bool {
    path == Path::new("-")
}

/// Tells whether there are fewer images than a batch, so that optimizing the network takes longer than it saves.
fn is_few(args: &ClassifyArgs) -> bool {
    args.paths.len() < args.batch.unwrap_or(FEW).max(2) && !args.paths.iter().any(|path| path.is_dir())
}

fn load(args: &ClassifyArgs, is_few: bool) -> Result<Classifier> {
    let assumptions = args.assume.assumptions()?;
    let builder = Classifier::builder()
        .top_k(args.top_k)
        .batch(args.batch)
        .assume(assumptions)
        .threshold(args.threshold);
    model::classifier(&args.model, builder, if is_few { Optimization::Quick } else { Optimization::Full })
}

/// Images to classify, and everything else that was met on the way.
#[derive(Default)]
pub(super) struct Inputs {
    pub(super) sources: Vec<Source>,
    /// Folders that cannot be read or hold no images.
    pub(super) failed: Vec<Failed>,
    pub(super) left_out: LeftOut,
}

/// Lists the images of `paths`, in order.
pub(super) fn inputs(paths: &[impl AsRef<Path>]) -> Result<Inputs> {
    let mut inputs = Inputs::default();
    for path in paths.iter().map(AsRef::as_ref) {
        if is_standard_input(path) {
            inputs.sources.push(standard_input()?);
        } else if path.is_dir() {
            inputs.add_folder(path);
        } else {
            inputs.sources.push(Source::File(path.into()));
        }
    }
    Ok(inputs)
}

impl Inputs {
    fn add_folder(&mut self, folder: &Path) {
        let found = match files::find(folder) {
            Ok(found) => found,
            Err(error) => return self.fail(folder, error),
        };
        if found.images.is_empty() && found.failed.is_empty() {
            self.fail(folder, Error::from(ErrorKind::NoImages).at(folder));
        }
        for error in found.failed {
            let path = error.path().unwrap_or(folder).to_owned();
            self.fail(&path, error);
        }
        self.sources.extend(found.images.into_iter().map(Source::File));
        self.left_out.extend(found.left_out);
    }

    fn fail(&mut self, path: &Path, error: Error) {
        self.failed.push(Failed { path: path.into(), error });
    }
}

fn standard_input() -> Result<Source> {
    let mut bytes = Vec::new();
    let input = io::stdin().lock();
    input.take(decode::MAX_BYTES + 1).read_to_end(&mut bytes).context("standard input")?;
    Ok(Source::Bytes { path: "-".into(), bytes })
}

/// Prints results and counts them.
struct Report {
    writer: Box<dyn RowWriter>,
    format: Format,
    progress: ProgressBar,
    classified: usize,
    failed: usize,
}

impl Report {
    fn new(format: Format, multi_label: bool, images: usize) -> Result<Self> {
        let writer = output::writer(format, multi_label, Box::new(io::stdout().lock()))?;
        Ok(Self { writer, format, progress: messages::progress(images, true), classified: 0, failed: 0 })
    }

    fn add(&mut self, outcome: &Outcome) -> Result<()> {
        match outcome {
            Outcome::Classified(_) => self.classified += 1,
            Outcome::Failed(failed) => {
                self.failed += 1;
                messages::failed(&self.progress, failed);
            }
        }
        self.progress.inc(1);
        self.writer.write(outcome).context("standard output")
    }

    fn finish(mut self, seconds: f64, classifier: &Classifier) -> Result<Done> {
        self.progress.finish_and_clear();
        self.writer.finish().context("standard output")?;
        let Self { classified, failed, .. } = self;
        if self.format == Format::Table {
            let device = short_name(classifier.session().provider());
            let failed = if failed == 0 { String::new() } else { format!(", {failed} failed") };
            let rate = match classified {
                0 => String::new(),
                _ => format!(
                    " on {device}, {:.1} images/s in batches of {}",
                    classified as f64 / seconds,
                    classifier.batch()
                ),
            };
            messages::note(format_args!("{classified} classified{failed}{rate}"));
        }
        Ok(Done::from_counts(classified, failed))
    }
}
