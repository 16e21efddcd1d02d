//! One folder of `.native/`: its wheels and its installation.
//!
//! `installed.json` is written last and lists the wheels. The folder is then renamed into place, so a folder
//! with that file is complete.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Form, Platform};
use crate::staging::Staging;
use crate::unpack::unpack;
use crate::wheel::Wheel;

const MARKER: &str = "installed.json";

/// Version of the folder's layout.
///
/// Raise it when other files of the same wheels are kept: existing folders are then installed again.
const LAYOUT: u32 = 1;

/// A folder of `.native/` that is unpacked from wheels.
pub struct Part {
    /// Name of the folder.
    pub folder: &'static str,
    /// Platform of the wheels.
    pub platform: Platform,
    /// CPU or CUDA.
    pub form: Form,
    /// Wheels to unpack.
    pub wheels: Vec<Wheel>,
    /// Approximate size on disk, in MB.
    pub megabytes: f64,
    /// Symbolic link to create: path and target.
    pub link: Option<(&'static str, &'static str)>,
}

impl Part {
    /// True when `native` has this folder with the same form and wheels.
    pub fn is_installed(&self, native: &Path) -> bool {
        note(native, self.folder).is_some_and(|note| note == self.marker())
    }

    /// Downloads and unpacks the wheels one after the other, then moves the folder into place.
    ///
    /// Each wheel is deleted once it is unpacked.
    ///
    /// # Errors
    /// When a download or a write fails. The old folder then stays.
    pub fn install(
        &self,
        staging: &Staging,
        fetch: impl Fn(&Wheel, Platform, &Path) -> Result<PathBuf>,
    ) -> Result<()> {
        let made = staging.folder(self.folder)?;
        for wheel in &self.wheels {
            let downloads = staging.folder("downloads")?;
            let file = fetch(wheel, self.platform, &downloads)?;
            unpack(wheel, &file, &made)?;
            fs::remove_dir_all(&downloads)
                .with_context(|| format!("cannot delete {}", downloads.display()))?;
        }
        if let Some((link, target)) = self.link {
            symlink(target, &made.join(link)).with_context(|| format!("cannot link {link} to {target}"))?;
        }
        let marker = made.join(MARKER);
        fs::write(&marker, format!("{:#}\n", self.marker()))
            .with_context(|| format!("cannot write {}", marker.display()))?;
        staging.commit(&made, self.folder)
    }

    fn marker(&self) -> Value {
        let wheels: Vec<_> = self
            .wheels
            .iter()
            .map(
                |wheel| json!({ "package": wheel.package, "version": wheel.version, "sha256": wheel.sha256 }),
            )
            .collect();
        json!({ "layout": LAYOUT, "form": self.form.to_string(), "wheels": wheels })
    }
}

/// Form of an installed folder of `native`; `None` when it is not installed.
pub fn installed_form(native: &Path, folder: &str) -> Option<Form> {
    let form = note(native, folder)?["form"].as_str()?.to_owned();
    [Form::Cpu, Form::Cuda].into_iter().find(|known| known.to_string() == form)
}

fn note(native: &Path, folder: &str) -> Option<Value> {
    serde_json::from_str(&fs::read_to_string(native.join(folder).join(MARKER)).ok()?).ok()
}

#[cfg(unix)]
fn symlink(target: &str, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(not(unix))]
fn symlink(_target: &str, _link: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use zip::write::{SimpleFileOptions, ZipWriter};

    fn part(form: Form, version: &'static str) -> Part {
        let keep = &[("small/lib/", "lib/")];
        let wheel = Wheel { package: "small", version, megabytes: 0.1, sha256: "00", keep };
        Part {
            folder: "small",
            platform: Platform::LinuxX64,
            form,
            wheels: vec![wheel],
            megabytes: 0.1,
            link: Some(("lib/libx.so", "libx_cpu.so")),
        }
    }

    /// Replaces the download: writes a zip with one library that contains its version.
    fn fetch(wheel: &Wheel, _platform: Platform, into: &Path) -> Result<PathBuf> {
        let file = into.join("small.whl");
        let mut zip = ZipWriter::new(fs::File::create(&file)?);
        zip.start_file("small/lib/libx_cpu.so", SimpleFileOptions::default())?;
        zip.write_all(wheel.version.as_bytes())?;
        zip.finish()?;
        Ok(file)
    }

    #[test]
    fn another_version_or_form_is_installed_again() {
        let native = tempfile::tempdir().unwrap();
        let old = part(Form::Cpu, "1");
        assert!(!old.is_installed(native.path()));
        old.install(&Staging::open(native.path()).unwrap(), fetch).unwrap();
        assert!(old.is_installed(native.path()));
        assert!(!part(Form::Cuda, "1").is_installed(native.path()));

        let new = part(Form::Cpu, "2");
        assert!(!new.is_installed(native.path()));
        new.install(&Staging::open(native.path()).unwrap(), fetch).unwrap();
        assert!(new.is_installed(native.path()) && !old.is_installed(native.path()));
        assert_eq!(installed_form(native.path(), "small"), Some(Form::Cpu));
        // Read through the symlink.
        assert_eq!(fs::read_to_string(native.path().join("small/lib/libx.so")).unwrap(), "2");
        assert!(!native.path().join("small/small.whl").exists());
    }

    #[test]
    fn a_failed_download_leaves_the_old_folder_as_it_was() {
        let native = tempfile::tempdir().unwrap();
        let old = part(Form::Cpu, "1");
        old.install(&Staging::open(native.path()).unwrap(), fetch).unwrap();
        let staging = Staging::open(native.path()).unwrap();
        part(Form::Cpu, "2").install(&staging, |_, _, _| anyhow::bail!("no network")).unwrap_err();
        assert!(old.is_installed(native.path()));
    }
}
