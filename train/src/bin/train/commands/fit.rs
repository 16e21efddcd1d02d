//! `train fit`: from images to a run folder, and on from where it stopped.

mod session;
mod settings;
mod show;
mod start;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use ferronnx_infer::preprocess::Preprocessor;
use ferronnx_models::resnet::ResNet18;
use ferronnx_models::shapes;
use ferronnx_train::data::folder::ImageFolder;
use ferronnx_train::device::{CudaLibrary, DeviceRequest};
use ferronnx_train::params::Params;
use ferronnx_train::run::{RunConfig, RunFolder};
use tch::Device;

use self::session::{Session, Sets};
use self::start::Start;
use crate::args::FitArgs;
use crate::fetch;
use crate::interrupt::Interrupt;

/// Runs the command.
pub fn run(args: &FitArgs) -> Result<()> {
    match &args.resume {
        Some(path) => resume(args, path),
        None => begin(args),
    }
}

fn begin(args: &FitArgs) -> Result<()> {
    let device = find_device(args.device.unwrap_or(DeviceRequest::Auto))?;
    let recipe = settings::recipe(args)?;
    args.out.as_deref().map_or(Ok(()), RunFolder::check_free)?;
    // Before anything listens for Ctrl-C: a download ends at once, and goes on from there the next time.
    let data = fetch::data(args.data.as_deref().context("--data is missing")?)?;
    let pretrained = settings::pretrained(&args.pretrained)?;
    let interrupt = Interrupt::listen()?;
    let data = data.canonicalize().with_context(|| format!("cannot read --data {}", data.display()))?;
    let folder = ImageFolder::scan(&data)?;
    let config = settings::config(args, data, pretrained, recipe, &folder, device)?;
    let out = args.out.clone().unwrap_or_else(|| settings::default_out(&config));
    RunFolder::check_free(&out)?;
    let (network, params) = network(&config, device)?;
    let start = Start::fresh(&config, &params)?;
    let preprocessor = Preprocessor::new(&config.preprocessing);
    let sets = Sets::load(folder, &config, &preprocessor, device, &interrupt)?;
    let run = RunFolder::create(&out, &config)?;
    let session = Session { config: &config, network: &network, params: &params, sets: &sets, run: &run };
    session.announce(&out);
    session.train(&preprocessor, device, start, &interrupt)?;
    say!("next: train export {}", out.display());
    Ok(())
}

fn resume(args: &FitArgs, path: &Path) -> Result<()> {
    let (run, mut config) = RunFolder::open(path)?;
    if run.result()?.is_some() {
        say!("{} has ended already: nothing to do", path.display());
        say!("next: train export {}", path.display());
        return Ok(());
    }
    let recorded: DeviceRequest = config.device.parse().map_err(anyhow::Error::msg)?;
    let device = find_device(args.device.unwrap_or(recorded))?;
    config.skip_bad |= args.skip_bad;
    config.device = ferronnx_train::device::name(device);
    settings::check_amp(config.amp, device)?;
    let interrupt = Interrupt::listen()?;
    let folder = ImageFolder::scan(&config.data)?;
    ensure!(
        folder.digest() == config.data_digest,
        "the images in {} are not those that {} was begun with: bring them back, or start a new run",
        config.data.display(),
        path.display()
    );
    let (network, params) = network(&config, device)?;
    let start = Start::again(&run, &config, &params)?;
    let preprocessor = Preprocessor::new(&config.preprocessing);
    let sets = Sets::load(folder, &config, &preprocessor, device, &interrupt)?;
    let session = Session { config: &config, network: &network, params: &params, sets: &sets, run: &run };
    session.announce(path);
    session.train(&preprocessor, device, start, &interrupt)?;
    say!("next: train export {}", path.display());
    Ok(())
}

/// To be called before anything else of libtorch, which looks for CUDA once.
fn find_device(request: DeviceRequest) -> Result<Device> {
    let cuda = CudaLibrary::open(request);
    let device = cuda.resolve(request)?;
    if let Some(warning) = cuda.fell_back(request) {
        eprintln!("warning: {warning}");
    }
    Ok(device)
}

fn network(config: &RunConfig, device: Device) -> Result<(ResNet18, Params)> {
    let network = ResNet18::new(&config.architecture)?;
    let side = config.preprocessing.crop as usize;
    let described = shapes::describe(&network, &[1, 3, side, side])?.params;
    let params = Params::initialise(&described, config.seed, device)?;
    Ok((network, params))
}
