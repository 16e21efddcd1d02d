//! What goes to stderr, and how the program ends.
//!
//! Standard error may be closed: nothing here fails for that.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use ferronnx_infer::results::Failed;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How much of the work was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// All of it.
    All,
    /// All but some inputs.
    Some,
    /// None of it.
    Nothing,
}

impl Done {
    /// From the numbers of inputs.
    pub fn from_counts(done: usize, failed: usize) -> Self {
        match (done, failed) {
            (0, _) => Self::Nothing,
            (_, 0) => Self::All,
            _ => Self::Some,
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::All => 0,
            Self::Some => 1,
            Self::Nothing => 2,
        }
    }
}

impl From<Done> for ExitCode {
    fn from(done: Done) -> Self {
        done.code().into()
    }
}

/// `LEVEL: TEXT` on stderr.
pub fn line(level: &str, text: impl Display) {
    let _ = writeln!(io::stderr(), "{level}: {text}");
}

/// `TEXT` on stderr.
pub fn note(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// A bar over `images`, only where someone watches; `results` says whether results appear meanwhile, in the midst of
/// which it would stand.
pub fn progress(images: usize, results: bool) -> ProgressBar {
    if images < 2 || results && io::stdout().is_terminal() || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} images, {per_sec}, {eta} left");
    let bar = ProgressBar::with_draw_target(Some(images as u64), ProgressDrawTarget::stderr());
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// An image that failed, above the bar.
pub fn failed(progress: &ProgressBar, failed: &Failed) {
    let text = format!("{}: {}", failed.path.display(), failed.error.reason());
    progress.suspend(|| line("error", text));
}

/// Writes the page that `--report` names, and says so.
pub fn write_page(path: &Path, page: &str) -> anyhow::Result<()> {
    ferronnx_models::files::write_atomically(path, |out| out.write_all(page.as_bytes()))
        .with_context(|| format!("cannot write --report {}", path.display()))?;
    note(format_args!("report: {}", path.display()));
    Ok(())
}

/// Makes a panic, which is always our own fault, end the program with one line whichever thread it is in.
pub fn one_line_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("unknown");
        let place = panic.location().map(|place| format!(" ({}:{})", place.file(), place.line()));
        let place = place.unwrap_or_default();
        line("error", format_args!("internal error: {message}{place}: please report it"));
        std::process::exit(Done::Nothing.code().into());
    }));
}

/// Whether the reader of our output has gone.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let is_closed = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    error.chain().any(is_closed)
}
