//! Terminal output of training: progress bars on a terminal, plain lines everywhere.

mod time_left;

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ferronnx_infer::error::first_of;
use ferronnx_infer::escape;
pub use ferronnx_report::text::table;
use ferronnx_train::data::duplicates::Duplicates;
use ferronnx_train::data::folder::ImageFolder;
use ferronnx_train::recipe::{BestBy, Phase};
use ferronnx_train::report::modules::collapse;
use ferronnx_train::run::{Finished, Observer, RunConfig, RunError, RunPlan, Split, Started, Step};
use ferronnx_train::task::Task;
use ferronnx_train::trainer::{Epoch, EpochMetrics, PhaseRecord};
use indicatif::{ProgressBar, ProgressStyle};

use self::time_left::{Left, TimeLeft};
use crate::findings;

/// Prints a line on standard output with [`print`](crate::display::print()).
macro_rules! say {
    ($($text:tt)*) => { crate::display::print(format_args!($($text)*)) };
}

/// True if this process leaves the terminal to another one.
static MUTED: AtomicBool = AtomicBool::new(false);

/// Prints nothing from now on, because the first rank does.
pub fn mute() {
    MUTED.store(true, Ordering::Relaxed);
}

/// Prints a line on standard output, escaped for terminals. A reader that has gone does not end a run, so errors are
/// ignored.
pub fn print(text: impl Display) {
    if MUTED.load(Ordering::Relaxed) {
        return;
    }
    let _ = writeln!(io::stdout(), "{}", escape::text(&text.to_string()));
}

/// Prints a line on standard error, escaped for terminals.
pub fn print_error(text: impl Display) {
    let _ = writeln!(io::stderr(), "{}", escape::text(&text.to_string()));
}

/// Prints how the images of a data set are used, and what was left out.
pub fn data(data: &ImageFolder) {
    let left_out = (!data.left_out.is_empty()).then(|| format!("left out    {}", data.left_out));
    for line in data.notes.iter().map(|note| format!("data        {note}")).chain(left_out) {
        say!("{}", wrapped(&line));
    }
}

/// Wraps a line with its heading at 80 columns.
pub fn wrapped(line: &str) -> String {
    let how = textwrap::Options::new(80)
        .subsequent_indent("            ")
        .break_words(false)
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    textwrap::fill(line, how)
}

/// Prints a list of names after its heading, wrapped at 80 columns.
pub fn list(heading: &str, names: &str) {
    let how = textwrap::Options::new(80).subsequent_indent("    ").break_words(false);
    say!("{}", textwrap::fill(&format!("  {heading}: {names}"), how));
}

/// Progress bar for `len` images; hidden when stderr is not a terminal.
pub fn bar(label: &str, len: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg} {eta:>4} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(len as u64).with_style(style).with_prefix(label.to_owned())
}

/// Counter of images whose number is not known; hidden when stderr is not a terminal.
pub fn counter(label: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {spinner} {human_pos} images {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    ProgressBar::no_length().with_style(style).with_prefix(label.to_owned())
}

/// Progress bar for the images of an epoch, with the time left of the whole run in its message.
fn epoch_bar(epoch: usize, epochs: usize, images: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(images as u64).with_style(style).with_prefix(format!("epoch {epoch}/{epochs}"))
}

/// Progress bar for `len` bytes; hidden when stderr is not a terminal.
pub fn byte_bar(label: &str, len: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta:>4} left",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(len).with_style(style).with_prefix(label.to_owned())
}

/// Prints the events of a run.
pub struct Terminal {
    folder: PathBuf,
    network: String,
    /// Prefix that nearly all names share.
    prefix: String,
    /// Lines about the run, which wait until its images are read.
    announcement: Vec<String>,
    epochs: usize,
    task: Task,
    /// Metric that the recipe names to choose the best epoch.
    best: Option<BestBy>,
    images: ProgressBar,
    epoch: Option<ProgressBar>,
    left: TimeLeft,
}

