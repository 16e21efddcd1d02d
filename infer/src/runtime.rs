//! Finding and loading ONNX Runtime, once per process.
//!
//! The library is opened when the program runs, so that one build serves every version and both CPU and GPU. It
//! is, in this order: the path given, `$ORT_DYLIB_PATH`, beside the program, `.native/onnxruntime/` in a folder
//! above the program or in the current one. The first two are a choice: when wrong they are an error, never
//! passed over.
//!
//! # Telemetry
//! Official builds from 1.29 on send usage data and keep a device identity in the user's home unless
//! `ORT_DISABLE_TELEMETRY` is set before the environment exists; the API's own switch comes too late for the
//! first event. Programs call [`disable_telemetry`] first in `main`. When a caller forgot, [`load`] still uses the
//! API's switch, and sets the variable where it can tell that no other thread is running (Linux).

use std::env;
use std::ffi::CStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use ort::environment::Environment;

use crate::error::{Error, Result};

const TELEMETRY_SWITCH: &str = "ORT_DISABLE_TELEMETRY";
const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";
const WAY_OUT: &str = "`cargo xtask setup` brings a suitable one, `--ort-lib` and ORT_DYLIB_PATH choose one";

/// ONNX Runtime, loaded.
#[derive(Debug)]
pub struct Runtime {
    pub(crate) environment: Environment,
    path: PathBuf,
    version: String,
}

impl Runtime {
    /// The library, links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its version, such as `1.31.1`.
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// Keeps ONNX Runtime from sending usage data and from writing to the user's home.
///
/// # Safety
/// Nothing else in the process may read or write the environment meanwhile: call it first in `main`, before there
/// is a second thread.
pub unsafe fn disable_telemetry() {
    // SAFETY: the caller promises that no other thread uses the environment.
    unsafe { env::set_var(TELEMETRY_SWITCH, "1") };
}

/// The runtime of this process, loaded by the first call; `path` is a library or the folder it lies in.
///
/// # Errors
/// [`Error::Runtime`] when there is no library, it is not ONNX Runtime or too old, or when another one than `path`
/// is loaded already. A failed call can be repeated.
pub fn load(path: Option<&Path>) -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    static LOADING: Mutex<()> = Mutex::new(());

    let _loading = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = RUNTIME.get() {
        return match path.map(chosen).transpose()? {
            Some(other) if other != runtime.path => {
                let loaded = runtime.path.display();
                Err(unusable(
                    &other,
                    format!("{loaded} is loaded already, and a process has one ONNX Runtime"),
                ))
            }
            _ => Ok(runtime),
        };
    }
    let runtime = open(locate(path)?)?;
    Ok(RUNTIME.get_or_init(|| runtime))
}

fn open(path: PathBuf) -> Result<Runtime> {
    if env::var_os(TELEMETRY_SWITCH).is_none() && is_only_thread() {
        // SAFETY: this is the only thread, and nothing here starts another.
        unsafe { disable_telemetry() };
    }
    let builder = ort::init_from(&path).map_err(|error| load_error(&path, error))?;
    // A logger of our own, for the default one writes coloured lines to the user's stderr: what matters comes back
    // as an error.
    let environment = builder
        .with_name("ferronnx")
        .with_telemetry(false)
        .with_logger(std::sync::Arc::new(|_, _, _, _, _| {}))
        .build()
        .map_err(|error| unusable(&path, crate::error::runtime_message(&error)))?;
    let version = version_of(&path).unwrap_or_else(|| "of unknown version".into());
    Ok(Runtime { environment, path, version })
}

/// What the library at `path`, which is ONNX Runtime and loaded, says of itself: `ort` keeps only the minor version.
fn version_of(path: &Path) -> Option<String> {
    type GetApiBase = unsafe extern "system" fn() -> *const ort::sys::OrtApiBase;
    // SAFETY: the library is in the process already, so that nothing is initialised; its entry point has this type
    // in every version, and gives a pointer to a constant, whose function gives a constant string.
    unsafe {
        let library = libloading::Library::new(path).ok()?;
        let base = library.get::<GetApiBase>(b"OrtGetApiBase").ok()?().as_ref()?;
        let version = CStr::from_ptr((base.GetVersionString)());
        Some(version.to_string_lossy().into_owned())
    }
}

/// Whether no other thread runs now; `false` where that cannot be known.
fn is_only_thread() -> bool {
    fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1)
}

