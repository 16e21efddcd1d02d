//! One folder of `.native/`: what it is made of, whether it is there, and how it comes there.
//!
//! Its last file is a note of what was put in. The folder takes its name by a rename, so a note in place
//! means a folder that is complete.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Form;
use crate::staging::Staging;
use crate::unpack::unpack;
use crate::wheel::Wheel;

const MARKER: &str = "installed.json";

/// To be raised when other files of the same wheels are kept: folders made before are then made again.
const LAYOUT: u32 = 1;

/// A folder of `.native/`, filled from wheels.
pub struct Part {
    /// Name of the folder
    pub folder: &'static str,
    /// CPU or CUDA
    pub form: Form,
    /// What it is filled from
    pub wheels: Vec<Wheel>,
    /// Space it takes, roughly
    pub megabytes: f64,
    /// A symlink (path, target) made in it
    pub link: Option<(&'static str, &'static str)>,
}

impl Part {
    /// Whether exactly this lies in `native`.
    pub fn is_installed(&self, native: &Path) -> bool {
        note(native, self.folder).is_some_and(|note| note == self.marker())
    }

    /// Fetches, unpacks and puts it in place, wheel by wheel; no wheel outlives its unpacking.
    pub fn install(&self, staging: &Staging, fetch: impl Fn(&Wheel, &Path) -> Result<PathBuf>) -> Result<()> {
        let made = staging.folder(self.folder)?;
        for wheel in &self.wheels {
            let downloads = staging.folder("downloads")?;
            let file = fetch(wheel, &downloads)?;
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

/// The form that a folder of `native` has, if it is there.
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
            form,
            wheels: vec![wheel],
            megabytes: 0.1,
            link: Some(("lib/libx.so", "libx_cpu.so")),
        }
    }

    /// Stands in for the index: a real zip with one library, which says its version.
    fn fetch(wheel: &Wheel, into: &Path) -> Result<PathBuf> {
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
        part(Form::Cpu, "2").install(&staging, |_, _| anyhow::bail!("no network")).unwrap_err();
        assert!(old.is_installed(native.path()));
    }
}
