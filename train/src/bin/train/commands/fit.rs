//! `train fit`: trains a network in a run folder, or resumes a run.

mod dry_run;
pub mod settings;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ferronnx_models::Module;
use ferronnx_models::networks::{Architecture, Classifier};
use ferronnx_train::data::folder::ImageFolder;
use ferronnx_train::device::{CudaLibrary, DeviceRequest};
use ferronnx_train::interrupt::Interrupt;
use ferronnx_train::run::{Outcome, Run, RunFolder};
use ferronnx_train::task::Task;

use super::architecture;
use crate::Interrupted;
use crate::args::{FitArgs, SetupArgs};
use crate::display::{self, Terminal};
use crate::fetch;
use crate::mlflow::{Status, Target, Tracker};

/// Runs the command.
pub fn run(args: &FitArgs) -> Result<()> {
    let mlflow = Target::find(args.mlflow.as_deref(), args.mlflow_experiment.as_deref())?;
    match &args.resume {
        Some(path) => resume(args, path, mlflow),
        None if args.dry_run => look(args),
        None => begin(args, mlflow),
    }
}

/// Says what is in the data set; libtorch is not asked for a device, and nothing is written or downloaded but images.
fn look(args: &FitArgs) -> Result<()> {
    let setup = &args.setup;
    let (recipe, notes) = settings::recipe_with_notes(setup)?;
    dry_run::check_pretrained(setup)?;
    let mut data = scan(setup, fetch::data(args.data.as_deref().context("--data is missing")?)?)?;
    data.notes.extend(notes);
    // What cannot be decoded is one of the findings.
    let (mut config, network) = settings::config(setup, &data, None, recipe, DeviceRequest::Cpu, true)?;
    config.skip_bad = setup.skip_bad;
    dry_run::run(args, data, &config, &network)
}

/// Lists the images of a data set.
pub fn scan(setup: &SetupArgs, data: PathBuf) -> Result<ImageFolder> {
    let task = if setup.multi_label { Task::MultiLabel } else { Task::SingleLabel };
    data.metadata().with_context(|| format!("cannot read --data {}", data.display()))?;
    Ok(ImageFolder::scan_for(task, data)?)
}

fn begin(args: &FitArgs, mlflow: Option<Target>) -> Result<()> {
    let setup = &args.setup;
    let device = find_device(setup.device.unwrap_or_default())?;
    let mut recipe = settings::recipe(setup)?;
    if let Some(rate) = args.learning_rate {
        recipe = recipe.with_learning_rate(rate);
    }
    args.out.as_deref().map_or(Ok(()), RunFolder::check_free)?;
    // Before anything listens for Ctrl-C: a download ends at once, and continues the next time.
    let data = fetch::data(args.data.as_deref().context("--data is missing")?)?;
    let pretrained = settings::pretrained(&setup.pretrained, setup.network.network)?;
    let interrupt = listen()?;
    let data = scan(setup, data)?;
    display::data(&data);
    settings::check_amp(setup.amp, device)?;
    let (mut config, network) = settings::config(setup, &data, pretrained, recipe, device, setup.skip_bad)?;
    config.sync_bn = args.sync_bn;
    dry_run::glance(&data, &config);
    let out = args.out.clone().unwrap_or_else(|| settings::default_out(&config));
    train(Run::create(&out, data, config, network)?, &out, interrupt, mlflow)
}

fn resume(args: &FitArgs, path: &Path, mlflow: Option<Target>) -> Result<()> {
    let (folder, mut config) = RunFolder::open(path)?;
    if folder.result()?.is_some() {
        match Tracker::send_rest(mlflow, &folder, &config) {
            None => say!("{} has ended already: nothing to do", path.display()),
            Some(true) => say!("{} has ended already: the MLflow server has all of it now", path.display()),
            Some(false) => say!("{} has ended already", path.display()),
        }
        say!("next: train export {}", path.display());
        return Ok(());
    }
    config.device = find_device(args.setup.device.unwrap_or(config.device))?;
    config.skip_bad |= args.setup.skip_bad;
    config.graphs &= !args.setup.no_graphs;
    settings::check_amp(config.amp, config.device)?;
    let interrupt = listen()?;
    let network = Classifier::new(&architecture(&config, path)?)?;
    train(Run::resume(folder, config, network)?, path, interrupt, mlflow)
}

fn train(mut run: Run<Classifier>, out: &Path, interrupt: Interrupt, mlflow: Option<Target>) -> Result<()> {
    let named: Option<Architecture> = serde_json::from_value(run.config().architecture.clone()).ok();
    let named = named.map(|named| named.to_string()).unwrap_or_default();
    let terminal = Terminal::new(out, named, run.network().roles().checkpoint_prefix());
    let mut tracker = Tracker::new(mlflow);
    let outcome = run.train(&mut (interrupt, (terminal, &mut tracker)));
    tracker.close(match &outcome {
        Ok(Outcome::Finished(_)) => Status::Finished,
        Ok(Outcome::Interrupted { .. }) => Status::Killed,
        Err(_) => Status::Failed,
    });
    match outcome? {
        Outcome::Finished(_) => say!("next: train export {}", out.display()),
        Outcome::Interrupted { epoch } => {
            if let Some(epoch) = epoch {
                say!("interrupted in epoch {epoch}, everything is saved in {}", out.display());
                say!("next: train fit --resume {}", out.display());
            }
            return Err(Interrupted.into());
        }
    }
    Ok(())
}

/// Listens for Ctrl-C.
pub fn listen() -> Result<Interrupt> {
    Ok(Interrupt::listen(|| eprintln!("\nending after this step; press Ctrl-C again to end at once"))?)
}

/// Resolves a device. Call it before anything else of libtorch, which looks for CUDA once.
pub fn find_device(request: DeviceRequest) -> Result<DeviceRequest> {
    let cuda = CudaLibrary::open(request);
    let device = cuda.resolve(request).with_context(|| format!("--device {request}"))?;
    if let Some(warning) = cuda.fell_back(request) {
        display::print_error(format_args!("warning: {warning}"));
    }
    Ok(device.into())
}
