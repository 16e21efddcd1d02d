//! `cargo xtask dist`: archives of `infer` and `train` that need no toolchain.
//!
//! An archive holds a program with its libraries, licences, completions, man pages and a list of its components. Two builds
//! give the same bytes, wherever they are made.

mod build;
mod check;
mod closed;
mod components;
mod elf;
mod layout;
mod licences;
mod origin;
mod pack;
mod readme;
mod sbom;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::setup::{self, Form, Platform};
use crate::staging::Staging;
use crate::steps::Steps;
use crate::workspace::{root, short};
use layout::Layout;

/// Version of glibc that is enough where the runtimes allow it.
const GLIBC: elf::Version = elf::Version([2, 28, 0]);

/// Feature of both programs that releases have, and other builds by request only: object stores and parquet.
const FEATURE: &str = "cloud";

/// Options of `cargo xtask dist`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask dist                     both archives for this machine, in dist/
  cargo xtask dist --program infer --check
                                       make one, and run it in a root folder that has glibc and the archive only
  cargo xtask dist --cuda --dry-run    list what the archives for NVIDIA GPUs hold and need
  cargo xtask dist --target aarch64-apple-darwin --dry-run")]
pub struct DistArgs {
    /// Program to release [default: both]
    #[arg(long)]
    program: Option<Program>,
    /// Make the form for NVIDIA GPUs, which holds no libraries and names those that it needs
    #[arg(long)]
    cuda: bool,
    /// Platform to release for [default: this one]
    #[arg(long, value_name = "TARGET")]
    target: Option<Platform>,
    /// Folder for the archives and SHA256SUMS
    #[arg(long, value_name = "FOLDER", default_value = "dist")]
    out: PathBuf,
    /// Profile of cargo to build with: `dev` for a quick try
    #[arg(long, value_name = "PROFILE", default_value = "dist")]
    profile: String,
    /// List contents and libraries without building
    #[arg(long)]
    dry_run: bool,
    /// Run the programs in a root folder that has glibc and the archives only (Linux; uses unshare)
    #[arg(long, conflicts_with_all = ["cuda", "dry_run"])]
    check: bool,
}

/// Program that is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Program {
    /// Runs models.
    Infer,
    /// Trains and exports them.
    Train,
}

impl Program {
    /// Package that builds the program.
    fn package(self) -> &'static str {
        match self {
            Self::Infer => "ferronnx-infer",
            Self::Train => "ferronnx-train",
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Infer => "infer",
            Self::Train => "train",
        })
    }
}

/// One archive: a program for a platform and processor.
#[derive(Clone, Copy, Debug)]
pub struct Release {
    /// Program in it.
    pub program: Program,
    /// Platform that it runs on.
    pub platform: Platform,
    /// CPU, or NVIDIA GPUs.
    pub form: Form,
}

impl Release {
    /// Name of the archive's folder.
    pub fn name(&self) -> String {
        let form = if self.form == Form::Cuda { "-cuda" } else { "" };
        let version = env!("CARGO_PKG_VERSION");
        format!("{}-{version}-{}{form}", self.program.package(), self.platform.triple())
    }
}

/// Runs `cargo xtask dist`.
pub fn run(args: &DistArgs) -> Result<()> {
    let here = Platform::here();
    let platform =
        args.target.or(here).context("dist: this platform has no releases: name one with --target")?;
    let form = if args.cuda { Form::Cuda } else { Form::Cpu };
    let programs = args.program.map_or_else(|| Program::value_variants().to_vec(), |program| vec![program]);
    let releases: Vec<_> = programs.iter().map(|&program| Release { program, platform, form }).collect();
    if args.dry_run {
        releases.iter().for_each(announce);
        println!("dist: dry run, nothing built");
        return Ok(());
    }
    if Some(platform) != here {
        anyhow::bail!(
            "dist: {} cannot be built on this machine: run the command there, or add --dry-run",
            platform.triple()
        );
    }
    let mut steps = Steps::new(1 + releases.len() + usize::from(args.check));
    steps.run("setup", setup::ensure)?;
    let staging = Staging::open(&root().join(&args.out))?;
    let mut archives = Vec::new();
    for release in &releases {
        archives.push(steps.run(&release.name(), || make(release, &args.profile, &staging))?);
    }
    pack::sums(staging.home())?;
    if args.check {
        steps.run("check", || check::run(&archives))?;
    }
    println!("\nDone in {}. Archives in {}:", steps.elapsed(), short(staging.home()));
    for archive in &archives {
        let megabytes = fs::metadata(&archive.file)?.len() as f64 / 1e6;
        println!("  {} ({megabytes:.1} MB)", short(&archive.file));
    }
    Ok(())
}

/// An archive that was made.
pub struct Archive {
    /// Program in it.
    pub program: Program,
    /// Name of the folder in it.
    pub name: String,
    /// The file.
    pub file: PathBuf,
}

fn make(release: &Release, profile: &str, staging: &Staging) -> Result<Archive> {
    let origin = origin::Origin::find()?;
    let executable = build::program(release, profile, &origin)?;
    let name = release.name();
    let layout = Layout::new(staging.folder(&name)?);
    let components = components::of(release)?;
    layout.fill(release, &executable)?;
    licences::write(&components, &layout.path("licenses/THIRD-PARTY.txt"))?;
    sbom::write(release, &components, &origin, &layout.path("sbom.cdx.json"))?;
    let needs = elf::read_all(layout.folder())?;
    if platform_has_elf(release.platform) {
        elf::print(&needs);
        elf::check(release, &needs)?;
        if release.form == Form::Cpu {
            closed::check(&needs)?;
        }
    }
    readme::write(release, &needs, layout.folder())?;
    pack::file_sums(layout.folder())?;
    origin.refuse_paths_in(layout.folder())?;
    let file = pack::archive(layout.folder(), &name, origin.date, staging)?;
    Ok(Archive { program: release.program, name, file })
}

fn platform_has_elf(platform: Platform) -> bool {
    platform != Platform::MacArm64
}

fn announce(release: &Release) {
    println!("{}.tar.gz:", release.name());
    println!(
        "  bin/{}, README.md, SHA256SUMS, sbom.cdx.json, licenses/, share/ (completions, man pages)",
        release.program
    );
    let libraries = setup::libraries(release.platform, release.form, release.program == Program::Train);
    println!(
        "  {}",
        if release.form == Form::Cuda { "needs these libraries:" } else { "with the libraries of:" }
    );
    for wheel in &libraries {
        println!("    {} {} (sha256 {})", wheel.package, wheel.version, wheel.sha256);
    }
}

/// Writes a file of an archive.
fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
