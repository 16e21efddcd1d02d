//! Command `infer triton-repo`: writes a model repository for Triton Inference Server.

use std::io::{self, Write};
use std::num::NonZeroU32;

use anyhow::{Context, Result, anyhow};
use ferronnx_infer::session::Options;
use ferronnx_infer::triton::{self, Settings, TritonError, Written};
use ferronnx_infer::{Device, escape};

use crate::args::TritonRepoArgs;
use crate::exit::Done;
use crate::messages;

/// Writes the repository and prints the folder of each model.
pub fn run(args: &TritonRepoArgs) -> Result<Done> {
    let session = Options::default().device(Device::Cpu);
    let session = match &args.ort_lib {
        Some(library) => session.runtime(library),
        None => session,
    };
    let settings = Settings { max_batch: args.max_batch, force: args.force, session };
    let written = triton::write(&args.models, &args.out, &settings).map_err(words)?;
    for Written { folder, versions, notes } in &written {
        let numbers: Vec<_> = versions.iter().map(NonZeroU32::to_string).collect();
        let word = if versions.len() == 1 { "version" } else { "versions" };
        let folder = escape::path(folder);
        writeln!(io::stdout(), "{folder}: {word} {}", numbers.join(", ")).context("standard output")?;
        for note in notes {
            messages::line("note", format_args!("{folder}: {note}"));
        }
    }
    Ok(Done::All)
}

/// Words an error of the library, followed by the flag that helps.
fn words(error: TritonError) -> anyhow::Error {
    match error {
        TritonError::Model(error) => anyhow!(messages::words(&error)),
        TritonError::Name(_) => anyhow!("{error}: NAME=MODEL gives it another name"),
        TritonError::Version { .. } => anyhow!("{error}: NAME:2=MODEL gives one"),
        TritonError::NotOurs(_) => anyhow!("{error}: choose another --out, or --force to replace it"),
        TritonError::Lost { .. } => {
            anyhow!("{error}: name all versions of the model, or --force to replace the folder")
        }
        other => other.into(),
    }
}
