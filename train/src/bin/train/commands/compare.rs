//! `train compare`: runs side by side.

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use ferronnx_models::files::write_atomically;
use ferronnx_train::compare::{self, Comparison, RunSummary, Status};
use indicatif::HumanCount;

use crate::args::{CompareArgs, CompareFormat};
use crate::display;

/// Largest number of differing settings in the table.
const DIFFERENCES: usize = 40;

/// Runs the command.
pub fn run(args: &CompareArgs) -> Result<()> {
    // A pattern such as runs/* names files too.
    let (files, folders): (Vec<&PathBuf>, Vec<_>) = args.runs.iter().partition(|path| path.is_file());
    ensure!(!folders.is_empty(), "no run folder is given");
    for file in files {
        display::print_error(format_args!("left out: {} is a file, not a run folder", file.display()));
    }
    let mut seen = HashSet::new();
    let (folders, repeated): (Vec<&PathBuf>, Vec<_>) = folders
        .into_iter()
        .partition(|path| seen.insert(path.canonicalize().unwrap_or_else(|_| (*path).clone())));
    for path in repeated {
        display::print_error(format_args!("left out: {} is there already", path.display()));
    }
    let runs = folders.into_iter().map(RunSummary::read).collect::<Result<Vec<_>, _>>()?;
    let comparison = Comparison::new(runs);
    if let Some(report) = &args.report {
        let page = compare::page(&comparison);
        write_atomically(report, |out| out.write_all(page.as_bytes()))
            .with_context(|| format!("cannot write --report {}", report.display()))?;
    }
    match args.format {
        CompareFormat::Table => table(&comparison),
        CompareFormat::Json => say!("{}", serde_json::to_string_pretty(&comparison)?),
        CompareFormat::Csv => say!("{}", csv(&comparison)?.trim_end()),
        CompareFormat::Markdown => markdown(&comparison),
    }
    if args.format != CompareFormat::Table {
        comparison
            .warnings
            .iter()
            .for_each(|warning| display::print_error(format_args!("warning: {warning}")));
    }
    Ok(())
}

/// Value that all runs share, or `differs`.
fn shared<'r>(runs: &'r [RunSummary], value: fn(&'r RunSummary) -> Option<&'r str>) -> &'r str {
    let mut values: Vec<&str> = runs.iter().filter_map(value).collect();
    values.dedup();
    if let [value] = values[..] { value } else { "differs" }
}

fn table(comparison: &Comparison) {
    let Comparison { runs, differences, warnings } = comparison;
    say!("data        {}", shared(runs, |run| run.data.as_deref()));
    say!("network     {}", shared(runs, |run| run.network.as_deref()));
    say!("recipe      {}", shared(runs, |run| run.recipe.as_deref()));
    let header = ["run", "epochs", "best", "validation", "test (95 %)", "macro F1", "time", "parameters"];
    let row = |run: &RunSummary| {
        [
            run.name.clone(),
            epochs(run),
            run.best_epoch.map(|best| best.to_string()).unwrap_or_default(),
            run.validation_map.map(map).or(run.validation_accuracy.map(percent)).unwrap_or_default(),
            test(run),
            run.macro_f1.map(|f1| format!("{f1:.3}")).unwrap_or_default(),
            time(run.seconds),
            run.parameters.map(|count| HumanCount(count).to_string()).unwrap_or_default(),
        ]
    };
    say!("\n{}", display::table(header, runs.iter().map(row)));
    for run in runs {
        match (run.status, &run.problem) {
            (Status::Broken, Some(problem)) => say!("\n{} is broken: {problem}", run.name),
            (Status::Unfinished, _) => say!("\n{} is unfinished: under way, or stopped", run.name),
            _ => {}
        }
    }
    if runs.len() > 1 && differences.is_empty() {
        say!("\nthe configurations are the same");
    } else if runs.len() > 1 {
        let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
        say!("\nsettings that differ, as {}", names.join(" | "));
    }
    for difference in differences.iter().take(DIFFERENCES) {
        let values: Vec<&str> =
            difference.values.iter().map(|value| value.as_deref().unwrap_or("–")).collect();
        display::list(&difference.setting, &values.join(" | "));
    }
    match differences.len().saturating_sub(DIFFERENCES) {
        0 => {}
        more => say!("  and {more} more: --format csv and --report have all"),
    }
    warnings.iter().for_each(|warning| say!("\nwarning: {warning}"));
}

