//! Command `infer verify`: checks that a model is unchanged and computes the same on this machine.

use std::io::{self, Write};

use anyhow::{Context, Result};
use ferronnx_infer::escape;
use ferronnx_infer::verify::Verification;
use ferronnx_models::parity::Parity;
use ferronnx_models::tolerance::Arithmetic;
use ferronnx_report::text;
use serde::Serialize;

use super::model;
use crate::args::{ReportFormat, VerifyArgs};
use crate::exit::Done;
use crate::messages;

/// Verifies the model and prints every check.
pub fn run(args: &VerifyArgs) -> Result<Done> {
    let (files, options) = (args.model.files.or(args.file.as_deref()), args.model.options());
    let (file, found) = model::load(&files, |path| {
        Ok((path.display().to_string(), Verification::of_file(path, &options, args.tolerance)?))
    })?;
    if let Some(warning) = &found.warning {
        messages::line("warning", warning);
    }
    let failures = found.failures();
    let text = match args.format {
        ReportFormat::Text => escape::text(&lines(&file, &found)).into_owned(),
        ReportFormat::Json => {
            let report =
                Report { model: &file, holds: failures.is_empty(), failures: &failures, found: &found };
            serde_json::to_string_pretty(&report)?
        }
    };
    writeln!(io::stdout(), "{text}").context("standard output")?;
    if failures.is_empty() {
        return Ok(Done::All);
    }
    messages::line("error", format_args!("{file}: {}", failures.join("; ")));
    Ok(Done::Some)
}

#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    holds: bool,
    failures: &'a [String],
    #[serde(flatten)]
    found: &'a Verification,
}

/// Text with a line for each check.
fn lines(file: &str, found: &Verification) -> String {
    let same = |holds: bool| if holds { "as exported" } else { "CHANGED" };
    let weights = match found.changed_tensors.len() {
        0 => same(true).into(),
        changed => format!("{changed} CHANGED"),
    };
    let levels = found.levels.iter().max().copied().unwrap_or(0);
    let images = format!("{} decoded and resized, {levels} of 255 apart at most", found.levels.len());
    let allowed = |max: f64, rms: f64, reason: &str| format!("{max:.0e} at most, {rms:.0e} rms: {reason}");
    let mut lines = vec![
        ("model", file.into()),
        ("runs on", format!("{}, {}, {}", found.runtime, found.provider, found.arithmetic)),
        ("exported on", format!("{}, {}", found.exported_with, found.exported_compared.arithmetic)),
        ("weights", format!("{} tensors {weights}, sha256 {}", found.tensors, &found.sha256[..16])),
        ("labels", same(found.labels).into()),
        ("preprocessing", same(found.preprocessing).into()),
        ("images", images),
        ("logits", differences(&found.agreement)),
        ("allowed", allowed(found.tolerance, found.rms_tolerance, &found.tolerance_reason)),
    ];
    if let Some(cpu) = &found.cpu {
        let reason = format!("the file in {}", Arithmetic::Full);
        lines.push(("on the CPU", differences(&cpu.agreement)));
        lines.push(("allowed there", allowed(cpu.tolerance, cpu.rms_tolerance, &reason)));
        lines.push(("from the CPU", differences(&cpu.device_difference)));
    }
    lines.push(("when exported", differences(&found.exported_agreement)));
    lines.push(("certificate", if found.holds() { "holds" } else { "DOES NOT HOLD" }.into()));
    text::fields(&lines)
}

/// Words for the differences of a comparison: `3.5e-7 of the largest logit at most, 1.3e-7 rms, top-1 4 of 4`.
fn differences(found: &Parity) -> String {
    let Parity { images, agreeing, ties, max_relative_difference, rms_relative_difference, .. } = found;
    // Certificates of earlier versions have no mean.
    let rms = match *rms_relative_difference {
        0.0 => String::new(),
        rms => format!(", {rms:.1e} rms"),
    };
    let ties = if *ties == 0 { String::new() } else { format!(", {ties} ties") };
    format!(
        "{max_relative_difference:.1e} of the largest logit at most{rms}, top-1 {agreeing} of {images}{ties}"
    )
}
