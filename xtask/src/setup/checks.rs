//! Checks of the machine before anything is downloaded.
//!
//! Each error names what is missing and what to do.

use std::env;
use std::env::consts::{ARCH, OS};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::steps::human_size;

/// Reports that no wheels are known for this platform.
///
/// # Errors
/// Always, with the way out.
pub fn no_platform() -> Result<()> {
    bail!(
        "setup: no libraries known for {OS} {ARCH}: bring libtorch 2.13.0 and ONNX Runtime 1.31.1 yourself, \
         then set LIBTORCH to libtorch's folder and ORT_DYLIB_PATH to ONNX Runtime's library file"
    )
}

/// Checks that a C++ compiler runs, which torch-sys needs.
///
/// # Errors
/// When none does.
pub fn compiler() -> Result<()> {
    // The crate `cc` reads it the same way: it may be a command with arguments, such as `ccache g++`.
    if let Some(cxx) = env::var("CXX").ok().filter(|cxx| !cxx.trim().is_empty()) {
        return match cxx.split_whitespace().next().is_some_and(runs) {
            true => Ok(()),
            false => bail!("C++ compiler: $CXX is `{cxx}`, which does not run: correct it, or unset it"),
        };
    }
    if !["c++", "g++", "clang++"].into_iter().any(runs) {
        bail!(
            "C++ compiler: none of c++, g++, clang++ found: install one with `apt-get install g++`, or set CXX"
        );
    }
    Ok(())
}

fn runs(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Checks that the disk of `folder` has enough free space.
///
/// # Errors
/// When it has too little.
pub fn disk_space(folder: &Path, needed_megabytes: f64) -> Result<()> {
    // The folder may not exist yet, so its nearest existing parent is asked.
    let Some(free) = folder.ancestors().find_map(free_megabytes) else { return Ok(()) };
    if free < needed_megabytes {
        bail!(
            "disk: too little space for {}: {} needed, {} free: make room, or set LIBTORCH and ORT_DYLIB_PATH",
            folder.display(),
            human_size(needed_megabytes),
            human_size(free)
        );
    }
    Ok(())
}

#[cfg(unix)]
fn free_megabytes(folder: &Path) -> Option<f64> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    Some(stat.f_bavail as f64 * stat.f_frsize as f64 / 1e6)
}

#[cfg(not(unix))]
fn free_megabytes(_folder: &Path) -> Option<f64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_platforms_are_told_the_way_out() {
        let error = no_platform().unwrap_err().to_string();
        assert!(
            error.contains(OS) && error.contains("LIBTORCH") && error.contains("ORT_DYLIB_PATH"),
            "{error}"
        );
    }

    #[test]
    fn disk_space_is_asked_of_the_real_disk() {
        let dir = tempfile::tempdir().unwrap();
        let not_yet = dir.path().join("a/b");
        disk_space(&not_yet, 0.001).unwrap();
        let error = disk_space(&not_yet, 1e12).unwrap_err().to_string();
        assert!(error.starts_with("disk: too little space for "), "{error}");
        assert!(error.contains("1000000000.00 GB needed") && error.contains(" free: make room"), "{error}");
    }
}