impl Terminal {
    /// Prints the events of the run in `folder`; `network` describes the network on one line, and `prefix` is left out of
    /// its names.
    pub fn new(folder: &Path, network: String, prefix: &str) -> Self {
        Self {
            folder: folder.into(),
            network,
            prefix: prefix.into(),
            announcement: Vec::new(),
            epochs: 0,
            task: Task::default(),
            best: None,
            images: ProgressBar::hidden(),
            epoch: None,
            left: TimeLeft::default(),
        }
    }
}

impl Observer for Terminal {
    fn started(&mut self, start: &Started<'_>) -> Result<(), RunError> {
        let RunConfig { recipe, amp, device, preprocessing, task, .. } = start.config;
        self.epochs = recipe.epochs();
        let position = start.position.map_or([0, 0], |position| [position.phase, position.phase_epoch]);
        // Epochs that the folder has beyond the saved state are trained again.
        let mut metrics = start.folder.metrics()?;
        metrics.truncate(start.position.map_or(0, |position| position.epoch));
        let stops = recipe.early_stopping.is_some();
        self.left = TimeLeft::new(&recipe.phases, &start.plan.phases, &metrics, position, stops);
        (self.task, self.best) = (*task, recipe.best);
        let amp = amp.map_or_else(String::new, |amp| format!(", mixed precision {amp}"));
        self.announcement = vec![
            format!("at {}", preprocessing.crop),
            format!("recipe      {}, {} epochs, batch {}", recipe.name, recipe.epochs(), recipe.batch_size),
            format!("device      {device}{amp}"),
            format!("run folder  {}", self.folder.display()),
        ];
        match start.position {
            Some(position) => say!("going on after epoch {}, step {}", position.epoch, position.step),
            None => pretrained(start.config.pretrained.as_deref(), start.plan),
        }
        Ok(())
    }

    fn listing(&mut self, images: usize) {
        if images <= 1 {
            self.images = counter("reading names and labels");
        }
        self.images.set_position(images as u64);
    }

    fn reading(&mut self, split: Split, images: usize) -> Box<dyn Fn() + Send + Sync> {
        self.images.finish_and_clear();
        let bar = bar(&format!("reading {split}"), images);
        self.images = bar.clone();
        Box::new(move || bar.inc(1))
    }

    fn read(&mut self, split: Split, skipped: usize) -> ControlFlow<()> {
        self.images.finish_and_clear();
        if skipped > 0 {
            say!("{skipped} {split} images left out: they cannot be decoded");
        }
        ControlFlow::Continue(())
    }

    fn duplicates(&mut self, found: &Duplicates) -> Result<(), RunError> {
        let warnings = findings::leaks(found).into_iter().chain(findings::contradictions(found));
        warnings.for_each(|warning| print_error(wrapped(&format!("warning: {warning}"))));
        Ok(())
    }

    fn ready(&mut self, images: &[(Split, usize)]) -> Result<(), RunError> {
        let count = |of| images.iter().find(|(split, _)| *split == of).map_or(0, |(_, count)| *count);
        self.left.set_images(count(Split::Train), count(Split::Validation));
        let counts: Vec<String> = images.iter().map(|(split, count)| format!("{count} {split}")).collect();
        say!("network     {}", self.network);
        let mut lines = std::mem::take(&mut self.announcement).into_iter();
        say!("images      {}, {}", counts.join(", "), lines.next().unwrap_or_default());
        lines.for_each(|line| say!("{line}"));
        Ok(())
    }

    fn note(&mut self, note: &str) -> Result<(), RunError> {
        let how = textwrap::Options::new(80).subsequent_indent("            ").break_words(false);
        say!("{}", textwrap::fill(&format!("note        {note}"), &how));
        Ok(())
    }

    fn phase(&mut self, phase: &Phase, record: &PhaseRecord) -> Result<(), RunError> {
        self::phase(phase, record, &self.prefix);
        Ok(())
    }

