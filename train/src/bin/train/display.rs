//! What a person sees while training: bars on a terminal, plain lines everywhere.

pub use ferronnx_report::text::table;
use ferronnx_train::recipe::Phase;
use ferronnx_train::report::modules::collapse;
use ferronnx_train::trainer::PhaseRecord;
use ferronnx_train::trainer::{EpochMetrics, Progress};
use indicatif::{ProgressBar, ProgressStyle};

/// A line on standard output. A reader that has gone must not end a run: nothing fails for that.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

/// A list of names after its heading, in lines that a narrow terminal does not break.
pub fn list(heading: &str, names: &str) {
    let how = textwrap::Options::new(80).subsequent_indent("    ").break_words(false);
    say!("{}", textwrap::fill(&format!("  {heading}: {names}"), how));
}

/// A bar for `len` images that is drawn on a terminal only.
pub fn bar(label: &str, len: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg} {eta:>4} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(len as u64).with_style(style).with_prefix(label.to_owned())
}

/// A bar for `len` bytes that is drawn on a terminal only.
pub fn byte_bar(label: &str, len: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta:>4} left",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(len).with_style(style).with_prefix(label.to_owned())
}

/// Shows where an epoch stands.
pub fn show(bar: &ProgressBar, progress: &Progress) {
    bar.set_position(progress.images as u64);
    let rate = bar.per_sec();
    bar.set_message(format!(
        "loss {:.3} acc {:.1} % {rate:.0} images/s",
        progress.loss,
        100.0 * progress.accuracy
    ));
}

/// Says what learns in a phase, and how fast.
pub fn phase(phase: &Phase, record: &PhaseRecord) {
    let rate = |(name, rate): (&str, f64)| match name {
        "all" => format!("{rate:.0e}"),
        _ => format!("{rate:.0e} ({name})"),
    };
    let rates: Vec<String> = phase.group_names().into_iter().zip(phase.rates()).map(rate).collect();
    let epochs = if phase.epochs == 1 { "1 epoch".into() } else { format!("{} epochs", phase.epochs) };
    say!("phase {:?}: {epochs} at {}", phase.name, rates.join(", "));
    let PhaseRecord { trained, frozen, frozen_norms, .. } = record;
    list(&format!("{} parameters learn", trained.len()), &modules(trained, frozen));
    if !frozen.is_empty() {
        list(&format!("{} parameters are frozen", frozen.len()), &modules(frozen, trained));
        match frozen_norms.len() {
            0 => say!("  statistics of their batch norms adapt"),
            norms => say!("  statistics of {norms} batch norms stand still"),
        }
    }
}

/// What `chosen` are, without the prefix that nearly all share.
fn modules(chosen: &[String], others: &[String]) -> String {
    let short = |module: &str| module.strip_prefix("backbone.").unwrap_or(module).to_owned();
    collapse(chosen, others).into_iter().map(short).collect::<Vec<_>>().join(" ")
}

/// The line of an epoch; at most 80 columns.
pub fn epoch_line(metrics: &EpochMetrics, epochs: usize, best: bool) -> String {
    let (width, star) = (epochs.to_string().len(), if best { " *" } else { "" });
    format!("epoch {:>width$}/{epochs}  {}{star}", metrics.epoch, metrics.numbers())
}

#[cfg(test)]
mod tests {
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
            images_per_second: 1234.5,
            seconds: 612.0,
        };
        let line = epoch_line(&metrics, 50, true);
        assert_eq!(line, "epoch  7/50  loss 0.5124 acc  81.2 %  val 12.6000 100.0 %  1234 img/s 612 s *");
        assert!(line.len() <= 80);
    }
}
