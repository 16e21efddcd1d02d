//! Loader of ONNX Runtime, which is opened when the program runs.
//!
//! One build therefore works with every version, on CPU and GPU. The library is, in this order: the path given,
//! `$ORT_DYLIB_PATH`, beside the program, in `../lib` of it, and in `.native/onnxruntime/` of the checkout that the program was
//! built in, which programs of a release have none of. The first two are a choice: if they are wrong, the search does not
//! go on. The current folder and those above the program are not searched: others may be able to write there.
//!
//! # The C++ runtime
//! ONNX Runtime needs the system's `libstdc++.so.6`. Where a system has none, and only there, the one in `fallback/` beside
//! the library is taken: the archives of a release bring it.
//!
//! # Telemetry
//! Official builds from 1.29 on send usage data and keep a device identity in the user's home, unless
//! `ORT_DISABLE_TELEMETRY` is set before the environment exists. The API's own switch comes too late for the first event.
//! Programs call [`disable_telemetry`] first in `main`. If a caller forgot, [`load`] uses the API's switch, and sets the
//! variable where it can tell that no other thread is running (Linux).

use std::env;
use std::ffi::CStr;
#[cfg(target_os = "linux")]
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use ort::LoadDynamicError;
use ort::environment::Environment;

use crate::error::{Error, ErrorKind, OrtError, Result};

const TELEMETRY_SWITCH: &str = "ORT_DISABLE_TELEMETRY";
const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";

/// Folder of the checkout in which `cargo xtask setup` puts ONNX Runtime; `None` in a release, which knows no checkout.
const IN_CHECKOUT: Option<&str> = match option_env!("FERRONNX_RELOCATABLE") {
    None => Some(concat!(env!("CARGO_MANIFEST_DIR"), "/../.native/onnxruntime")),
    Some(_) => None,
};

/// True for a program of a release, as `cargo xtask dist` makes them: it does not look for a checkout's libraries.
pub const IS_RELEASE: bool = IN_CHECKOUT.is_none();

/// ONNX Runtime, loaded into this process.
#[derive(Debug)]
pub struct Runtime {
    pub(crate) environment: Environment,
    path: PathBuf,
    version: String,
}