    fn step(&mut self, step: &Step) -> ControlFlow<()> {
        let Step { epoch, epochs, images, progress, .. } = step;
        self.left.step(progress.images, *images, Instant::now());
        let bar = self.epoch.get_or_insert_with(|| epoch_bar(*epoch, *epochs, *images));
        bar.set_position(progress.images as u64);
        let rate = bar.per_sec();
        let (loss, accuracy) = (progress.loss, 100.0 * progress.accuracy);
        let left = self.left.left().map_or_else(String::new, |left| format!(", {left}"));
        let name = if self.task.is_multi_label() { "label acc" } else { "acc" };
        bar.set_message(format!("loss {loss:.3} {name} {accuracy:.1} % {rate:.0} img/s{left}"));
        ControlFlow::Continue(())
    }

    fn epoch(&mut self, epoch: &Epoch) -> Result<(), RunError> {
        if let Some(bar) = self.epoch.take() {
            bar.finish_and_clear();
        }
        self.left.epoch(&epoch.metrics, epoch.stopped_early);
        let (left, narrow) = (self.left.left(), io::stdout().is_terminal());
        say!("{}", epoch_line(&epoch.metrics, self.epochs, epoch.improved, left, narrow));
        if epoch.skipped > 0 {
            say!("  {} images left out: they cannot be decoded", epoch.skipped);
        }
        if epoch.stopped_early {
            say!("  the phase ends here: no better validation loss lately");
        }
        Ok(())
    }

    fn finished(&mut self, end: &Finished<'_>) -> Result<(), RunError> {
        let result = end.result;
        let by = self.best.map_or_else(String::new, |by| format!(", by {by}"));
        let (name, value) = match result.validation_map {
            Some(map) => ("mAP", map),
            None => ("accuracy", result.validation_accuracy),
        };
        say!("best epoch {} (*{by}), validation {name} {:.2} %", result.best_epoch, 100.0 * value);
        if let (Some(labels), Some(accuracy)) = (end.labels, result.test_accuracy) {
            let metrics = &labels.metrics;
            let map = metrics.mean_average_precision;
            say!(
                "test mAP {} of {} images, macro F1 {:.3}, label accuracy {:.2} %",
                map.map_or_else(|| "undefined".into(), |map| format!("{:.2} %", 100.0 * map)),
                metrics.images,
                metrics.macro_average.f1,
                100.0 * accuracy
            );
        } else if let Some(accuracy) = result.test_accuracy {
            let images = end.evaluation.predictions.len();
            let mirrored = result.mirrored_test_accuracy.map_or_else(String::new, |accuracy| {
                format!(", {:.2} % with mirror images as well", 100.0 * accuracy)
            });
            say!("test accuracy {:.2} % of {images} images{mirrored}", 100.0 * accuracy);
        }
        say!("report      {}", self.folder.join("report.html").display());
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        for bar in self.epoch.iter().chain([&self.images]) {
            bar.finish_and_clear();
        }
    }
}

/// Prints which tensors were loaded, adapted and ignored.
fn pretrained(file: Option<&Path>, plan: &RunPlan) {
    let Some(file) = file else {
        say!("no pretrained weights: every layer is new and learns in every phase");
        return;
    };
    let RunPlan { loaded, summed, new, adapted, ignored, prefix, alternatives, .. } = plan;
    say!("pretrained weights: {} tensors loaded from {}", loaded.len(), file.display());
    if !prefix.is_empty() {
        say!("  under {prefix}");
    }
    if !alternatives.is_empty() {
        let others = alternatives.iter().map(|prefix| self::prefix(prefix));
        list("passed over, a whole network as well", &others.collect::<Vec<_>>().join(", "));
    }
    if !summed.is_empty() {
        list("summed over red, green and blue, for gray images", &summed.join(", "));
    }
    list("new", &if new.is_empty() { "none".into() } else { new.join(", ") });
    if !adapted.is_empty() {
        list("of these begun from the file's", &adapted.join(", "));
    }
    if !ignored.is_empty() {
        list("ignored", &few(ignored));
    }
}

