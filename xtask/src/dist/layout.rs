//! Places of the files in an archive.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Program, Release};
use crate::setup::{self, Form, Platform};
use crate::workspace::{native, output, root, run};

/// Places that shells search for completions: shell and file, where NAME is the program.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/NAME"),
    ("fish", "share/fish/vendor_completions.d/NAME.fish"),
    ("zsh", "share/zsh/site-functions/_NAME"),
];

/// Libraries of the C++ compiler.
const CPP_RUNTIME: [&str; 2] = ["libgcc_s.so.1", "libstdc++.so.6"];

/// Beginnings of the names of libtorch's libraries that only Python needs.
const NOT_NEEDED: [&str; 4] = ["libshm", "libtorch.so", "libtorch_global_deps", "libtorch_python"];

/// Folder whose contents become an archive.
pub struct Layout(PathBuf);

impl Layout {
    /// Takes an empty folder.
    pub fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Path of a file in the folder.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.0.join(inside)
    }

    /// Adds the program, its libraries, completions, man pages and licence files.
    ///
    /// # Errors
    /// When a file is missing or cannot be written, or the program does not run.
    pub fn fill(&self, release: &Release, executable: &Path) -> Result<()> {
        let name = release.program.to_string();
        let program = self.path(&format!("bin/{name}"));
        self.copy(executable, &format!("bin/{name}"))?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).context("cannot set permissions")?;
        for file in ["LICENSE-APACHE", "LICENSE-MIT"] {
            self.copy(&root().join(file), &format!("licenses/{file}"))?;
        }
        self.libraries(release)?;
        // The CUDA form holds no libraries, and `train` starts with those of setup.
        let libraries = native().join("torch/lib");
        let started = || {
            let mut command = Command::new(&program);
            command.env_clear().env("LD_LIBRARY_PATH", &libraries);
            command
        };
        for (shell, place) in COMPLETIONS {
            let script = output(started().args(["completions", shell]))?;
            super::write(&self.path(&place.replace("NAME", &name)), script)?;
        }
        let pages = self.path("share/man/man1");
        fs::create_dir_all(&pages).context("cannot create a folder for man pages")?;
        run(started().arg("man").arg(pages))
    }

    fn libraries(&self, release: &Release) -> Result<()> {
        if release.form == Form::Cuda {
            return Ok(());
        }
        if setup::installed_form() != Some(Form::Cpu) {
            bail!(
                "dist: .native/ has no CPU libraries of ours: delete it, unset LIBTORCH and ORT_DYLIB_PATH, and run `cargo xtask setup`"
            );
        }
        let native = native();
        self.copy_all(&native.join("onnxruntime"), "lib", |name| name.starts_with("libonnxruntime."))?;
        let (mut parts, mut place) = (vec!["onnxruntime"], "lib/fallback");
        let on_linux = release.platform != Platform::MacArm64;
        if release.program == Program::Train {
            // Folders as in the wheels, whose libraries find each other by them.
            place = "libtorch/torch/lib";
            let is_needed = |name: &str| !NOT_NEEDED.iter().any(|other| name.starts_with(other));
            self.copy_all(&native.join("torch/lib"), place, is_needed)?;
            parts.push("torch");
            if on_linux {
                self.copy_all(&native.join("nvidia/cu13/lib"), "libtorch/nvidia/cu13/lib", |_| true)?;
                parts.push("nvidia");
            }
        }
        for library in CPP_RUNTIME.iter().filter(|_| on_linux) {
            self.copy(&of_compiler(library)?, &format!("{place}/{library}"))?;
        }
        for part in parts {
            let texts = native.join(part).join("licenses");
            for file in super::pack::files(&texts)? {
                self.copy(&texts.join(&file), &format!("licenses/{}", file.display()))?;
            }
        }
        Ok(())
    }

    /// Copies the files of a folder that are wanted by their names.
    fn copy_all(&self, from: &Path, to: &str, is_wanted: impl Fn(&str) -> bool) -> Result<()> {
        let entries = fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot read {}", from.display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().is_ok_and(|kind| kind.is_file()) && is_wanted(&name) {
                self.copy(&entry.path(), &format!("{to}/{name}"))?;
            }
        }
        Ok(())
    }

    fn copy(&self, from: &Path, to: &str) -> Result<()> {
        let to = self.path(to);
        let shown = || format!("cannot copy {} to {}", from.display(), to.display());
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).with_context(shown)?;
        }
        fs::copy(from, &to).with_context(shown)?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o644)).with_context(shown)
    }
}

/// Path of a library of the C++ compiler, which prints the bare name when it has none.
fn of_compiler(library: &str) -> Result<PathBuf> {
    let path = output(Command::new("g++").arg(format!("-print-file-name={library}")))?;
    let path = PathBuf::from(path.trim());
    if !path.is_absolute() {
        bail!("g++ has no {library}: install it with `apt-get install g++`");
    }
    Ok(path)
}
