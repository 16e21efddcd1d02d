//! `cargo xtask setup`: downloads libtorch and ONNX Runtime into `.native/`.
//!
//! Both are unpacked from their PyPI wheels, each pinned to one digest. After setup no Python is needed, and
//! `cargo build` and the built programs find the libraries without environment variables.

mod checks;
mod part;
mod platform;
mod provided;
pub mod wheels;

use std::fmt;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use crate::staging::Staging;
use crate::steps::{human_size, human_time};
use crate::wheel::Wheel;
use crate::{pip, workspace};
use part::Part;
pub use platform::Platform;

/// Options of `cargo xtask setup`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask setup                      CPU libraries, about 560 MB to download
  cargo xtask setup --cuda --dry-run     list the CUDA libraries without downloading
  cargo xtask setup --dry-run --target aarch64-apple-darwin
  LIBTORCH=~/libtorch cargo xtask setup  use your own libtorch 2.13.0; likewise ORT_DYLIB_PATH")]
pub struct SetupArgs {
    /// Download the libraries for NVIDIA GPUs (CUDA 13); the driver has to be installed already
    #[arg(long)]
    cuda: bool,
    /// List the downloads without downloading
    #[arg(long)]
    dry_run: bool,
    /// Platform to list the downloads for [default: this one]
    #[arg(long, value_name = "TARGET", requires = "dry_run")]
    target: Option<Platform>,
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
    bring(args.target, if args.cuda { Form::Cuda } else { Form::Cpu }, args.dry_run)
}

/// Downloads the missing libraries as the first step of another command.
///
/// A CUDA installation stays one: only `setup` itself changes the form.
///
/// # Errors
/// As for `cargo xtask setup`.
pub fn ensure() -> Result<()> {
    bring(None, installed_form().unwrap_or(Form::Cpu), false)
}

/// Form of the libraries in `.native/`; `None` when there are none of ours.
pub fn installed_form() -> Option<Form> {
    let native = workspace::native();
    ["torch", "onnxruntime"].iter().find_map(|folder| part::installed_form(&native, folder))
}

/// Wheels of the libraries that a program needs: ONNX Runtime, and libtorch where `with_torch` says so.
pub fn libraries(platform: Platform, form: Form, with_torch: bool) -> Vec<Wheel> {
    parts(platform, form, with_torch, true).into_iter().flat_map(|part| part.wheels).collect()
}

fn bring(target: Option<Platform>, form: Form, dry_run: bool) -> Result<()> {
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
    let provided = libtorch.is_some() && onnxruntime.is_some();
    let mut missing = match target.or_else(Platform::here) {
        _ if provided => Vec::new(),
        Some(platform) => parts(platform, form, libtorch.is_none(), onnxruntime.is_none()),
        None => return checks::no_platform(),
    };
    missing.retain(|part| target.is_some() || !part.is_installed(&native));
    if missing.is_empty() {
        println!("setup: nothing to do, the libraries ({form}) are in place");
        return Ok(());
    }
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
///
/// Only Linux on x86-64 has a CUDA form of ONNX Runtime; elsewhere the form is that of the CPU.
fn parts(platform: Platform, form: Form, with_torch: bool, with_ort: bool) -> Vec<Part> {
    let form = if platform == Platform::LinuxX64 { form } else { Form::Cpu };
    let part = |folder, wheels, megabytes| Part { folder, platform, form, wheels, megabytes, link: None };
    let (torch, nvidia, ort) = match (platform, form) {
        (Platform::LinuxX64, Form::Cuda) => cuda_wheels(with_torch, with_ort),
        (Platform::LinuxX64, Form::Cpu) => {
            (wheels::TORCH_CPU, wheels::NVIDIA_FOR_CPU.to_vec(), wheels::ORT_CPU)
        }
        (Platform::LinuxArm64, _) => {
            (wheels::TORCH_ARM64, wheels::NVIDIA_FOR_ARM64.to_vec(), wheels::ORT_ARM64)
        }
        (Platform::MacArm64, _) => (wheels::TORCH_MAC, Vec::new(), wheels::ORT_MAC),
    };
    let (torch_size, nvidia_size, ort_size) = match form {
        Form::Cpu => (520.0, 5.0, 30.0),
        Form::Cuda => (1070.0, if with_torch { 2700.0 } else { 1700.0 }, 400.0),
    };
    // The wheel's own libtorch.so needs the CUDA libraries.
    let link = (form == Form::Cpu && platform != Platform::MacArm64)
        .then_some(("lib/libtorch.so", "libtorch_cpu.so"));
    let with_nvidia = !nvidia.is_empty() && (with_torch || (with_ort && form == Form::Cuda));
    [
        with_torch.then(|| Part { link, ..part("torch", vec![torch], torch_size) }),
        with_nvidia.then(|| part("nvidia", nvidia, nvidia_size)),
        with_ort.then(|| part("onnxruntime", vec![ort], ort_size)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// libtorch, NVIDIA's libraries and ONNX Runtime for NVIDIA GPUs.
fn cuda_wheels(with_torch: bool, with_ort: bool) -> (Wheel, Vec<Wheel>, Wheel) {
    let nvidia = match (with_torch, with_ort) {
        (true, _) => [&wheels::NVIDIA_FOR_ORT[..], &wheels::NVIDIA_FOR_TORCH].concat(),
        (false, true) => wheels::NVIDIA_FOR_ORT.to_vec(),
        (false, false) => Vec::new(),
    };
    (wheels::TORCH_CUDA, nvidia, wheels::ORT_CUDA)
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
    use clap::ValueEnum;

    fn packages(form: Form, with_torch: bool, with_ort: bool) -> Vec<&'static str> {
        let parts = parts(Platform::LinuxX64, form, with_torch, with_ort);
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
        for platform in Platform::value_variants() {
            let parts = parts(*platform, Form::Cuda, true, true);
            let wheels: Vec<_> = parts.iter().flat_map(|part| &part.wheels).collect();
            for wheel in &wheels {
                assert_eq!(wheel.sha256.len(), 64, "{}", wheel.package);
                let equal = wheels.iter().filter(|other| other.sha256 == wheel.sha256).count();
                assert_eq!(equal, 1, "{}", wheel.package);
            }
        }
    }

    #[test]
    fn every_platform_has_the_same_versions() {
        let versions = |platform: Platform| {
            let wheels = libraries(platform, Form::Cpu, true);
            let ours = wheels.into_iter().filter(|wheel| !wheel.package.starts_with("nvidia"));
            ours.map(|wheel| (wheel.package, wheel.version)).collect::<Vec<_>>()
        };
        for platform in Platform::value_variants() {
            assert_eq!(versions(*platform), [("torch", "2.13.0"), ("onnxruntime", "1.31.1")]);
        }
    }
}