/// Names a prefix of tensors in a checkpoint; the empty one needs words.
pub fn prefix(prefix: &str) -> &str {
    if prefix.is_empty() { "names without a prefix" } else { prefix }
}

/// Joins the first of many names; the state of an optimizer has hundreds.
fn few(names: &[String]) -> String {
    first_of(20, names.iter())
}

/// Prints the trained and frozen parameters of a phase, and its learning rates.
fn phase(phase: &Phase, record: &PhaseRecord, prefix: &str) {
    let rate = |(name, rate): (&str, f64)| match name {
        "all" => format!("{rate:.0e}"),
        _ => format!("{rate:.0e} ({name})"),
    };
    let rates: Vec<String> = phase.group_names().into_iter().zip(phase.rates()).map(rate).collect();
    let epochs = if phase.epochs == 1 { "1 epoch".into() } else { format!("{} epochs", phase.epochs) };
    say!("phase {:?}: {epochs} at {}", phase.name, rates.join(", "));
    let PhaseRecord { trained, frozen, frozen_norms, .. } = record;
    list(&format!("{} parameters learn", trained.len()), &modules(trained, frozen, prefix));
    if !frozen.is_empty() {
        list(&format!("{} parameters are frozen", frozen.len()), &modules(frozen, trained, prefix));
        match frozen_norms.len() {
            0 => say!("  statistics of their batch norms adapt"),
            norms => say!("  statistics of {norms} batch norms stand still"),
        }
    }
}

/// Lists the modules that hold `chosen` and none of `others`, without their common prefix.
fn modules(chosen: &[String], others: &[String], prefix: &str) -> String {
    let short = |module: &str| module.strip_prefix(prefix).unwrap_or(module).to_owned();
    collapse(chosen, others).into_iter().map(short).collect::<Vec<_>>().join(" ")
}

/// Formats the line of an epoch with the time left of the run.
///
/// A `narrow` line has at most 80 columns: it leaves out the images per second, which the progress bar showed.
pub fn epoch_line(
    metrics: &EpochMetrics,
    epochs: usize,
    best: bool,
    left: Option<Left>,
    narrow: bool,
) -> String {
    let (width, star) = (epochs.to_string().len(), if best { " *" } else { "" });
    let speed = if narrow { String::new() } else { format!("{:.0} img/s ", metrics.images_per_second) };
    let (scores, seconds) = (metrics.scores(), metrics.seconds);
    let left = left.map_or_else(String::new, |left| format!(" {left}"));
    format!("epoch {:>width$}/{epochs}  {scores}  {speed}{seconds:.0} s{star}{left}", metrics.epoch)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_epoch_fits_a_narrow_terminal() {
        let metrics = EpochMetrics {
            epoch: 7,
            phase: "fine-tune".into(),
            learning_rates: [("all".to_owned(), 1e-3)].into(),
            train_loss: 0.51236,
            train_accuracy: 0.8123,
            validation_loss: 12.6,
            validation_accuracy: 1.0,
            validation_macro_f1: None,
            validation_map: None,
            images_per_second: 1234.5,
            seconds: 612.0,
        };
        let line = epoch_line(&metrics, 50, true, None, false);
        assert_eq!(line, "epoch  7/50  loss 0.5124 acc  81.2 %  val 12.6000 100.0 %  1234 img/s 612 s *");
        assert!(line.len() <= 80);
        let left = Some(Left::new(Duration::from_secs(37_500), true));
        let line = epoch_line(&metrics, 50, true, left, true);
        assert_eq!(line, "epoch  7/50  loss 0.5124 acc  81.2 %  val 12.6000 100.0 %  612 s * ≤ 10.4 h left");
        assert!(line.chars().count() <= 80);
    }
}
