//! Versions of glibc and libraries that the ELF files of an archive need.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use goblin::elf::Elf;

use super::pack::files;
use super::{GLIBC, Program, Release};

/// Version of a library's symbols: `2.28`, `3.4.22`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub [u32; 3]);

impl Version {
    /// Reads `GLIBC_2.28` with the prefix `GLIBC_`; `None` for other names and for `GLIBC_PRIVATE`.
    fn parse(name: &str, prefix: &str) -> Option<Self> {
        let mut numbers = [0; 3];
        let parts: Vec<_> = name.strip_prefix(prefix)?.split('.').collect();
        for (number, part) in numbers.get_mut(..parts.len())?.iter_mut().zip(parts) {
            *number = part.parse().ok()?;
        }
        Some(Self(numbers))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}")?;
        if patch > 0 { write!(f, ".{patch}") } else { Ok(()) }
    }
}

/// Needs of one ELF file.
#[derive(Debug)]
pub struct Needs {
    /// Path in the archive.
    pub file: PathBuf,
    /// Highest version of glibc's symbols.
    pub glibc: Option<Version>,
    /// Highest version of libstdc++'s symbols.
    pub glibcxx: Option<Version>,
    /// Symbols of glibc that are newer than [`GLIBC`], each with its version.
    pub newer: BTreeMap<String, Version>,
    /// Libraries, by name.
    pub libraries: BTreeSet<String>,
}

/// Reads all ELF files in `folder`.
///
/// # Errors
/// When a file cannot be read, or is damaged.
pub fn read_all(folder: &Path) -> Result<Vec<Needs>> {
    let mut all = Vec::new();
    for file in files(folder)? {
        let bytes =
            fs::read(folder.join(&file)).with_context(|| format!("cannot read {}", file.display()))?;
        if bytes.starts_with(b"\x7fELF") {
            all.push(
                read(&bytes, file.clone())
                    .with_context(|| format!("{}: damaged ELF file", file.display()))?,
            );
        }
    }
    Ok(all)
}

fn read(bytes: &[u8], file: PathBuf) -> Result<Needs> {
    let elf = Elf::parse(bytes)?;
    // Symbols name their version by a number that the section of needed versions defines.
    let mut versions = BTreeMap::new();
    for aux in
        elf.verneed.iter().flat_map(|section| section.iter()).flat_map(|need| need.iter().collect::<Vec<_>>())
    {
        versions.insert(aux.vna_other, elf.dynstrtab.get_at(aux.vna_name).unwrap_or_default());
    }
    let highest = |prefix| versions.values().filter_map(|name| Version::parse(name, prefix)).max();
    let mut newer = BTreeMap::new();
    for (symbol, version) in elf.dynsyms.iter().zip(elf.versym.iter().flat_map(|section| section.iter())) {
        let version = versions.get(&version.version()).and_then(|name| Version::parse(name, "GLIBC_"));
        if let (Some(version), Some(name)) =
            (version.filter(|version| *version > GLIBC), elf.dynstrtab.get_at(symbol.st_name))
        {
            newer.insert(name.to_owned(), version);
        }
    }
    let libraries = elf.libraries.iter().map(|&name| name.to_owned()).collect();
    Ok(Needs { file, glibc: highest("GLIBC_"), glibcxx: highest("GLIBCXX_"), newer, libraries })
}

/// Prints a line for each file.
pub fn print(needs: &[Needs]) {
    let shown = |version: Option<Version>| version.map_or_else(|| "-".into(), |version| version.to_string());
    for Needs { file, glibc, glibcxx, newer, .. } in needs {
        println!("  {:<50} glibc {:<8} libstdc++ {}", file.display(), shown(*glibc), shown(*glibcxx));
        if !newer.is_empty() {
            let symbols = newer.iter().map(|(name, version)| format!("{name} {version}"));
            println!("    newer than {GLIBC}: {}", symbols.collect::<Vec<_>>().join(", "));
        }
    }
}

/// Version of glibc that all files need which are used on a system with a C++ library of its own.
pub fn glibc(needs: &[Needs]) -> Option<Version> {
    let used = needs.iter().filter(|needs| !is_fallback(&needs.file));
    used.filter_map(|needs| needs.glibc).max()
}

/// Tells whether a file is used only where the system has none.
pub fn is_fallback(file: &Path) -> bool {
    file.components().any(|part| part.as_os_str() == "fallback")
}

/// Fails when `infer` needs a newer glibc than [`GLIBC`]; says so for `train`, which may.
///
/// # Errors
/// When `infer` does.
pub fn check(release: &Release, needs: &[Needs]) -> Result<()> {
    let Some(found) = glibc(needs).filter(|found| *found > GLIBC) else { return Ok(()) };
    match release.program {
        Program::Infer => bail!("the archive needs glibc {found}, and {GLIBC} has to be enough"),
        Program::Train => println!(
            "  the archive needs glibc {found}: `train` was linked by this system's compiler, and brings its C++ library. \
             On a system with glibc {GLIBC} it needs less."
        ),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::{Form, Platform};

    #[test]
    fn versions_are_numbers() {
        assert_eq!(Version::parse("GLIBC_2.28", "GLIBC_"), Some(GLIBC));
        assert_eq!(Version::parse("GLIBC_2.2.5", "GLIBC_").unwrap().to_string(), "2.2.5");
        assert!(Version::parse("GLIBC_2.4", "GLIBC_") < Some(GLIBC));
        assert!(Version::parse("GLIBC_2.36", "GLIBC_") > Some(GLIBC));
        for other in ["GLIBC_PRIVATE", "GLIBCXX_3.4", "GCC_3.0", "GLIBC_2.1.2.3"] {
            assert_eq!(Version::parse(other, "GLIBC_"), None, "{other}");
        }
    }

    /// Reads this test itself, which the compiler has linked against this system's glibc.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_program_tells_its_needs() {
        let bytes = fs::read(std::env::current_exe().unwrap()).unwrap();
        let needs = read(&bytes, "test".into()).unwrap();
        assert!(needs.libraries.contains("libc.so.6"), "{needs:?}");
        let highest = needs.newer.values().max();
        assert!(needs.glibc.unwrap() > Version([2, 2, 4]), "{needs:?}");
        assert!(highest.is_none_or(|highest| Some(*highest) <= needs.glibc), "{needs:?}");
        read(&bytes[..bytes.len() / 2], "half".into()).unwrap_err();
    }

    #[test]
    fn a_newer_glibc_is_refused_for_infer_outside_the_fallback() {
        let release = Release { program: Program::Infer, platform: Platform::LinuxX64, form: Form::Cpu };
        let needs = |file: &str, glibc| Needs {
            file: file.into(),
            glibc: Some(Version(glibc)),
            glibcxx: None,
            newer: BTreeMap::new(),
            libraries: BTreeSet::new(),
        };
        check(&release, &[needs("bin/infer", [2, 28, 0]), needs("lib/fallback/libstdc++.so.6", [2, 36, 0])])
            .unwrap();
        let error = check(&release, &[needs("bin/infer", [2, 34, 0])]).unwrap_err().to_string();
        assert!(error.contains("2.34") && error.contains("2.28"), "{error}");
    }
}
