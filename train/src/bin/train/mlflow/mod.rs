//! MLflow tracking: parameters, metrics and artifacts of a run, over MLflow's REST interface (API 2.0,
//! <https://mlflow.org/docs/latest/api_reference/rest-api.html>).
//!
//! The run folder is what is sent from: [`Record`] says which of its epochs the server has. A thread sends the rest after
//! each epoch, so a server that is slow or down never holds up training, and what is missing is sent later.

mod client;
mod record;
mod sync;
mod target;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use ferronnx_train::run::{Observer, RunConfig, RunError, RunFolder, Split, Started};
use ferronnx_train::trainer::Epoch;

use self::record::Record;
pub use self::sync::Status;
use self::sync::{Sync, now};
pub use self::target::Target;
use crate::display;
use crate::fetch::retry::Failure;

/// Longest wait for an answer of the server once training has ended.
const GRACE: Duration = Duration::from_secs(15);
/// Pause after the first failure; it doubles with each further one.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest pause between two attempts.
const LONGEST: Duration = Duration::from_secs(60);

/// Event of a run that the server should know.
enum Event {
    /// An epoch, counted from 1, has ended at this time, in milliseconds since 1970.
    Epoch(usize, i64),
    /// The run has ended.
    End(Status),
}

/// Observer that sends a run to an MLflow server, if there is one.
pub struct Tracker {
    target: Option<Target>,
    run: Option<(RunFolder, RunConfig)>,
    thread: Option<Connection>,
}

/// Channels to the thread that sends.
struct Connection {
    /// Folder of the run.
    folder: PathBuf,
    events: Sender<Event>,
    /// The last state: the URL of the run's page, or why something is missing.
    end: Receiver<Result<String, String>>,
    /// Number of the server's answers so far.
    answers: Arc<AtomicUsize>,
}

impl Connection {
    /// Waits for the last state, as long as the server answers.
    fn wait(&self) -> Result<Result<String, String>, RecvTimeoutError> {
        let mut seen = self.answers.load(Ordering::Relaxed);
        loop {
            let end = self.end.recv_timeout(GRACE);
            let answers = self.answers.load(Ordering::Relaxed);
            if end != Err(RecvTimeoutError::Timeout) || answers == seen {
                return end;
            }
            seen = answers;
        }
    }
}

impl Tracker {
    /// Makes a tracker; without a target it does nothing, unless the run's folder knows its server.
    pub fn new(target: Option<Target>) -> Self {
        Self { target, run: None, thread: None }
    }

    /// Sends what the server lacks of a run that has ended; `None` when it lacks nothing, else true if it has all now.
    pub fn send_rest(target: Option<Target>, folder: &RunFolder, config: &RunConfig) -> Option<bool> {
        let complete = match (Record::read(folder), &target) {
            (Some(record), Some(target)) => record.closed && record.url == target.url,
            (Some(record), None) => record.closed,
            (None, target) => target.is_none(),
        };
        if complete {
            return None;
        }
        let mut tracker = Self::new(target);
        tracker.run = Some((folder.clone(), config.clone()));
        tracker.begin();
        Some(tracker.close(Status::Finished))
    }

    /// Starts the thread.
    fn begin(&mut self) {
        let Some((folder, config)) = self.run.take() else { return };
        let record = Record::read(&folder);
        let Some(target) = self.target.take().or_else(|| Some(record.as_ref()?.target())) else { return };
        let record = Record::for_target(record, &target);
        say!("mlflow      {}, experiment {:?}", target.url, record.experiment);
        let path = folder.path("");
        let sync = Sync::new(&target, folder, config, record);
        let (events, received) = mpsc::channel();
        let (ended, end) = mpsc::channel();
        let answers = sync.answers();
        thread::spawn(move || work(sync, &received, &ended));
        self.thread = Some(Connection { folder: path, events, end, answers });
    }

    fn send(&self, event: Event) {
        if let Some(connection) = &self.thread {
            // A thread that has given up says so at the end.
            let _ = connection.events.send(event);
        }
    }

    /// Tells the server how the run ended, waits for it while it answers, and prints what is missing; true if nothing is.
    pub fn close(&mut self, status: Status) -> bool {
        self.send(Event::End(status));
        // The thread goes on as long as events may come.
        let Some(connection) = self.thread.take() else { return true };
        match connection.wait() {
            Ok(Ok(page)) => {
                say!("mlflow      {page}");
                return true;
            }
            Ok(Err(missing)) => display::print_error(format_args!("warning: {missing}")),
            Err(_) => {
                display::print_error(format_args!(
                    "warning: MLflow did not answer in time: train fit --resume {} sends the rest",
                    connection.folder.display()
                ));
            }
        }
        false
    }
}

impl Observer for Tracker {
    fn started(&mut self, start: &Started<'_>) -> Result<(), RunError> {
        self.run = Some((start.folder.clone(), start.config.clone()));
        Ok(())
    }

    fn ready(&mut self, _: &[(Split, usize)]) -> Result<(), RunError> {
        self.begin();
        Ok(())
    }

    fn epoch(&mut self, epoch: &Epoch) -> Result<(), RunError> {
        self.send(Event::Epoch(epoch.metrics.epoch, now()));
        Ok(())
    }
}

/// Sends after every event, and again after failures that may pass, until the run has ended.
fn work(mut sync: Sync, events: &Receiver<Event>, ended: &Sender<Result<String, String>>) {
    let (mut pause, mut warned, mut deadline) = (PAUSE, false, None);
    let failed = loop {
        let failed = sync.run().err();
        if let Some(failure) = &failed
            && !std::mem::replace(&mut warned, true)
        {
            warn(failure);
        }
        let over = match &failed {
            None => sync.is_over(),
            Some(Failure::Final(_)) => deadline.is_some(),
            Some(Failure::Passing(_)) => deadline.is_some_and(|deadline| Instant::now() + pause > deadline),
        };
        if over {
            break failed;
        }
        let wait = match failed {
            Some(Failure::Passing(_)) => pause,
            _ => Duration::MAX,
        };
        match receive(events, wait) {
            Ok(Event::Epoch(epoch, time)) => sync.epoch(epoch, time),
            Ok(Event::End(status)) => {
                sync.end(status);
                deadline = Some(Instant::now() + GRACE / 2);
                pause = PAUSE;
            }
            Err(RecvTimeoutError::Timeout) => pause = (2 * pause).min(LONGEST),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    };
    let _ = ended.send(match failed {
        None => Ok(sync.page()),
        Some(Failure::Passing(why) | Failure::Final(why)) => Err(sync.missing(&why)),
    });
}

/// Prints the first failure; the end of training says what is missing.
fn warn(failure: &Failure) {
    let (why, when) = match failure {
        Failure::Passing(why) => (why, "it is tried again"),
        Failure::Final(why) => (why, "it is tried again after each epoch"),
    };
    display::print_error(format_args!("warning: MLflow: {why}; {when}, and training goes on"));
}

/// Waits for an event; [`Duration::MAX`] waits for ever.
fn receive(events: &Receiver<Event>, wait: Duration) -> Result<Event, RecvTimeoutError> {
    match wait {
        Duration::MAX => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
        wait => events.recv_timeout(wait),
    }
}
