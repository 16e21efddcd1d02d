//! `train fit`: trains a network in a run folder, or resumes a run.

mod dry_run;
pub mod settings;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ferronnx_models::Module;
use ferronnx_models::networks::{Architecture, Classifier};
use ferronnx_train::data::Source;
use ferronnx_train::data::folder::ImageFolder;
use ferronnx_train::device::{CudaLibrary, DeviceError, DeviceRequest};
use ferronnx_train::interrupt::Interrupt;
use ferronnx_train::run::{Outcome, Run, RunFolder};
use ferronnx_train::task::Task;
use tch::Device;

use super::architecture;
use crate::Interrupted;
use crate::args::{FitArgs, SetupArgs};
use crate::display::{self, Terminal};
use crate::fetch;
use crate::mlflow::{Status, Target, Tracker};
use crate::ranks::Ranks;

/// Longest time between the terminal's Ctrl-C and the same one from the launcher.
const LAUNCHER_DELAY: Duration = Duration::from_secs(5);

/// Runs the command, as one of several ranks if there are some.
pub fn run(args: &FitArgs, ranks: Option<&Ranks>) -> Result<()> {
    let first = ranks.is_none_or(Ranks::is_first);
    let mlflow = match first {
        true => Target::find(args.mlflow.as_deref(), args.mlflow_experiment.as_deref())?,
        false => None,
    };
    match (&args.resume, ranks.map_or(Ok(None), |ranks| restarted(args, ranks))?) {
        (Some(path), _) => resume(args, path, mlflow, ranks),
        (None, Some(path)) => resume(args, &path, mlflow, ranks),
        (None, None) if args.dry_run => look(args),
        (None, None) => begin(args, mlflow, ranks),
    }
}

/// Folder of the run that a launcher started again: it is gone on with.
fn restarted(args: &FitArgs, ranks: &Ranks) -> Result<Option<PathBuf>> {
    if !ranks.restarted || args.resume.is_some() {
        return Ok(None);
    }
    let Some(out) = &args.out else {
        say!("note: started again from the beginning; with --out DIR a restart resumes the run");
        return Ok(None);
    };
    if !ranks.any_of_first(RunFolder::open(out).is_ok())? {
        return Ok(None);
    }
    say!("restarted: resuming {}", out.display());
    Ok(Some(out.clone()))
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

/// Lists the images of a data set; shards and objects are read for that.
pub fn scan(setup: &SetupArgs, data: PathBuf) -> Result<ImageFolder> {
    let task = if setup.multi_label { Task::MultiLabel } else { Task::SingleLabel };
    if !["://", "{"].iter().any(|mark| data.to_string_lossy().contains(mark)) {
        data.metadata().with_context(|| format!("cannot read --data {}", data.display()))?;
    }
    let counter = display::counter("reading names and labels");
    let scanned = ImageFolder::scan_and_tell(task, &data, &mut |images| counter.set_position(images as u64));
    counter.finish_and_clear();
    let mut folder = scanned?;
    if setup.shuffle_window.is_some() && folder.source == Source::Files {
        folder.notes.push("--shuffle-window does nothing: it is for images in shards".into());
    }
    Ok(folder)
}

fn begin(args: &FitArgs, mlflow: Option<Target>, ranks: Option<&Ranks>) -> Result<()> {
    let setup = &args.setup;
    let device = rank_device(setup.device.unwrap_or_default(), ranks)?;
    let mut recipe = settings::recipe(setup)?;
    if let Some(rate) = args.learning_rate {
        recipe = recipe.with_learning_rate(rate);
    }
    args.out.as_deref().map_or(Ok(()), RunFolder::check_free)?;
    // Before anything listens for Ctrl-C: a download ends at once, and continues the next time; reading labels, too.
    let data = fetch::data(args.data.as_deref().context("--data is missing")?)?;
    let pretrained = settings::pretrained(&setup.pretrained, setup.network.network)?;
    let data = scan(setup, data)?;
    let interrupt = listen(ranks)?;
    display::data(&data);
    settings::check_amp(setup.amp, device)?;
    let (mut config, network) = settings::config(setup, &data, pretrained, recipe, device, setup.skip_bad)?;
    config.sync_bn = args.sync_bn;
    dry_run::glance(&data, &config)?;
    let mut out = args.out.clone().unwrap_or_else(|| settings::default_out(&config));
    if let Some(ranks) = ranks {
        ranks.agree_on(&config, &data)?;
        out = ranks.path_of_first(&out)?;
    }
    train(Run::create(&out, data, config, network)?, &out, interrupt, mlflow, ranks)
}

fn resume(args: &FitArgs, path: &Path, mlflow: Option<Target>, ranks: Option<&Ranks>) -> Result<()> {
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
    config.device = rank_device(args.setup.device.unwrap_or(config.device), ranks)?;
    config.skip_bad |= args.setup.skip_bad;
    config.graphs &= !args.setup.no_graphs;
    settings::check_amp(config.amp, config.device)?;
    let interrupt = listen(ranks)?;
    let network = Classifier::new(&architecture(&config, path)?)?;
    train(Run::resume(folder, config, network)?, path, interrupt, mlflow, ranks)
}

fn train(
    mut run: Run<Classifier>,
    out: &Path,
    interrupt: Interrupt,
    mlflow: Option<Target>,
    ranks: Option<&Ranks>,
) -> Result<()> {
    if let Some(ranks) = ranks {
        run = run.distributed(Arc::clone(&ranks.group))?;
        if !ranks.is_first() {
            let outcome = run.train(&mut (interrupt, ranks.log.observer(out)))?;
            return match outcome {
                Outcome::Finished(_) => Ok(()),
                Outcome::Interrupted { .. } => Err(Interrupted.into()),
            };
        }
    }
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

/// Listens for Ctrl-C, which a launcher passes on to the ranks.
pub fn listen(ranks: Option<&Ranks>) -> Result<Interrupt> {
    let apart = if ranks.is_some() { LAUNCHER_DELAY } else { Duration::ZERO };
    let loud = ranks.is_none_or(Ranks::is_first);
    Ok(Interrupt::listen_apart(apart, move || {
        if loud {
            eprintln!("\nending after this step; press Ctrl-C again to end at once");
        }
    })?)
}

/// Resolves the device of a rank, and connects it with those of the others.
fn rank_device(request: DeviceRequest, ranks: Option<&Ranks>) -> Result<DeviceRequest> {
    let Some(Ranks { group, .. }) = ranks else { return find_device(request) };
    let local_rank = group.world().local_rank;
    let device = find(request, |cuda| cuda.resolve_rank(request, local_rank))?;
    if device == Device::Mps {
        bail!("several ranks cannot train on mps, which has nothing to connect them: use --device cpu");
    }
    group.connect_devices(device)?;
    Ok(device.into())
}

/// Resolves a device. Call it before anything else of libtorch, which looks for CUDA once.
pub fn find_device(request: DeviceRequest) -> Result<DeviceRequest> {
    Ok(find(request, |cuda| cuda.resolve(request))?.into())
}

fn find(
    request: DeviceRequest,
    resolve: impl FnOnce(&CudaLibrary) -> Result<Device, DeviceError>,
) -> Result<Device> {
    let cuda = CudaLibrary::open(request);
    let device = resolve(&cuda).with_context(|| format!("--device {request}"))?;
    if let Some(warning) = cuda.fell_back(request) {
        display::print_error(format_args!("warning: {warning}"));
    }
    Ok(device)
}
