//! Saved state of a run: `last/`, replaced as a whole.
//!
//! The new state is written beside the old one as `last.new/` and then renamed. A kill or a full disk at any moment
//! leaves one complete state, which [`RunFolder::recover`] puts in place.

use std::fs;
use std::io;
use std::path::Path;

use super::{RunError, RunFolder};
use crate::trainer::{Position, Snapshot};
use ferronnx_models::checkpoint;

const LAST: &str = "last";
const NEW: &str = "last.new";
const OLD: &str = "last.old";

/// File that is written last: a folder that has it is complete.
const POSITION: &str = "state.json";
const WEIGHTS: &str = "weights.safetensors";
const AVERAGE: &str = "average.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";

impl RunFolder {
    /// Replaces the state that the run resumes from.
    pub(super) fn save_last(&self, snapshot: &Snapshot) -> Result<(), RunError> {
        if !self.writes {
            return Ok(());
        }
        let [last, new, old] = [LAST, NEW, OLD].map(|name| self.path(name));
        remove(&new)?;
        fs::create_dir(&new).map_err(io("cannot create", &new))?;
        let save = || -> Result<(), RunError> {
            checkpoint::save(&snapshot.weights, new.join(WEIGHTS))?;
            if let Some(average) = &snapshot.average {
                checkpoint::save(average, new.join(AVERAGE))?;
            }
            checkpoint::save(&snapshot.optimizer, new.join(OPTIMIZER))?;
            self.write_json(&format!("{NEW}/{POSITION}"), &snapshot.position)
        };
        if let Err(error) = save() {
            // A full disk is not helped by half a state.
            let _ = remove(&new);
            return Err(error);
        }
        remove(&old)?;
        if last.exists() {
            rename(&last, &old)?;
        }
        rename(&new, &last)?;
        remove(&old)
    }

    /// Loads the state that the run resumes from, if one was saved.
    ///
    /// # Errors
    /// [`RunError::Damaged`], [`RunError::Checkpoint`] or [`RunError::Io`] when it cannot be read.
    pub fn last(&self) -> Result<Option<Snapshot>, RunError> {
        self.recover()?;
        if !self.path(LAST).join(POSITION).exists() {
            return Ok(None);
        }
        let text = self.read(&format!("{LAST}/{POSITION}"))?;
        let position: Position = serde_json::from_str(&text)
            .map_err(|error| self.damaged(&format!("{LAST}/{POSITION}"), error))?;
        let load = |name: &str| checkpoint::load(self.path(LAST).join(name));
        let average = self.path(LAST).join(AVERAGE).exists().then(|| load(AVERAGE)).transpose()?;
        Ok(Some(Snapshot { position, weights: load(WEIGHTS)?, average, optimizer: load(OPTIMIZER)? }))
    }

    /// Puts the newest complete state in its place after a kill between two renames.
    fn recover(&self) -> Result<(), RunError> {
        let last = self.path(LAST);
        let complete = |name: &str| Some(self.path(name)).filter(|path| path.join(POSITION).exists());
        if !last.exists()
            && let Some(state) = complete(NEW).or_else(|| complete(OLD))
        {
            rename(&state, &last)?;
        }
        [NEW, OLD].into_iter().try_for_each(|name| remove(&self.path(name)))
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), RunError> {
    fs::rename(from, to).map_err(io("cannot replace", to))
}

fn remove(path: &Path) -> Result<(), RunError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io("cannot remove", path)(error)),
        _ => Ok(()),
    }
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RunError {
    let path = path.to_owned();
    move |source| RunError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a folder with the given states, each marked by its own name.
    fn folder(states: &[(&str, bool)]) -> (tempfile::TempDir, RunFolder) {
        let dir = tempfile::tempdir().unwrap();
        for (name, complete) in states {
            let state = dir.path().join(name);
            fs::create_dir(&state).unwrap();
            fs::write(state.join("mark"), name).unwrap();
            if *complete {
                fs::write(state.join(POSITION), "").unwrap();
            }
        }
        let run = RunFolder::at(dir.path());
        (dir, run)
    }

    #[test]
    fn a_kill_between_any_two_steps_of_saving_leaves_one_complete_state() {
        let cases: [(&[(&str, bool)], &str); 6] = [
            (&[(LAST, true)], LAST),
            (&[(LAST, true), (NEW, false)], LAST),
            (&[(LAST, true), (NEW, true)], LAST),
            (&[(OLD, true), (NEW, true)], NEW),
            (&[(LAST, true), (OLD, true)], LAST),
            (&[(NEW, true)], NEW),
        ];
        for (states, expected) in cases {
            let (_dir, run) = folder(states);
            run.recover().unwrap();
            assert_eq!(fs::read_to_string(run.path("last/mark")).unwrap(), expected, "{states:?}");
            assert_eq!(fs::read_dir(run.path("")).unwrap().count(), 1, "{states:?}");
        }
    }

    #[test]
    fn half_a_first_state_is_none() {
        let (_dir, run) = folder(&[(NEW, false)]);
        assert_eq!(run.last().unwrap(), None);
    }
}
