//! The machine that builds: its folders, which no file may name, and the date of the commit.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use memchr::memmem;

use super::pack::files;
use crate::workspace::{cargo, output, root};

/// Folders of this machine, and the date of what it builds.
pub struct Origin {
    /// Folders with their names in messages of the programs; the last that matches is taken.
    pub folders: Vec<(PathBuf, String)>,
    /// Folder that cargo builds in.
    pub target: PathBuf,
    /// Home folder of the user.
    home: Option<PathBuf>,
    /// Seconds since 1970: `SOURCE_DATE_EPOCH`, or the date of the commit.
    pub date: u64,
}

impl Origin {
    /// Asks cargo and git.
    ///
    /// # Errors
    /// When one of them does not answer.
    pub fn find() -> Result<Self> {
        let metadata = cargo(&["metadata", "--format-version=1", "--no-deps", "--offline"]);
        let metadata = cargo_metadata::MetadataCommand::parse(output(&mut { metadata })?)?;
        let home = env::var_os("HOME").map(PathBuf::from).filter(|home| home.parent().is_some());
        let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
        let cargo_home = cargo_home.or_else(|| Some(home.as_ref()?.join(".cargo")));
        let target = metadata.target_directory.into_std_path_buf();
        let mut folders =
            vec![(root().to_owned(), "/ferronnx".to_owned()), (target.clone(), "/target".into())];
        folders.extend(cargo_home.map(|folder| (folder, "/cargo".into())));
        Ok(Self { folders, home, target, date: date()? })
    }

    /// Fails when a file in `folder` names a folder of this machine.
    ///
    /// Libraries of wheels come as they were downloaded. Those were made in a home folder too, which may be the same.
    ///
    /// # Errors
    /// When a file does, or cannot be read.
    pub fn refuse_paths_in(&self, folder: &Path) -> Result<()> {
        for file in files(folder)? {
            let bytes =
                fs::read(folder.join(&file)).with_context(|| format!("cannot read {}", file.display()))?;
            let is_ours =
                !file.starts_with("lib") && !file.starts_with("libtorch") && !file.starts_with("licenses");
            let home = self.home.iter().filter(|_| is_ours);
            let folders = self.folders.iter().map(|(folder, _)| folder);
            if let Some((path, text)) =
                folders.chain(home).find_map(|path| Some((path, named(&bytes, path)?)))
            {
                bail!("{}: names {} of this machine: {text}", file.display(), path.display());
            }
        }
        println!("no file names a folder of this machine");
        Ok(())
    }
}

/// Text around a folder's path in `bytes`; a longer name that only begins alike does not count.
fn named(bytes: &[u8], folder: &Path) -> Option<String> {
    let path = folder.as_os_str().as_encoded_bytes();
    let ends = |at: &usize| {
        let next = bytes.get(at + path.len());
        let before = at.checked_sub(1).and_then(|at| bytes.get(at));
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
        !next.is_some_and(is_name) && !before.is_some_and(is_name)
    };
    let at = memmem::find_iter(bytes, path).find(ends)?;
    let text = &bytes[at.saturating_sub(20)..bytes.len().min(at + path.len() + 60)];
    Some(text.escape_ascii().to_string())
}

fn date() -> Result<u64> {
    let text = match env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => {
            let mut git = Command::new("git");
            git.args(["log", "-1", "--format=%ct"]).current_dir(root());
            output(&mut git).context("date of the commit: set SOURCE_DATE_EPOCH where there is no git")?
        }
    };
    text.trim()
        .parse()
        .with_context(|| format!("SOURCE_DATE_EPOCH: `{}` is no number of seconds", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(folder: &str) -> Origin {
        Origin {
            folders: vec![(folder.into(), "/x".into())],
            home: Some("/home/ann".into()),
            target: PathBuf::new(),
            date: 0,
        }
    }

    #[test]
    fn a_file_with_a_path_of_this_machine_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bin/infer");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        for (bytes, is_refused) in [
            (&b"\x7fELF\0/build/here/infer/src/lib.rs\0"[..], true),
            (b"\x7fELF\0/build/hereafter/lib.rs\0", false),
            (b"\x7fELF\0/other/build/here\0", false),
            (b"/home/ann/.cache", true),
            (b"/home/anna/.cache", false),
        ] {
            fs::write(&file, bytes).unwrap();
            let done = origin("/build/here").refuse_paths_in(folder.path());
            assert_eq!(done.is_err(), is_refused, "{}", bytes.escape_ascii());
            if let Err(error) = done {
                assert!(error.to_string().starts_with("bin/infer: names /"), "{error}");
            }
        }
    }

    #[test]
    fn a_library_of_a_wheel_may_name_its_own_home() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("lib")).unwrap();
        fs::write(folder.path().join("lib/libx.so"), "/home/ann/work").unwrap();
        origin("/build/here").refuse_paths_in(folder.path()).unwrap();
        origin("/home/ann/work").refuse_paths_in(folder.path()).unwrap_err();
    }
}
