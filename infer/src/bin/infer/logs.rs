//! Log of the server on standard error, as text or as JSON, a line an event.
//!
//! A thread of its own writes the lines. So a reader that is slow or has gone never stops a request: lines that it cannot
//! take are dropped and counted.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use ferronnx_infer::escape;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::args::LogFormat;

/// Lines that wait to be written at most.
const WAITING: usize = 4096;

/// Time for the last lines to be written before the program ends.
const PATIENCE: Duration = Duration::from_millis(500);

/// Log that is written until it is dropped.
pub struct Log {
    format: LogFormat,
    queue: Queue,
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
        let queue = Queue { lines, dropped: Arc::default() };
        let dropped = queue.dropped.clone();
        thread::Builder::new().name("log".into()).spawn(move || {
            write_all(&waiting, &dropped);
            let _ = end.send(());
        })?;
        let builder = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(queue.clone())
            // It would print, and so panic where standard error is closed.
            .log_internal_errors(false)
            .with_ansi(format == LogFormat::Text && io::stderr().is_terminal());
        match format {
            LogFormat::Text => builder.init(),
            LogFormat::Json => builder.json().flatten_event(true).init(),
        }
        Ok(Self { format, queue, written })
    }

    /// Tells people something: a line without time and level, or an event in JSON.
    pub fn note(&self, text: impl Display) {
        match self.format {
            LogFormat::Text => self.queue.take(format!("{}\n", escape::text(&text.to_string())).into_bytes()),
            LogFormat::Json => tracing::info!("{text}"),
        }
    }

    /// Warns people, as [`note`](Self::note) does.
    pub fn warn(&self, text: impl Display) {
        match self.format {
            LogFormat::Text => self.note(format_args!("warning: {text}")),
            LogFormat::Json => tracing::warn!("{text}"),
        }
    }

    /// Tells people of an error, as [`note`](Self::note) does.
    pub fn error(&self, text: impl Display) {
        match self.format {
            LogFormat::Text => self.note(format_args!("error: {text}")),
            LogFormat::Json => tracing::error!("{text}"),
        }
    }
}

/// Waits for the last lines, but not for a reader that takes none.
impl Drop for Log {
    fn drop(&mut self) {
        // The subscriber has the queue too and is never dropped, so an empty line ends the thread.
        if self.queue.lines.try_send(Vec::new()).is_ok() {
            let _ = self.written.recv_timeout(PATIENCE);
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

/// Queue of lines.
#[derive(Clone)]
struct Queue {
    lines: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

impl Queue {
    /// Takes a whole line, or drops it when there is no room.
    fn take(&self, line: Vec<u8>) {
        if self.lines.try_send(line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

impl Write for &Queue {
    /// Takes a whole line: the subscriber writes each at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.take(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
