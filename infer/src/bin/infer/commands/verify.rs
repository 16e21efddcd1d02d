//! Command `infer verify`: checks that a model is unchanged and computes the same on this machine.

use std::io::{self, Write};

use anyhow::{Context, Result};
use ferronnx_infer::escape;
use ferronnx_infer::verify::Verification;
use ferronnx_report::text;
use serde::Serialize;

use super::model;
use crate::args::{ReportFormat, VerifyArgs};
use crate::exit::Done;
use crate::messages;

/// Verifies the model and prints every check.
pub fn run(args: &VerifyArgs) -> Result<Done> {
    let options = args.model.options();
    let (file, found) = model::load(&args.model.files, |path| {
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
    let Verification { agreement, exported_agreement: exported, tolerance, levels, .. } = found;
    let same = |holds: bool| if holds { "as exported" } else { "CHANGED" };
    let weights = match found.changed_tensors.len() {
        0 => same(true).into(),
        changed => format!("{changed} CHANGED"),
    };
    let compared = |images: usize, relative: f64, agreeing: usize, ties: usize| {
        let ties = if ties == 0 { String::new() } else { format!(", {ties} ties") };
        format!("{relative:.1e} of the largest logit at most, top-1 {agreeing} of {images}{ties}")
    };
    let lines = [
        ("model", file.into()),
        ("runs on", format!("{}, {}", found.runtime, found.provider)),
        ("exported on", found.exported_with.clone()),
        ("weights", format!("{} tensors {weights}, sha256 {}", found.tensors, &found.sha256[..16])),
        ("labels", same(found.labels).into()),
        ("preprocessing", same(found.preprocessing).into()),
        (
            "images",
            format!("{} decoded and resized, {} of 255 apart at most", levels.len(), {
                levels.iter().max().copied().unwrap_or(0)
            }),
        ),
        (
            "logits",
            format!(
                "{} (allowed {tolerance:.0e})",
                compared(
                    agreement.images,
                    agreement.max_relative_difference,
                    agreement.agreeing,
                    agreement.ties
                )
            ),
        ),
        (
            "when exported",
            compared(exported.images, exported.max_relative_difference, exported.agreeing, exported.ties),
        ),
        ("certificate", if found.holds() { "holds" } else { "DOES NOT HOLD" }.into()),
    ];
    text::fields(&lines)
}
