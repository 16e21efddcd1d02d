//! Log of the server on standard error, as text or as JSON, a line an event.
//!
//! A thread of its own writes the lines. So a reader that is slow or has gone never stops a request: lines that it cannot
//! take are dropped and counted.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::args::LogFormat;

/// Lines that wait to be written at most.
const WAITING: usize = 4096;

/// Time for the last lines to be written before the program ends.
const PATIENCE: Duration = Duration::from_millis(500);

/// Log that is written until it is dropped.
pub struct Log {
    lines: Option<SyncSender<Vec<u8>>>,
    written: Receiver<()>,
}

impl Log {
    /// Starts to write events of `level` and above.
    ///
    /// # Errors
    /// [`io::Error`] when no thread can be started.
    pub fn start(format: LogFormat, level: LevelFilter) -> io::Result<Self> {
        let (lines, waiting) = sync_channel::<Vec<u8>>(WAITING);
        let (end, written) = sync_channel(1);
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = dropped.clone();
        thread::Builder::new().name("log".into()).spawn(move || {
            write_all(&waiting, &lost);
            let _ = end.send(());
        })?;
        let is_terminal = io::stderr().is_terminal();
        let builder = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(Queue { lines: lines.clone(), dropped })
            // It would print, and so panic where standard error is closed.
            .log_internal_errors(false)
            .with_ansi(is_terminal);
        match format {
            LogFormat::Text => builder.init(),
            LogFormat::Json => builder.json().flatten_event(true).with_ansi(false).init(),
        }
        Ok(Self { lines: Some(lines), written })
    }
}

/// Waits for the last lines, but not for a reader that takes none.
impl Drop for Log {
    fn drop(&mut self) {
        // The subscriber has a sender too, which is never dropped: an empty line ends the thread.
        let sent = self.lines.take().is_some_and(|lines| lines.try_send(Vec::new()).is_ok());
        if sent {
            let _: Result<(), RecvTimeoutError> = self.written.recv_timeout(PATIENCE);
        }
    }
}

/// Writes lines until an empty one, and says how many were dropped.
fn write_all(waiting: &Receiver<Vec<u8>>, dropped: &AtomicU64) {
    for line in waiting.iter().take_while(|line| !line.is_empty()) {
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(
                io::stderr(),
                "warning: {lost} lines of the log were dropped: its reader is too slow"
            );
        }
        let _ = io::stderr().write_all(&line);
    }
}

/// Queue of lines, which takes a line or drops it.
struct Queue {
    lines: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

impl Write for &Queue {
    /// Takes a whole line, as the subscriber writes it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lines.try_send(line.to_vec()).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