fn epochs(run: &RunSummary) -> String {
    match (run.status, run.planned_epochs) {
        (Status::Broken, _) => "broken".into(),
        (_, Some(planned)) => format!("{}/{planned}", run.epochs),
        (_, None) => run.epochs.to_string(),
    }
}

/// Formats the test accuracy with its interval, `57.3 % (55.1–59.4)`, or the mean average precision.
fn test(run: &RunSummary) -> String {
    if let Some(precision) = run.test_map {
        return map(precision);
    }
    match (run.test_accuracy, run.test_interval) {
        (Some(accuracy), Some(interval)) => {
            format!("{} ({:.1}–{:.1})", percent(accuracy), 100.0 * interval.low, 100.0 * interval.high)
        }
        (Some(accuracy), None) => percent(accuracy),
        (None, _) => String::new(),
    }
}

fn map(share: f64) -> String {
    format!("mAP {}", percent(share))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn time(seconds: f64) -> String {
    match seconds {
        ..60.0 => format!("{seconds:.0} s"),
        ..3600.0 => format!("{:.1} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}

/// Names and values of all columns, for formats that programs read; numbers are not rounded.
fn columns(comparison: &Comparison) -> (Vec<String>, Vec<Vec<String>>) {
    let names = [
        "run",
        "status",
        "data",
        "network",
        "recipe",
        "epochs",
        "planned_epochs",
        "best_epoch",
        "validation_accuracy",
        "test_accuracy",
        "test_low",
        "test_high",
        "test_images",
        "macro_f1",
        "seconds",
        "parameters",
        "task",
        "validation_map",
        "test_map",
    ];
    fn text<T: ToString>(value: Option<T>) -> String {
        value.map(|value| value.to_string()).unwrap_or_default()
    }
    let row = |(index, run): (usize, &RunSummary)| {
        let status = match run.status {
            Status::Finished => "finished",
            Status::Unfinished => "unfinished",
            Status::Broken => "broken",
        };
        let own = [
            run.name.clone(),
            status.into(),
            text(run.data.as_deref()),
            text(run.network.as_deref()),
            text(run.recipe.as_deref()),
            run.epochs.to_string(),
            text(run.planned_epochs),
            text(run.best_epoch),
            text(run.validation_accuracy),
            text(run.test_accuracy),
            text(run.test_interval.map(|interval| interval.low)),
            text(run.test_interval.map(|interval| interval.high)),
            text(run.test_images),
            text(run.macro_f1),
            run.seconds.to_string(),
            text(run.parameters),
            text(run.task.map(|task| if task.is_multi_label() { "multi-label" } else { "single-label" })),
            text(run.validation_map),
            text(run.test_map),
        ];
        let settings =
            comparison.differences.iter().map(|difference| text(difference.values[index].as_deref()));
        own.into_iter().chain(settings).collect()
    };
    let settings = comparison.differences.iter().map(|difference| format!("config.{}", difference.setting));
    let names = names.into_iter().map(Into::into).chain(settings).collect();
    (names, comparison.runs.iter().enumerate().map(row).collect())
}

fn csv(comparison: &Comparison) -> Result<String> {
    let (names, rows) = columns(comparison);
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(names)?;
    rows.into_iter().try_for_each(|row| writer.write_record(row))?;
    Ok(String::from_utf8(writer.into_inner()?)?)
}

fn markdown(comparison: &Comparison) {
    let line = |cells: &[String]| {
        let escaped: Vec<_> = cells.iter().map(|cell| cell.replace('|', r"\|").replace('\n', " ")).collect();
        say!("| {} |", escaped.join(" | "));
    };
    let (names, rows) = columns(comparison);
    line(&names);
    line(&vec!["---".to_owned(); names.len()]);
    rows.iter().for_each(|row| line(row));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        assert_eq!([5.4, 90.0, 7300.0].map(time), ["5 s", "1.5 min", "2.0 h"]);
    }
}
