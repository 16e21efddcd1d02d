//! Ctrl-C as an observer: the first press ends a run after saving, the second ends the process at once.

use std::ops::ControlFlow;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::run::{Observer, Split, Step};

/// Exit status that shells expect after Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// Stops a run on Ctrl-C or a request to terminate.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<AtomicBool>);

/// Signals cannot be handled: another handler is installed.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for Ctrl-C")]
pub struct InterruptError(#[from] ctrlc::Error);

impl Interrupt {
    /// Listens for Ctrl-C and termination from now on; `pressed` is called the first time, on another thread.
    ///
    /// The second time, the process exits with status 130.
    ///
    /// # Errors
    /// [`InterruptError`] when a handler is installed already.
    pub fn listen(pressed: impl Fn() + Send + 'static) -> Result<Self, InterruptError> {
        Self::listen_apart(Duration::ZERO, pressed)
    }

    /// Listens as [`listen`](Self::listen), but a second signal within `apart` of the first counts as the same: a
    /// launcher passes Ctrl-C on to processes that the terminal has told already.
    ///
    /// # Errors
    /// [`InterruptError`] when a handler is installed already.
    pub fn listen_apart(
        apart: Duration,
        pressed: impl Fn() + Send + 'static,
    ) -> Result<Self, InterruptError> {
        let flag = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&flag);
        let mut first = None;
        ctrlc::set_handler(move || {
            if !shared.swap(true, Ordering::Relaxed) {
                first = Some(Instant::now());
                pressed();
            } else if first.is_none_or(|first| first.elapsed() >= apart) {
                process::exit(INTERRUPTED.into());
            }
        })?;
        Ok(Self(flag))
    }

    fn control(&self) -> ControlFlow<()> {
        match self.0.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

impl Observer for Interrupt {
    fn read(&mut self, _: Split, _: usize) -> ControlFlow<()> {
        self.control()
    }

    fn step(&mut self, _: &Step) -> ControlFlow<()> {
        self.control()
    }
}
