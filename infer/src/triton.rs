//! Model repositories of NVIDIA Triton Inference Server, for where several models share a GPU.
//!
//! A repository has a folder for each model: `NAME/config.pbtxt`, `NAME/labels.txt` and `NAME/VERSION/model.onnx`
//! ([layout], [configuration]). Triton runs the network only: its clients decode and prepare images, and make scores
//! probabilities. [`Note`]s say what is left to them.
//!
//! [layout]: https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_repository.html
//! [configuration]: https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_configuration.html

mod config;
mod error;
mod model;

use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use ferronnx_models::files::StagedFolder;
use indexmap::IndexMap;

use crate::model_spec::ModelSpec;
use crate::session::Options;
use config::Config;
pub use error::TritonError;
use model::Checked;
pub use model::Note;

/// File of a model's configuration.
const CONFIG: &str = "config.pbtxt";

/// File of the labels, one a line.
const LABELS: &str = "labels.txt";

/// Name that Triton expects of a version's file.
const MODEL: &str = "model.onnx";

/// Settings of a repository.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Largest batch that Triton makes, of models whose batch size is not fixed.
    pub max_batch: NonZeroU32,
    /// Replace folders that were not written here, and folders with versions that are not given.
    pub force: bool,
    /// Options of the session that reads a model's inputs and outputs.
    pub session: Options,
}

/// Model that was written into a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Folder of the model.
    pub folder: PathBuf,
    /// Versions in it.
    pub versions: Vec<NonZeroU32>,
    /// Facts that users of the model should know.
    pub notes: Vec<Note>,
}

/// Writes `specs` into the repository `out`, which is created if it does not exist.
///
/// All of them are checked before a folder is put in place, each model's as a whole. A model with a certificate is
/// [verified](crate::verify) first.
///
/// # Errors
/// [`TritonError`]; no folder has been changed then, except when renaming one fails.
pub fn write(specs: &[ModelSpec], out: &Path, settings: &Settings) -> Result<Vec<Written>, TritonError> {
    let mut models: IndexMap<&str, Vec<Entry<'_>>> = IndexMap::new();
    for spec in specs {
        let entry = Entry { version: version(spec)?, path: &spec.path };
        models.entry(&spec.name).or_default().push(entry);
    }
    fs::create_dir_all(out).map_err(TritonError::io(out))?;
    let staged: Vec<Staged> = models
        .into_iter()
        .map(|(name, versions)| stage(name, &versions, out, settings))
        .collect::<Result<_, _>>()?;
    staged.into_iter().map(Staged::put).collect()
}

/// File of one version of a model.
struct Entry<'a> {
    version: NonZeroU32,
    path: &'a Path,
}

/// Number of the version, written as Triton looks for it: without a sign, and without a zero in front.
fn version(spec: &ModelSpec) -> Result<NonZeroU32, TritonError> {
    let number = spec.version.parse().ok().filter(|number: &NonZeroU32| number.to_string() == spec.version);
    number.ok_or_else(|| TritonError::Version { name: spec.name.clone(), version: spec.version.clone() })
}

/// Model in a temporary folder.
struct Staged {
    folder: StagedFolder,
    written: Written,
}

impl Staged {
    fn put(self) -> Result<Written, TritonError> {
        let Self { folder, written } = self;
        folder.replace(&written.folder).map_err(TritonError::io(&written.folder))?;
        Ok(written)
    }
}

/// Checks the versions of the model `name`, and writes them into a temporary folder.
fn stage(name: &str, entries: &[Entry<'_>], out: &Path, settings: &Settings) -> Result<Staged, TritonError> {
    // Hidden folders are temporary ones here.
    if name.starts_with('.') {
        return Err(TritonError::Name(name.into()));
    }
    let target = out.join(name);
    if !settings.force {
        check_replaceable(&target, entries)?;
    }
    let folder = StagedFolder::new(out).map_err(TritonError::io(out))?;
    let mut first: Option<(Checked, &Path)> = None;
    for entry in entries {
        let version = folder.path().join(entry.version.to_string());
        fs::create_dir(&version).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                TritonError::Twice { name: name.into(), version: entry.version }
            }
            _ => TritonError::io(&version)(error),
        })?;
        let checked = Checked::read(entry.path, settings)?;
        checked.copy_to(&version)?;
        match &first {
            Some((known, path)) if !known.is_served_like(&checked) => {
                let [first, second] = [*path, entry.path].map(Path::to_owned);
                return Err(TritonError::Different { name: name.into(), first, second });
            }
            Some(_) => {}
            None => first = Some((checked, entry.path)),
        }
    }
    let (model, _) = first.ok_or(TritonError::Nothing)?;
    let save = |file: &str, text: &str| {
        let path = folder.path().join(file);
        fs::write(&path, text).map_err(TritonError::io(&path))
    };
    if let Some(labels) = &model.labels {
        save(LABELS, &labels.iter().map(|label| format!("{label}\n")).collect::<String>())?;
    }
    let all_versions = entries.len() > 1;
    save(CONFIG, &Config { name, model: &model.interface, all_versions }.to_string())?;
    let versions = entries.iter().map(|entry| entry.version).collect();
    Ok(Staged { folder, written: Written { folder: target, versions, notes: model.notes } })
}

/// Checks that the folder is free, or was written here and has no version that would be lost.
fn check_replaceable(target: &Path, entries: &[Entry<'_>]) -> Result<(), TritonError> {
    let listed = match fs::read_dir(target) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        listed => listed.map_err(TritonError::io(target))?,
    };
    let config = fs::read_to_string(target.join(CONFIG)).unwrap_or_default();
    if !config.starts_with(config::MARK) {
        return Err(TritonError::NotOurs(target.into()));
    }
    let given = |name: &str| entries.iter().any(|entry| entry.version.to_string() == name);
    for file in listed {
        let name = file.map_err(TritonError::io(target))?.file_name().to_string_lossy().into_owned();
        if ![CONFIG, LABELS].contains(&name.as_str()) && !given(&name) {
            return Err(TritonError::Lost { folder: target.into(), name });
        }
    }
    Ok(())
}
