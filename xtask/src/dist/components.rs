//! Components of a release: crates, libraries, and what the compilers add.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand, Package, PackageId};

use super::{Program, Release};
use crate::setup::{self, Form, Platform};
use crate::workspace::{cargo, output};

/// One component.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Component {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Address in the language of package URLs: `cargo`, `pypi` or `generic`.
    pub kind: &'static str,
    /// Licence expression of SPDX; `None` where only the texts say it.
    pub licence: Option<String>,
    /// Authors.
    pub authors: Vec<String>,
    /// Repository.
    pub repository: Option<String>,
    /// Folder that holds licence texts.
    pub folder: Option<PathBuf>,
    /// Licence file that the component names, beside those with usual names.
    pub licence_file: Option<PathBuf>,
    /// SHA-256 of the package that it comes from.
    pub sha256: Option<String>,
    /// References of the components that it needs.
    pub needs: Vec<String>,
}

impl Component {
    /// Reference of the component, unique in a release.
    pub fn reference(&self) -> String {
        format!("{}:{}@{}", self.kind, self.name, self.version)
    }

    fn other(kind: &'static str, name: &str, version: &str, licence: Option<&str>) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            kind,
            licence: licence.map(Into::into),
            authors: Vec::new(),
            repository: None,
            folder: None,
            licence_file: None,
            sha256: None,
            needs: Vec::new(),
        }
    }
}

/// Lists the components of a release, by name and version.
///
/// # Errors
/// When cargo or the compiler does not answer.
pub fn of(release: &Release) -> Result<Vec<Component>> {
    let mut all = crates(release)?;
    all.extend(libraries(release));
    all.extend(of_compilers(release)?);
    all.sort();
    Ok(all)
}

/// Crates that the program is built from, those that run in the compiler too.
fn crates(release: &Release) -> Result<Vec<Component>> {
    let (package, triple) = (release.program.package(), release.platform.triple());
    let tree = output(cargo(&["tree", "--locked", "--package", package, "--target", triple]).args([
        "--features",
        super::FEATURE,
        "--edges=normal,build",
        "--prefix=none",
        "--format={p}",
    ]))?;
    let used: BTreeSet<_> = tree.lines().filter_map(name_and_version).collect();
    let feature = format!("{package}/{}", super::FEATURE);
    let metadata = output(
        cargo(&["metadata", "--locked", "--format-version=1", "--filter-platform", triple])
            .args(["--features", &feature]),
    )?;
    let metadata = MetadataCommand::parse(metadata).context("cargo metadata")?;
    let edges = edges(&metadata);
    let packages = metadata.packages.iter().filter(|package| {
        package.source.is_some() && used.contains(&(package.name.to_string(), package.version.to_string()))
    });
    let mut crates: Vec<_> = packages.map(|package| of_crate(package, &edges)).collect();
    let known: BTreeSet<_> = crates.iter().map(Component::reference).collect();
    for component in &mut crates {
        component.needs.retain(|reference| known.contains(reference));
    }
    Ok(crates)
}

/// Reads a line of `cargo tree`: `serde v1.0.229 (proc-macro)`.
fn name_and_version(line: &str) -> Option<(String, String)> {
    let mut words = line.split(' ');
    Some((words.next()?.into(), words.next()?.strip_prefix('v')?.into()))
}

/// References of the dependencies of each package.
fn edges(metadata: &Metadata) -> BTreeMap<String, Vec<String>> {
    let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
    let reference = |id: &PackageId| {
        let package = metadata.packages.iter().find(|package| package.id == *id)?;
        Some(format!("cargo:{}@{}", package.name, package.version))
    };
    nodes
        .filter_map(|node| {
            let mut needs: Vec<_> = node.dependencies.iter().filter_map(reference).collect();
            needs.sort();
            needs.dedup();
            Some((reference(&node.id)?, needs))
        })
        .collect()
}

