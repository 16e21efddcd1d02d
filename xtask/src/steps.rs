//! Headings and durations of the steps of a long command.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// The steps of one command, run one after the other.
pub struct Steps {
    total: usize,
    begun: usize,
    start: Instant,
}

impl Steps {
    /// Starts the clock of a command with `total` steps.
    pub fn new(total: usize) -> Self {
        Self { total, begun: 0, start: Instant::now() }
    }

    /// Prints a heading, runs a step and prints its duration.
    ///
    /// # Errors
    /// The step's error, with the step's heading as context.
    pub fn run<T>(&mut self, name: &str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        self.begun += 1;
        let heading = format!("[{}/{}] {name}", self.begun, self.total);
        let start = Instant::now();
        println!("\n{heading}");
        let result = step().with_context(|| format!("step {heading}"))?;
        println!("{heading}: done in {}", human_time(start.elapsed()));
        Ok(result)
    }

    /// Time since the first step.
    pub fn elapsed(&self) -> String {
        human_time(self.start.elapsed())
    }
}

/// Formats a duration: `0.4 s`, `42 s`, `3 min 07 s`.
pub fn human_time(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 10..60 => format!("{seconds} s"),
        seconds => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

/// Formats a size given in MB: `2.2 MB`, `3.61 GB`.
pub fn human_size(megabytes: f64) -> String {
    if megabytes < 1000.0 { format!("{megabytes:.1} MB") } else { format!("{:.2} GB", megabytes / 1000.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_read_well() {
        assert_eq!(human_time(Duration::from_millis(440)), "0.4 s");
        assert_eq!(human_time(Duration::from_secs(187)), "3 min 07 s");
        assert_eq!(human_size(2.24), "2.2 MB");
        assert_eq!(human_size(3612.0), "3.61 GB");
    }

    #[test]
    fn an_error_names_its_step() {
        let mut steps = Steps::new(2);
        let error = steps.run("train", || -> Result<()> { anyhow::bail!("no data") }).unwrap_err();
        assert_eq!(format!("{error:#}"), "step [1/2] train: no data");
    }
}