/// Reason why ONNX Runtime cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// No library lies where it is searched for.
    #[error("ONNX Runtime not found (looked in {})", list(.0))]
    NotFound(Vec<PathBuf>),
    /// The chosen folder holds no library.
    #[error("no ONNX Runtime in this folder")]
    EmptyFolder,
    /// The chosen file does not exist.
    #[error("no such file or folder")]
    NoFile,
    /// The chosen path cannot be resolved.
    #[error("cannot be read")]
    Path(#[source] io::Error),
    /// The system cannot load the file as a library.
    #[error("cannot be loaded: {reason}")]
    Load {
        /// Reason of the system's loader.
        reason: String,
    },
    /// The library is another one.
    #[error("is not ONNX Runtime")]
    OtherLibrary,
    /// The library is older than this crate needs.
    #[error("is ONNX Runtime {found}, 1.{} or newer is needed", ort::MINOR_VERSION)]
    Old {
        /// Version of the library.
        found: String,
    },
    /// Another library is loaded already; a process can have one.
    #[error("{loaded} is loaded already, and a process has one ONNX Runtime")]
    Loaded {
        /// Path of the loaded library.
        loaded: PathBuf,
    },
    /// The library loads, but cannot be initialised.
    #[error("ONNX Runtime cannot be initialised")]
    Environment(#[source] OrtError),
}

fn list(folders: &[PathBuf]) -> String {
    folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")
}

impl RuntimeError {
    fn at(self, path: &Path) -> Error {
        Error::from(ErrorKind::Runtime(self)).at(path)
    }
}

impl Runtime {
    /// Environment of ONNX Runtime, of which a process has one: for sessions that benchmarks build themselves.
    #[doc(hidden)]
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Path of the library, with links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Version of the library, such as `1.31.1`.
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// Keeps ONNX Runtime from sending usage data and from writing to the user's home.
///
/// # Safety
/// No other thread may read or write the environment meanwhile: call it first in `main`, before a second thread exists.
pub unsafe fn disable_telemetry() {
    // SAFETY: the caller promises that no other thread uses the environment.
    unsafe { env::set_var(TELEMETRY_SWITCH, "1") };
}

/// Loads ONNX Runtime, or returns the one that this process has loaded; `path` is a library or its folder.
///
/// # Errors
/// [`Runtime`](ErrorKind::Runtime) when there is no library, it is not ONNX Runtime or too old, or another one than
/// `path` is loaded already. A failed call can be repeated.
pub fn load(path: Option<&Path>) -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    static LOADING: Mutex<()> = Mutex::new(());

    let _loading = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = RUNTIME.get() {
        return match path.map(chosen).transpose()? {
            Some(other) if other != runtime.path => {
                Err(RuntimeError::Loaded { loaded: runtime.path.clone() }.at(&other))
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
    #[cfg(target_os = "linux")]
    lend_cpp_runtime(&path);
    let builder = ort::init_from(&path).map_err(|error| load_error(&path, error).at(&path))?;
    // The default logger writes coloured lines to stderr. Failures come back as errors, so this one drops its lines.
    let environment = builder
        .with_name("ferronnx")
        .with_telemetry(false)
        .with_logger(std::sync::Arc::new(|_, _, _, _, _| {}))
        .build()
        .map_err(|error| RuntimeError::Environment(error.into()).at(&path))?;
    let version = version_of(&path).unwrap_or_else(|| "of unknown version".into());
    Ok(Runtime { environment, path, version })
}

/// Loads the C++ runtime in `fallback/` beside ONNX Runtime's library `path` where the system has none.
///
/// The loader knows libraries by their names: what is loaded under a name is what others get by it. One that cannot be
/// loaded is left to ONNX Runtime's own error.
#[cfg(target_os = "linux")]
fn lend_cpp_runtime(path: &Path) {
    let folder = path.with_file_name("fallback");
    // SAFETY: the initialisers of these libraries set up their own state only.
    let load = |name: &OsStr| unsafe { libloading::Library::new(name) }.map(std::mem::forget);
    if folder.is_dir() && load("libstdc++.so.6".as_ref()).is_err() {
        for name in ["libgcc_s.so.1", "libstdc++.so.6"] {
            let _ = load(folder.join(name).as_os_str());
        }
    }
}

/// Full version of the loaded library at `path`: `ort` keeps only the minor version.
fn version_of(path: &Path) -> Option<String> {
    type GetApiBase = unsafe extern "system" fn() -> *const ort::sys::OrtApiBase;
    // SAFETY: the library is loaded already, so that nothing is initialised. Its entry point has this type in every
    // version. It returns a pointer to a constant, whose function returns a constant string.
    unsafe {
        let library = libloading::Library::new(path).ok()?;
        let base = library.get::<GetApiBase>(b"OrtGetApiBase").ok()?().as_ref()?;
        let version = CStr::from_ptr((base.GetVersionString)());
        Some(version.to_string_lossy().into_owned())
    }
}

/// Tells whether no other thread runs; `false` where that cannot be known.
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
    let found = folders.iter().find_map(|folder| library_in(folder));
    found.ok_or_else(|| RuntimeError::NotFound(folders).into())
}

/// Resolves a path that the user chose: the library itself, or its folder.
///
/// Links are resolved because ONNX Runtime looks for its providers beside the path that it was given.
fn chosen(path: &Path) -> Result<PathBuf> {
    let file = match path.is_dir() {
        true => library_in(path).ok_or_else(|| RuntimeError::EmptyFolder.at(path))?,
        false => path.to_owned(),
    };
    let unresolved = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => RuntimeError::NoFile,
        _ => RuntimeError::Path(error),
    };
    file.canonicalize().map_err(|error| unresolved(error).at(path))
}

fn search_path() -> Vec<PathBuf> {
    let program = env::current_exe().ok().and_then(|program| program.parent().map(Path::to_owned));
    let mut folders: Vec<PathBuf> = program.iter().cloned().collect();
    folders.extend(program.as_deref().and_then(Path::parent).map(|above| above.join("lib")));
    folders.extend(IN_CHECKOUT.map(PathBuf::from));
    folders
}

/// Finds the newest ONNX Runtime in `folder`, with links resolved.
fn library_in(folder: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let libraries =
        files.filter(|file| file.file_name().and_then(|name| name.to_str()).is_some_and(is_library));
    libraries.max_by_key(|file| numbers(file))?.canonicalize().ok()
}

/// Tells whether a file name is ONNX Runtime's: `libonnxruntime.so`, `libonnxruntime.so.1.31.1`,
/// `libonnxruntime.1.31.1.dylib`, `onnxruntime.dll`. Names of providers go on after an underscore and do not count.
fn is_library(name: &str) -> bool {
    let rest = name.strip_prefix(env::consts::DLL_PREFIX).and_then(|name| name.strip_prefix("onnxruntime."));
    rest.is_some_and(|rest| rest.split('.').any(|part| part == env::consts::DLL_EXTENSION))
}

/// Numbers between the dots of a file name, which order versions.
fn numbers(file: &Path) -> Vec<u32> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').filter_map(|part| part.parse().ok()).collect()
}

fn load_error(path: &Path, error: LoadDynamicError) -> RuntimeError {
    match error {
        LoadDynamicError::Dlopen { error, .. } => {
            // The loader's own words are in the source of the error. They begin with the path, which is named already.
            let reason =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            let reason = reason.trim_start_matches(&*path.to_string_lossy()).trim_start_matches(": ");
            RuntimeError::Load { reason: reason.into() }
        }
        LoadDynamicError::BadVersion { version_str, .. } => RuntimeError::Old { found: version_str },
        LoadDynamicError::MissingApi { .. } | LoadDynamicError::InvalidVersionString => {
            RuntimeError::OtherLibrary
        }
    }
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
    fn the_current_folder_is_not_searched() {
        let current = env::current_dir().unwrap();
        let folders = search_path();
        let found =
            folders.iter().find(|folder| *folder == &current || folder.starts_with(current.join(".native")));
        assert_eq!(found, None, "{folders:?}");
    }

    #[test]
    fn a_wrong_choice_is_an_error() {
        let error = locate(Some("/nonexistent/libonnxruntime.so".as_ref())).unwrap_err();
        assert_eq!(error.kind().name(), "runtime");
        let text = error.to_string();
        assert!(text.starts_with("/nonexistent/libonnxruntime.so: no such file"), "{text}");
    }
}