fn locate(path: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = path {
        return chosen(path);
    }
    if let Some(path) = env::var_os(LIBRARY_VARIABLE).filter(|path| !path.is_empty()) {
        return chosen(path.as_ref());
    }
    let folders = search_path();
    folders.iter().find_map(|folder| library_in(folder)).ok_or_else(|| {
        let folders: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
        let reason = format!("ONNX Runtime not found: {WAY_OUT} (looked in {})", folders.join(", "));
        Error::Runtime { path: None, reason }
    })
}

/// The library that `path` names: the file, or the one in the folder. Links are resolved, because ONNX Runtime
/// looks for its providers beside the path it was given.
fn chosen(path: &Path) -> Result<PathBuf> {
    let file = match path.is_dir() {
        true => library_in(path).ok_or_else(|| unusable(path, "no ONNX Runtime in this folder"))?,
        false => path.to_owned(),
    };
    file.canonicalize().map_err(|error| unusable(path, Error::io(path, error).reason()))
}

fn search_path() -> Vec<PathBuf> {
    let native = |folder: &Path| folder.join(".native").join("onnxruntime");
    let program = env::current_exe().ok().and_then(|program| program.parent().map(Path::to_owned));
    let current = env::current_dir().ok();
    let mut folders: Vec<PathBuf> = program.iter().cloned().collect();
    folders.extend(program.iter().flat_map(|program| program.ancestors()).map(native));
    // Not above the current folder: who can write there is anybody's guess.
    folders.extend(current.as_deref().map(native).filter(|folder| !folders.contains(folder)));
    folders
}

/// The newest ONNX Runtime in `folder`, links resolved.
fn library_in(folder: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let libraries =
        files.filter(|file| file.file_name().and_then(|name| name.to_str()).is_some_and(is_library));
    libraries.max_by_key(|file| numbers(file))?.canonicalize().ok()
}

/// `libonnxruntime.so`, `libonnxruntime.so.1.31.1`, `libonnxruntime.1.31.1.dylib`, `onnxruntime.dll`; not the
/// providers, whose names go on after an underscore.
fn is_library(name: &str) -> bool {
    let rest = name.strip_prefix(env::consts::DLL_PREFIX).and_then(|name| name.strip_prefix("onnxruntime."));
    rest.is_some_and(|rest| rest.split('.').any(|part| part == env::consts::DLL_EXTENSION))
}

/// The numbers in a file's name.
fn numbers(file: &Path) -> Vec<u32> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').filter_map(|part| part.parse().ok()).collect()
}

fn load_error(path: &Path, error: ort::LoadDynamicError) -> Error {
    use ort::LoadDynamicError::{BadVersion, Dlopen, InvalidVersionString, MissingApi};
    match error {
        Dlopen { error, .. } => {
            // The loader's own words are in the source; they begin with the path.
            let cause =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            let cause = cause.trim_start_matches(&*path.to_string_lossy()).trim_start_matches(": ");
            unusable(path, format!("cannot be loaded: {cause}"))
        }
        BadVersion { version_str, .. } => unusable(
            path,
            format!("is ONNX Runtime {version_str}, 1.{} or newer is needed", ort::MINOR_VERSION),
        ),
        MissingApi { .. } | InvalidVersionString => unusable(path, "is not ONNX Runtime"),
    }
}

fn unusable(path: &Path, reason: impl Into<String>) -> Error {
    Error::Runtime { path: Some(path.to_owned()), reason: format!("{}: {WAY_OUT}", reason.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn knows_the_library_from_its_providers() {
        assert!(is_library("libonnxruntime.so"));
        assert!(is_library("libonnxruntime.so.1.31.1"));
        assert!(!is_library("libonnxruntime_providers_shared.so"));
        assert!(!is_library("libonnxruntime.txt"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn takes_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        for name in
            ["libonnxruntime.so.1.9.0", "libonnxruntime.so.1.31.1", "libonnxruntime_providers_cuda.so"]
        {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert!(library_in(folder.path()).unwrap().ends_with("libonnxruntime.so.1.31.1"));
    }

    #[test]
    fn a_wrong_choice_is_an_error() {
        let error = locate(Some("/nonexistent/libonnxruntime.so".as_ref())).unwrap_err();
        assert_eq!(error.kind(), "runtime");
        let text = error.to_string();
        assert!(text.starts_with("/nonexistent/libonnxruntime.so: no such file"), "{text}");
        assert!(text.contains("cargo xtask setup"), "{text}");
    }
}
