//! Files and folders that are nobody's images: of the system, of tools and of this program.

use std::ffi::OsStr;
#[cfg(feature = "data")]
use std::fs;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Names, in lower case, of files and folders that systems and tools leave among images; hidden ones need no name.
const NAMES: [&str; 26] = [
    // Synology, QNAP
    "@eadir",
    "@tmp",
    "@recycle",
    "@recently-snapshot",
    "#recycle",
    "#snapshot",
    "~snapshot",
    // macOS
    "__macosx",
    "icon\r",
    "network trash folder",
    "temporary items",
    // Windows
    "$recycle.bin",
    "system volume information",
    "found.000",
    "thumbs.db",
    "ehthumbs.db",
    "ehthumbs_vista.db",
    "desktop.ini",
    // Linux
    "lost+found",
    // tools
    "__pycache__",
    "node_modules",
    "lightning_logs",
    "mlruns",
    "wandb",
    "_gsdata_",
    "_vti_cnf",
];

/// Tells whether a name is one of a system's or a tool's own files.
pub(crate) fn is_system(name: &OsStr) -> bool {
    let name = name.to_str().map(str::to_lowercase);
    name.is_some_and(|name| NAMES.contains(&name.as_str()))
}

/// Tells whether a name is hidden: it begins with a dot.
pub(crate) fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// Tells whether a folder is the run folder of a training, by its `config.toml`.
pub(crate) fn is_run(folder: &Path) -> bool {
    let mut text = Vec::new();
    let read =
        File::open(folder.join("config.toml")).and_then(|file| file.take(1 << 16).read_to_end(&mut text));
    read.is_ok() && String::from_utf8_lossy(&text).lines().any(|line| line.starts_with("data_digest = "))
}

/// Tells whether a folder holds run folders and no other folders, as `runs/` does.
#[cfg(feature = "data")]
pub(crate) fn holds_only_runs(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    let folders =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir() && !path.is_symlink());
    let mut folders = folders.filter(|path| !is_hidden(path.file_name().unwrap_or_default())).peekable();
    folders.peek().is_some() && folders.all(|path| is_run(&path) || holds_only_runs(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_any_case() {
        for name in
            ["@eaDir", "__MACOSX", "$RECYCLE.BIN", "System Volume Information", "Thumbs.db", "lost+found"]
        {
            assert!(is_system(name.as_ref()), "{name}");
        }
        for name in ["cat", "recycled", "found", "runs", "macosx"] {
            assert!(!is_system(name.as_ref()), "{name}");
        }
        assert!(
            is_hidden(".DS_Store".as_ref()) && is_hidden("._1.jpg".as_ref()) && !is_hidden("a.b".as_ref())
        );
    }

    #[test]
    fn runs_are_known_by_their_content() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("runs/deep/ten");
        fs::create_dir_all(&run).unwrap();
        assert!(!is_run(&run) && !holds_only_runs(dir.path()));
        fs::write(run.join("config.toml"), "[package]\nname = \"mine\"\n").unwrap();
        assert!(!is_run(&run), "a file of another tool");
        fs::write(run.join("config.toml"), "version = \"0.1.0\"\ndata_digest = \"00\"\n").unwrap();
        assert!(is_run(&run) && holds_only_runs(dir.path()));
        fs::create_dir(dir.path().join("runs/cat")).unwrap();
        assert!(!holds_only_runs(dir.path()));
    }
}
