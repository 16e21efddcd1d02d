//! `cargo xtask setup`: downloads libtorch and ONNX Runtime into `.native/`.
//!
//! Both are unpacked from their PyPI wheels, each pinned to one digest. After setup no Python is needed, and
//! `cargo build` and the built programs find the libraries without environment variables.

mod checks;
mod part;
mod provided;
pub mod wheels;

use std::env::consts::{ARCH, OS};
use std::fmt;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use crate::staging::Staging;
use crate::steps::{human_size, human_time};
use crate::wheel::Wheel;
use crate::{pip, workspace};
use part::Part;

/// Options of `cargo xtask setup`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask setup                      CPU libraries, about 560 MB to download
  cargo xtask setup --cuda --dry-run     list the CUDA libraries without downloading
  LIBTORCH=~/libtorch cargo xtask setup  use your own libtorch 2.13.0; likewise ORT_DYLIB_PATH")]
pub struct SetupArgs {
    /// Download the libraries for NVIDIA GPUs (CUDA 13); the driver has to be installed already
    #[arg(long)]
    cuda: bool,
    /// List the downloads without downloading
    #[arg(long)]
    dry_run: bool,
}

/// Processor that the libraries are built for.
///
/// The CUDA wheels are pinned as pip resolves them. These versions ran on an H100, from a folder packed by hand; their
/// download by this program was not tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// CPU only.
    Cpu,
    /// NVIDIA GPUs and the CPU.
    Cuda,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        })
    }
}

/// Runs `cargo xtask setup`.
pub fn run(args: &SetupArgs) -> Result<()> {
    bring(if args.cuda { Form::Cuda } else { Form::Cpu }, args.dry_run)
}

/// Downloads the missing libraries as the first step of another command.
///
/// A CUDA installation stays one: only `setup` itself changes the form.
///
/// # Errors
/// As for `cargo xtask setup`.
pub fn ensure() -> Result<()> {
    let native = workspace::native();
    let chosen = ["torch", "onnxruntime"].iter().find_map(|folder| part::installed_form(&native, folder));
    bring(chosen.unwrap_or(Form::Cpu), false)
}

fn bring(form: Form, dry_run: bool) -> Result<()> {
    let start = Instant::now();
    let native = workspace::native();
    let libtorch = provided::libtorch(&native)?;
    let onnxruntime = provided::onnxruntime()?;
    for (name, path) in [("LIBTORCH", &libtorch), ("ORT_DYLIB_PATH", &onnxruntime)] {
        if let Some(path) = path {
            println!("setup: {name} is set, using {}", path.display());
        }
    }
    if !dry_run {
        checks::compiler()?;
    }
    let mut missing = parts(form, libtorch.is_none(), onnxruntime.is_none());
    missing.retain(|part| !part.is_installed(&native));
    if missing.is_empty() {
        println!("setup: nothing to do, the libraries ({form}) are in place");
        return Ok(());
    }
    checks::platform(OS, ARCH)?;
    announce(form, &missing, &native);
    if dry_run {
        println!("setup: dry run, nothing downloaded");
        return Ok(());
    }
    pip::check()?;
    checks::disk_space(&native, disk_megabytes(&missing))?;

    let staging = Staging::open(&native)?;
    for part in &missing {
        // Another run may have installed it while this one waited for the lock.
        if !part.is_installed(&native) {
            part.install(&staging, pip::download)?;
        }
    }
    println!(
        "setup: done in {}, {} in {}",
        human_time(start.elapsed()),
        human_size(missing.iter().map(|part| part.megabytes).sum()),
        workspace::short(&native)
    );
    Ok(())
}

/// Folders that `.native/` needs for `form`.
fn parts(form: Form, with_torch: bool, with_ort: bool) -> Vec<Part> {
    let part = |folder, wheels, megabytes| Part { folder, form, wheels, megabytes, link: None };
    let torch = match form {
        Form::Cpu => Part {
            // The wheel's own libtorch.so needs the CUDA libraries.
            link: Some(("lib/libtorch.so", "libtorch_cpu.so")),
            ..part("torch", vec![wheels::TORCH_CPU], 520.0)
        },
        Form::Cuda => part("torch", vec![wheels::TORCH_CUDA], 1070.0),
    };
    let ort = match form {
        Form::Cpu => part("onnxruntime", vec![wheels::ORT_CPU], 30.0),
        Form::Cuda => part("onnxruntime", vec![wheels::ORT_CUDA], 400.0),
    };
    let nvidia = match (form, with_torch, with_ort) {
        (Form::Cpu, true, _) => Some(part("nvidia", wheels::NVIDIA_FOR_CPU.to_vec(), 5.0)),
        (Form::Cuda, true, _) => {
            Some(part("nvidia", [&wheels::NVIDIA_FOR_ORT[..], &wheels::NVIDIA_FOR_TORCH].concat(), 2700.0))
        }
        (Form::Cuda, false, true) => Some(part("nvidia", wheels::NVIDIA_FOR_ORT.to_vec(), 1700.0)),
        _ => None,
    };
    [with_torch.then_some(torch), nvidia, with_ort.then_some(ort)].into_iter().flatten().collect()
}

fn announce(form: Form, parts: &[Part], native: &Path) {
    println!("setup: to download for {} ({form}):", workspace::short(native));
    for Wheel { package, version, megabytes, .. } in parts.iter().flat_map(|part| &part.wheels) {
        println!("  {:<36} {:>9}", format!("{package} {version}"), human_size(*megabytes));
    }
    let total = parts.iter().flat_map(|part| &part.wheels).map(|wheel| wheel.megabytes).sum();
    println!("  {:<36} {:>9}", "total", human_size(total));
    println!("  {:<36} {:>9}", "disk needed", human_size(disk_megabytes(parts)));
}

/// Disk space needed, in MB: all unpacked files and the largest wheel, since each wheel is deleted after unpacking.
fn disk_megabytes(parts: &[Part]) -> f64 {
    let unpacked: f64 = parts.iter().map(|part| part.megabytes).sum();
    let largest = parts.iter().flat_map(|part| &part.wheels).map(|wheel| wheel.megabytes).fold(0.0, f64::max);
    unpacked + largest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages(form: Form, with_torch: bool, with_ort: bool) -> Vec<&'static str> {
        let parts = parts(form, with_torch, with_ort);
        parts.iter().flat_map(|part| &part.wheels).map(|wheel| wheel.package).collect()
    }

    #[test]
    fn nvidia_comes_only_for_who_needs_it() {
        assert_eq!(packages(Form::Cpu, false, true), ["onnxruntime"]);
        assert_eq!(packages(Form::Cpu, true, false), ["torch", "nvidia-cuda-runtime", "nvidia-cuda-cupti"]);
        assert!(packages(Form::Cuda, false, true).contains(&"nvidia-cublas"));
        assert!(!packages(Form::Cuda, false, true).contains(&"nvidia-nccl-cu13"));
        assert_eq!(packages(Form::Cuda, true, true).len(), 17);
        assert!(packages(Form::Cuda, false, false).is_empty());
    }

    #[test]
    fn every_digest_is_a_sha256_and_every_package_comes_once() {
        let parts = parts(Form::Cuda, true, true);
        let wheels: Vec<_> = parts.iter().flat_map(|part| &part.wheels).collect();
        for wheel in &wheels {
            assert_eq!(wheel.sha256.len(), 64, "{}", wheel.package);
            assert_eq!(
                wheels.iter().filter(|other| other.sha256 == wheel.sha256).count(),
                1,
                "{}",
                wheel.package
            );
        }
    }
}
