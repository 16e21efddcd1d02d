//! Progress of a job: a line that is rewritten on a terminal, and a line every half minute elsewhere.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::messages;

/// Time between two lines where standard error is not a terminal.
const QUIET: Duration = Duration::from_secs(30);

/// Progress on standard error.
pub(super) struct Progress {
    bar: ProgressBar,
    is_terminal: bool,
    begun: Instant,
    shown: Instant,
    images: u64,
    failed: u64,
    /// Inputs that are done, and all inputs once they are listed.
    inputs: u64,
    total: Option<u64>,
}

impl Progress {
    /// Starts the clock.
    pub(super) fn start() -> Self {
        let is_terminal = io::stderr().is_terminal();
        let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{spinner} {msg}");
        let bar = ProgressBar::with_draw_target(None, target)
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        let now = Instant::now();
        Self { bar, is_terminal, begun: now, shown: now, images: 0, failed: 0, inputs: 0, total: None }
    }

    /// Bar that other lines have to stay above.
    pub(super) fn bar(&self) -> &ProgressBar {
        &self.bar
    }

    /// Prints a line above the bar.
    pub(super) fn line(&self, text: &str) {
        self.bar.suspend(|| messages::note(text));
    }

    /// Counts an image.
    pub(super) fn image(&mut self, failed: bool) {
        self.images += 1;
        self.failed += u64::from(failed);
        let pause = if self.is_terminal { Duration::from_millis(100) } else { QUIET };
        if self.shown.elapsed() >= pause {
            self.shown = Instant::now();
            let text = self.text(self.begun.elapsed());
            if self.is_terminal {
                self.bar.set_message(text);
                self.bar.tick();
            } else {
                messages::note(text);
            }
        }
    }

    /// Counts the inputs of a part that is done.
    pub(super) fn inputs(&mut self, count: u64) {
        self.inputs += count;
    }

    /// Sets the number of all inputs.
    pub(super) fn total(&mut self, count: u64) {
        self.total = Some(count);
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn text(&self, elapsed: Duration) -> String {
        let failed = if self.failed == 0 { String::new() } else { format!(" ({} failed)", self.failed) };
        let rate = self.images as f64 / elapsed.as_secs_f64().max(1e-9);
        let mut text = format!("{} images{failed}, {rate:.1} images/s", self.images);
        if let Some(total) = self.total {
            text += &format!(", {} of {total} inputs in place", self.inputs);
            if (1..total).contains(&self.inputs) {
                let left = elapsed.mul_f64((total - self.inputs) as f64 / self.inputs as f64);
                text += &format!(", about {} left", HumanDuration(left));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_from_the_inputs_in_place() {
        let mut progress = Progress::start();
        progress.image(false);
        progress.image(true);
        assert_eq!(progress.text(Duration::from_secs(4)), "2 images (1 failed), 0.5 images/s");
        progress.total(8);
        assert!(progress.text(Duration::from_secs(4)).ends_with(", 0 of 8 inputs in place"));
        progress.inputs(2);
        let expected = "2 images (1 failed), 0.5 images/s, 2 of 8 inputs in place, about 12 seconds left";
        assert_eq!(progress.text(Duration::from_secs(4)), expected);
    }
}