fn of_crate(package: &Package, edges: &BTreeMap<String, Vec<String>>) -> Component {
    let folder = package.manifest_path.parent().map(|folder| folder.as_std_path().to_owned());
    // Crates before 2018 wrote a slash for "or".
    let licence = package.license.as_deref().map(|licence| licence.replace('/', " OR "));
    let mut component =
        Component::other("cargo", &package.name, &package.version.to_string(), licence.as_deref());
    component.authors.clone_from(&package.authors);
    component.repository.clone_from(&package.repository);
    component.licence_file = package.license_file().map(|file| file.into_std_path_buf());
    component.folder = folder;
    component.needs = edges.get(&component.reference()).cloned().unwrap_or_default();
    component
}

/// Libraries in the archive, which bring their licence texts in `licenses/`.
fn libraries(release: &Release) -> Vec<Component> {
    if release.form == Form::Cuda {
        return Vec::new();
    }
    let wheels = setup::libraries(release.platform, release.form, release.program == Program::Train);
    let one = |wheel: crate::wheel::Wheel| {
        let licence = match wheel.package {
            "onnxruntime" => Some("MIT"),
            "torch" => Some("BSD-3-Clause"),
            _ => None,
        };
        Component {
            sha256: Some(wheel.sha256.into()),
            ..Component::other("pypi", wheel.package, wheel.version, licence)
        }
    };
    wheels.into_iter().map(one).collect()
}

/// Code that the compilers put into a program.
fn of_compilers(release: &Release) -> Result<Vec<Component>> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = output(Command::new(rustc).arg("--version"))?;
    let rust = version.split(' ').nth(1).unwrap_or("unknown");
    let mut all = vec![Component {
        authors: vec!["The Rust Project Contributors".into()],
        repository: Some("https://github.com/rust-lang/rust".into()),
        ..Component::other("generic", "rust-std", rust, Some("MIT OR Apache-2.0"))
    }];
    if release.platform == Platform::MacArm64 {
        return Ok(all);
    }
    if release.program == Program::Infer {
        let licence = Some("Apache-2.0 WITH LLVM-exception");
        all.push(Component {
            authors: vec!["The LLVM Project".into()],
            repository: Some("https://github.com/llvm/llvm-project".into()),
            ..Component::other("generic", "llvm-libunwind", &format!("zig-{}", zig()), licence)
        });
    }
    if release.form == Form::Cpu {
        let gcc = output(Command::new("g++").arg("-dumpfullversion"))?;
        let licence = Some("GPL-3.0-or-later WITH GCC-exception-3.1");
        all.push(Component {
            authors: vec!["Free Software Foundation, Inc.".into()],
            repository: Some("https://gcc.gnu.org/git/gcc.git".into()),
            ..Component::other("generic", "gcc-runtime", gcc.trim(), licence)
        });
    }
    Ok(all)
}

/// Version of Zig that [`super::build`] installs.
fn zig() -> &'static str {
    let lines = include_str!("requirements.txt").lines();
    let version = lines.filter_map(|line| line.strip_prefix("ziglang==")).next();
    version.and_then(|rest| rest.split(' ').next()).unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_tree_are_read() {
        let read = |line| name_and_version(line).map(|(name, version)| format!("{name} {version}"));
        assert_eq!(read("serde_derive v1.0.2 (proc-macro)").as_deref(), Some("serde_derive 1.0.2"));
        assert_eq!(read("ferronnx-infer v0.1.0 (/a/b c)").as_deref(), Some("ferronnx-infer 0.1.0"));
        assert_eq!(read(""), None);
        assert_ne!(zig(), "unknown");
    }

    #[test]
    fn infer_has_its_crates_and_libraries_and_not_those_of_train() {
        let release = |program| Release { program, platform: Platform::LinuxX64, form: Form::Cpu };
        let all = of(&release(Program::Infer)).unwrap();
        let has = |name: &str| all.iter().any(|component| component.name == name);
        assert!(has("ort") && has("onnxruntime") && has("clap_derive") && has("gcc-runtime"));
        assert!(!has("tch") && !has("criterion") && !has("ferronnx-models") && !has("torch"));
        let serde = all.iter().find(|component| component.name == "serde").unwrap();
        assert!(serde.needs.iter().any(|need| need.starts_with("cargo:serde_core@")), "{serde:?}");
        assert!(of(&release(Program::Train)).unwrap().iter().any(|component| component.name == "tch"));
    }
}
