//! What a person sees while training: bars on a terminal, plain lines everywhere.

use indicatif::{ProgressBar, ProgressStyle};
use train::trainer::{EpochMetrics, Progress};

/// A line on standard output. A reader that has gone must not end a run: nothing fails for that.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

/// A bar for `len` pictures that is drawn on a terminal only.
pub fn bar(label: &str, len: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg} {eta:>4} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(len as u64).with_style(style).with_prefix(label.to_owned())
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

/// The line of an epoch; at most 80 columns.
pub fn epoch_line(metrics: &EpochMetrics, epochs: usize, best: bool) -> String {
    let width = epochs.to_string().len();
    format!(
        "epoch {:>width$}/{epochs}  loss {:.4} acc {:5.1} %  val {:.4} {:5.1} %  {:.0} img/s {:.0} s{}",
        metrics.epoch,
        metrics.train_loss,
        100.0 * metrics.train_accuracy,
        metrics.validation_loss,
        100.0 * metrics.validation_accuracy,
        metrics.images_per_second,
        metrics.seconds,
        if best { " *" } else { "" },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_fits_a_narrow_terminal() {
        let metrics = EpochMetrics {
            epoch: 7,
            phase: "fine-tune".into(),
            learning_rates: [("all".into(), 1e-3)].into_iter().collect(),
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
