//! `train find-lr`: the training loss at rising learning rates, and a suggestion.

use std::env;
use std::ops::ControlFlow;

use anyhow::{Context, Result, ensure};
use ferronnx_models::files::write_atomically;
use ferronnx_train::lr_finder::{self, LossCurve, Point};
use ferronnx_train::recipe::Phase;
use ferronnx_train::run::{Observer, Run, RunConfig, Split, Step};
use ferronnx_train::trainer::Sweep;
use indicatif::ProgressBar;
use serde_json::json;

use super::fit::{find_device, listen, scan, settings};
use crate::Interrupted;
use crate::args::{FindLrArgs, SummaryFormat};
use crate::{display, fetch, ranks};

/// Rows of the table, at most.
const ROWS: usize = 16;

/// Runs the command.
pub fn run(args: &FindLrArgs) -> Result<()> {
    ranks::refuse_several("find-lr")?;
    ensure!(args.from < args.to, "--from {:e} must be below --to {:e}", args.from, args.to);
    let sweep = Sweep { from: args.from, to: args.to, steps: args.steps as usize };
    let setup = &args.setup;
    let device = find_device(setup.device.unwrap_or_default())?;
    let (recipe, notes) = settings::recipe_with_notes(setup)?;
    let data = fetch::data(&args.data)?;
    let pretrained = settings::pretrained(&setup.pretrained, setup.network.network)?;
    let data = scan(setup, data)?;
    let interrupt = listen(None)?;
    if args.format == SummaryFormat::Table {
        notes.iter().for_each(|note| say!("note: {note}"));
        display::data(&data);
    }
    settings::check_amp(setup.amp, device)?;
    let (config, network) = settings::config(setup, &data, pretrained, recipe, device, setup.skip_bad)?;
    // Nothing is written there.
    let out = settings::default_out(&config);
    let run = Run::create(&out, data, config, network)?;
    let config = run.config().clone();
    let bars = Bars { reading: ProgressBar::hidden(), steps: None, count: sweep.steps };
    let curve = run.find_learning_rate(sweep, &mut (interrupt, bars))?.ok_or(Interrupted)?;
    let next = curve.suggestion().ok().map(|found| next(found.learning_rate, env::args_os().skip(2)));
    let page = lr_finder::page(&curve, &subtitle(&config), next.as_deref());
    write_atomically(&args.report, |out| out.write_all(page.as_bytes()))
        .with_context(|| format!("cannot write --report {}", args.report.display()))?;
    match args.format {
        SummaryFormat::Json => say!("{}", serde_json::to_string_pretty(&json(&curve, &config, next))?),
        SummaryFormat::Table => print(&curve, &config, next.as_deref(), args),
    }
    Ok(())
}

/// Describes what was trained, on one line.
fn subtitle(config: &RunConfig) -> String {
    let RunConfig { recipe, preprocessing, device, .. } = config;
    let phase = recipe.phases.first().map_or("", |phase| &phase.name);
    format!(
        "{} · recipe {}, phase {phase:?} · batch {} · {} · on {device}",
        config.dataset(),
        recipe.name,
        recipe.batch_size,
        preprocessing.crop,
    )
}

fn print(curve: &LossCurve, config: &RunConfig, next: Option<&str>, args: &FindLrArgs) {
    say!("learning rates of {}", subtitle(config));
    say!("\n{}\n", table(curve));
    if curve.diverged() {
        say!("the loss exploded after {} of {} steps", curve.points().len(), args.steps);
    }
    match curve.suggestion() {
        Ok(found) => {
            say!("suggestion   {} (steepest descent of the smoothed loss)", rate(found.learning_rate));
            say!("minimum / 10 {}", rate(found.minimum_tenth));
            let phase = config.recipe.phases.first();
            let groups = phase.filter(|phase| phase.rates().len() > 1);
            if let Some(phase) = groups {
                say!("groups       {}", groups_at(phase, found.learning_rate));
            }
            if found.still_falling {
                say!("the loss still falls at the last rate: raise --to above {:e}", args.to);
            }
        }
        Err(reason) => say!("no suggestion: {reason}"),
    }
    say!("plot         {}", args.report.display());
    if let Some(next) = next {
        say!("next: {next}");
    }
}

/// Learning rates of the groups of a phase, when its `learning_rate` is `chosen`.
fn groups_at(phase: &Phase, chosen: f64) -> String {
    let factor = chosen / phase.learning_rate;
    let names = phase.group_names().into_iter().zip(phase.rates());
    names.map(|(name, own)| format!("{name} {}", rate(own * factor))).collect::<Vec<_>>().join(", ")
}

