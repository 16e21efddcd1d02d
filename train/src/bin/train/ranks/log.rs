//! Log of a rank: `rank-1.log` in the run folder, for what only the first rank prints.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ferronnx_train::distributed::Group;
use ferronnx_train::run::{Observer, RunError, Started, Step};
use ferronnx_train::trainer::Epoch;

/// Log of a rank other than the first. It is written as soon as the first rank has created the run folder, or at the first
/// step on a machine that has no such folder.
#[derive(Clone)]
pub struct RankLog {
    name: Option<String>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    folder: Option<PathBuf>,
    waiting: Vec<String>,
}

impl RankLog {
    /// Log of this rank of the group; the first rank has none.
    pub fn new(group: &Group) -> Self {
        let world = group.world();
        let name = (!world.is_first()).then(|| format!("rank-{}.log", world.rank));
        let log = Self { name, state: Arc::default() };
        log.line(&format!("rank {} of {} on {}", world.rank, world.size, group.place(world.rank)));
        log
    }

    /// Writes a line with the time; one that cannot be written is lost.
    pub fn line(&self, text: &str) {
        let Some(name) = &self.name else { return };
        let now = jiff::Timestamp::now().strftime("%FT%TZ");
        let mut state = self.state();
        state.waiting.push(format!("{now} {text}\n"));
        if state.folder.as_ref().is_some_and(|folder| folder.join("config.toml").exists()) {
            // A log that cannot be written is no reason to end the training.
            let _ = state.flush(name);
        }
    }

    /// Observer that writes the events of a run in `folder` to the log.
    pub fn observer(&self, folder: &Path) -> Quiet {
        self.state().folder = Some(folder.into());
        Quiet { log: self.clone(), stepped: false }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn flush(&mut self, name: &str) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        fs::create_dir_all(folder)?;
        let mut file = OpenOptions::new().create(true).append(true).open(folder.join(name))?;
        file.write_all(self.waiting.concat().as_bytes())?;
        self.waiting.clear();
        Ok(())
    }
}

/// Observer of a rank that has no terminal.
pub struct Quiet {
    log: RankLog,
    stepped: bool,
}

impl Observer for Quiet {
    fn started(&mut self, start: &Started<'_>) -> Result<(), RunError> {
        self.log.line(&format!("device {}", start.config.device));
        Ok(())
    }

    fn note(&mut self, note: &str) -> Result<(), RunError> {
        self.log.line(note);
        Ok(())
    }

    fn step(&mut self, _: &Step) -> ControlFlow<()> {
        if let Some(name) = self.log.name.as_deref().filter(|_| !self.stepped) {
            self.stepped = true;
            // As for single lines.
            let _ = self.log.state().flush(name);
        }
        ControlFlow::Continue(())
    }

    fn epoch(&mut self, epoch: &Epoch) -> Result<(), RunError> {
        self.log.line(&epoch.metrics.to_string());
        Ok(())
    }
}
