//! `infer classify --check`: counts the results of a job.

use std::io::{self, Write};

use anyhow::{Context, Result, bail};
use ferronnx_infer::bulk::{Names, Report, check};
use ferronnx_infer::error::first_of;
use ferronnx_infer::places::{Options, Place};
use ferronnx_report::text;

use super::bulk::with_advice;
use super::places;
use crate::args::{ClassifyArgs, Format};
use crate::exit::Done;
use crate::messages;

/// Number of names in the text.
const SHOWN: usize = 10;

/// Advice for an output that is not complete.
const WAY_OUT: &str = "\
    to complete it, start the jobs again; remove a part first whose rows are damaged, double or missing";

/// Checks the results in `out`, and prints what it finds.
pub(super) fn run(args: &ClassifyArgs, out: &Place) -> Result<Done> {
    let is_json = match args.format {
        None | Some(Format::Table) => false,
        Some(Format::Json | Format::Jsonl) => true,
        Some(Format::Csv | Format::Parquet) => bail!("--format: --check prints a table or json"),
    };
    let shard = args.bulk.shard.find()?;
    let report = check(out, &places(&args.paths)?, shard, &Options::default()).map_err(with_advice)?;
    let text = if is_json { serde_json::to_string_pretty(&report)? } else { lines(&report) };
    writeln!(io::stdout(), "{text}").context("standard output")?;
    if !report.complete {
        messages::note(WAY_OUT);
    }
    Ok(match report.complete && report.failures == 0 {
        true => Done::All,
        false => Done::Some,
    })
}

fn lines(report: &Report) -> String {
    let names = |names: &Names| match names.count {
        0 => String::new(),
        count => format!("{count}: {}", shown(names)),
    };
    let failures = match report.failures {
        0 => String::new(),
        1 => ", 1 of them a failure".into(),
        count => format!(", {count} of them failures"),
    };
    let unlisted = match &report.unlisted_shards[..] {
        [] => String::new(),
        shards => format!("shards {}: not all inputs are known", first_of(SHOWN, shards.iter())),
    };
    let mut fields = vec![
        ("inputs", report.inputs.to_string()),
        ("results", format!("{} in {}{failures}", report.results, text::counted(report.parts, "part"))),
        ("missing", names(&report.missing)),
        ("double", names(&report.double)),
        ("changed", names(&report.changed)),
        ("damaged", names(&report.damaged)),
        ("unlisted", unlisted),
        ("no inputs", names(&report.unexpected)),
        ("complete", if report.complete { "yes" } else { "no" }.into()),
    ];
    fields.retain(|(_, value)| !value.is_empty());
    text::fields(&fields)
}

fn shown(names: &Names) -> String {
    let first: Vec<_> =
        names.names.iter().take(SHOWN).map(|name| ferronnx_infer::escape::text(name).into_owned()).collect();
    match names.count - first.len() as u64 {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