/// Table of some of the points, evenly spread, with the suggestion and the minimum among them.
fn table(curve: &LossCurve) -> String {
    let points = curve.points();
    let found = curve.suggestion().ok();
    let mark = |point: &Point| match found {
        Some(found) if point.learning_rate == found.steepest => "steepest",
        Some(found) if point.learning_rate == found.minimum => "minimum",
        _ => "",
    };
    let every = points.len().div_ceil(ROWS).max(1);
    let shown = points.iter().enumerate();
    let shown = shown.filter(|(index, point)| index % every == 0 || !mark(point).is_empty());
    let rows = shown.map(|(_, point)| {
        let loss = |loss: f64| format!("{loss:.4}");
        [rate(point.learning_rate), loss(point.loss), loss(point.smoothed), mark(point).into()]
    });
    display::table(["learning rate", "loss", "smoothed", ""], rows)
}

/// Formats a learning rate with two digits after the point.
fn rate(rate: f64) -> String {
    format!("{rate:.2e}")
}

fn json(curve: &LossCurve, config: &RunConfig, next: Option<String>) -> serde_json::Value {
    let suggestion = curve.suggestion();
    json!({
        "recipe": config.recipe.name,
        "phase": config.recipe.phases.first().map(|phase| &phase.name),
        "batch_size": config.recipe.batch_size,
        "suggestion": suggestion.as_ref().ok(),
        "no_suggestion": suggestion.err().map(|reason| reason.to_string()),
        "diverged": curve.diverged(),
        "points": curve.points(),
        "next": next,
    })
}

/// Flags that only `train find-lr` has; all of them take a value.
const OWN: [&str; 5] = ["--from", "--to", "--steps", "--report", "--format"];

/// Makes the command that trains with the same arguments at `learning_rate`.
fn next(learning_rate: f64, arguments: impl Iterator<Item = std::ffi::OsString>) -> String {
    let mut command = vec!["train fit".to_owned()];
    let mut arguments = arguments.map(|argument| argument.to_string_lossy().into_owned());
    while let Some(argument) = arguments.next() {
        let (flag, value) =
            argument.split_once('=').map_or((argument.as_str(), None), |(flag, value)| (flag, Some(value)));
        match OWN.contains(&flag) {
            true if value.is_none() => drop(arguments.next()),
            true => {}
            false => command.push(quoted(&argument)),
        }
    }
    command.push(format!("--learning-rate {}", rate(learning_rate)));
    command.join(" ")
}

/// Quotes an argument for a shell where it needs it.
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=,+@%".contains(c);
    match !argument.is_empty() && argument.chars().all(plain) {
        true => argument.into(),
        false => format!("'{}'", argument.replace('\'', r"'\''")),
    }
}

/// Progress bars of reading and of the steps.
struct Bars {
    reading: ProgressBar,
    steps: Option<ProgressBar>,
    count: usize,
}

impl Observer for Bars {
    fn reading(&mut self, split: Split, images: usize) -> Box<dyn Fn() + Send + Sync> {
        self.reading = display::bar(&format!("reading {split}"), images);
        let bar = self.reading.clone();
        Box::new(move || bar.inc(1))
    }

    fn read(&mut self, split: Split, skipped: usize) -> ControlFlow<()> {
        self.reading.finish_and_clear();
        if skipped > 0 {
            display::print_error(format_args!("{skipped} {split} images left out: they cannot be decoded"));
        }
        ControlFlow::Continue(())
    }

    fn step(&mut self, step: &Step) -> ControlFlow<()> {
        let bar = self.steps.get_or_insert_with(|| display::bar("steps", self.count));
        bar.inc(1);
        bar.set_message(format!("loss {:.3}", step.progress.loss));
        ControlFlow::Continue(())
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.steps.iter().for_each(ProgressBar::finish_and_clear);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_command_has_the_flags_of_training_only() {
        let arguments = [
            "--data",
            "my photos",
            "--steps",
            "50",
            "--format=json",
            "--amp=fp16",
            "--to",
            "1",
            "--seed",
            "7",
        ];
        let next = next(1.234e-3, arguments.into_iter().map(Into::into));
        assert_eq!(next, "train fit --data 'my photos' --amp=fp16 --seed 7 --learning-rate 1.23e-3");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
