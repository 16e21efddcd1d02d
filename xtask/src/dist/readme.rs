//! README of an archive.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;

use super::elf::{self, Needs};
use super::{Program, Release};
use crate::setup::{self, Form, Platform};
use crate::wheel::Wheel;

/// Name of the list of wheels that the CUDA form needs, made for pip.
const WHEELS: &str = "requirements.txt";

/// Writes what the archive in `folder` holds, what it needs, and how it is used; for the CUDA form the list of wheels too.
///
/// # Errors
/// When a file cannot be written.
pub fn write(release: &Release, needs: &[Needs], folder: &Path) -> Result<()> {
    if release.form == Form::Cuda {
        super::write(&folder.join(WHEELS), wheels(release))?;
    }
    super::write(&folder.join("README.md"), text(release, needs)?)
}

fn text(release: &Release, needs: &[Needs]) -> Result<String> {
    let Release { program, platform, form } = *release;
    let mut text = format!("# {}\n\n", release.name());
    text += match program {
        Program::Infer => {
            "`bin/infer` runs image classifiers on ONNX Runtime. Leave `bin` and `lib` beside each other.\n\n"
        }
        Program::Train => {
            "`bin/train` trains image classifiers on libtorch and exports them. Leave `bin`, `lib` and `libtorch` beside\neach other.\n\n"
        }
    };
    text += match program {
        Program::Infer => {
            "```sh\nbin/infer classify --model model.onnx photo.jpg\nbin/infer serve model.onnx\nbin/infer --help\n```\n\n"
        }
        Program::Train => {
            "```sh\nbin/train fit --data photos --out runs/photos        # photos/CLASS/*.jpg\nbin/train export runs/photos -o model.onnx\nbin/train --help\n```\n\n"
        }
    };
    text += "## Needs\n\n";
    if let Some(glibc) = elf::glibc(needs) {
        writeln!(text, "- {}, with glibc {glibc} or newer.", platform.triple())?;
    }
    let fallback =
        needs.iter().filter(|needs| elf::is_fallback(&needs.file)).filter_map(|needs| needs.glibc).max();
    if let Some(glibc) = fallback {
        writeln!(
            text,
            "- The system's C++ library, `libstdc++.so.6`. A system without one has the one in `lib/fallback/`, which needs\n  glibc {glibc}."
        )?;
    }
    if form == Form::Cuda {
        cuda(release, &mut text)?;
    }
    let libraries = match (form, program) {
        (Form::Cuda, _) => "`bin/`, `requirements.txt` | the program, and the list of its libraries |",
        (Form::Cpu, Program::Infer) => "`bin/`, `lib/` | the program and its libraries |",
        (Form::Cpu, Program::Train) => "`bin/`, `lib/`, `libtorch/` | the program and its libraries |",
    };
    writeln!(text, "\n## Files\n\n| path | content |\n|---|---|\n| {libraries}")?;
    text += "\
        | `share/` | completions for bash, zsh and fish; man pages: `man -l share/man/man1/*.1` |\n\
        | `licenses/` | licences of the program, of all crates (`THIRD-PARTY.txt`) and of the libraries |\n\
        | `sbom.cdx.json` | all components with versions and licences, in CycloneDX 1.5 |\n\
        | `SHA256SUMS` | checksums of these files: `sha256sum --check SHA256SUMS` |\n";
    Ok(text)
}

/// Lines of pip for the libraries that the CUDA form needs.
fn wheels(release: &Release) -> String {
    let wheels = setup::libraries(release.platform, Form::Cuda, release.program == Program::Train);
    let line =
        |wheel: &Wheel| format!("{}=={} --hash=sha256:{}\n", wheel.package, wheel.version, wheel.sha256);
    wheels.iter().map(line).collect()
}

/// Commands that bring the libraries of the CUDA form.
fn cuda(release: &Release, text: &mut String) -> Result<()> {
    let with_torch = release.program == Program::Train;
    text.push_str(
        "- An NVIDIA GPU with a driver for CUDA 13 (580 or newer).\n\
         - The libraries in `requirements.txt`. They are not in the archive, because they take 2 GB (`infer`) or 4 GB (`train`) and have terms of their own.\n\n\
         pip brings them, in this folder; a warning that `bin` exists is right:\n\n```sh\n",
    );
    let place = if with_torch { "libtorch" } else { "." };
    let tags: Vec<_> = Platform::LinuxX64.tags().iter().map(|tag| format!("--platform {tag}")).collect();
    write!(
        text,
        "python3 -m pip install --no-deps --only-binary=:all: --require-hashes --target {place} \\\n    \
         --python-version 3.11 --implementation cp --abi cp311 \\\n    {} \\\n    --requirement {WHEELS}\n\
         mkdir -p lib && mv {place}/onnxruntime/capi/libonnxruntime* lib/\n",
        tags.join(" ")
    )?;
    if with_torch {
        text.push_str("ln -s libtorch/nvidia nvidia\n");
    }
    text.push_str(
        "```\n\nThese commands were run on a machine without a GPU, where the program then computes on the CPU.\n",
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cuda_form_names_every_library_with_its_digest() {
        let release = Release { program: Program::Train, platform: Platform::LinuxX64, form: Form::Cuda };
        let (text, list) = (text(&release, &[]).unwrap(), wheels(&release));
        for wheel in setup::libraries(Platform::LinuxX64, Form::Cuda, true) {
            assert!(
                list.contains(&format!(
                    "{}=={} --hash=sha256:{}\n",
                    wheel.package, wheel.version, wheel.sha256
                ))
            );
        }
        assert!(list.contains("nvidia-nccl-cu13==2.29.7") && text.contains("without a GPU"), "{list}{text}");
        let infer = Release { program: Program::Infer, ..release };
        assert!(!wheels(&infer).contains("nvidia-nccl-cu13"));
    }
}
