//! Trains ResNet18 with CBAM on given batches, alone or as a rank of several, for `benches/peers/distributed.py`.
//!
//! A launcher's variables make it a rank: RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT. Prints one JSON object: the loss of
//! each step on this rank's slice, and the milliseconds of each step.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use ferronnx_models::networks::{Architecture, Classifier};
use ferronnx_models::{Module, checkpoint, shapes};
use ferronnx_train::distributed::reducer::Reducer;
use ferronnx_train::distributed::{Group, Launch, Request, World};
use ferronnx_train::eager::Eager;
use ferronnx_train::optimizer::{Optimizer, Settings};
use ferronnx_train::params::{Params, to_tensor};
use serde_json::json;
use tch::{Device, Kind, Reduction, Tensor};

/// Train ResNet18 on given batches, as a rank of several
#[derive(Parser)]
struct Args {
    /// Initial weights, with PyTorch's names
    weights: PathBuf,
    /// Batches of all ranks: `images` [steps, N, 3, 32, 32] and `labels` [steps, N] as floats
    batches: PathBuf,
    /// Threads of libtorch
    #[arg(long, default_value_t = 1)]
    threads: i32,
    /// Learning rate of Adam
    #[arg(long, default_value_t = 1e-4)]
    learning_rate: f64,
    /// Time at which gradients are added over the ranks
    #[arg(long, value_enum, default_value = "overlapped")]
    reduce: Reduce,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Reduce {
    /// While the backward pass goes on, as in training
    Overlapped,
    /// After the backward pass
    After,
    /// Never: ranks train apart
    Never,
}

fn main() -> Result<()> {
    let args = Args::parse();
    tch::set_num_threads(args.threads);
    let launch = Launch::find(Request::Auto, |name| std::env::var(name).ok())?;
    let group = launch.map(|launch| Group::join(&launch, Duration::from_secs(60))).transpose()?.map(Arc::new);
    let world = group.as_ref().map_or(World::single(), |group| group.world());
    let network = Classifier::new(&Architecture::default())?;
    let described = shapes::describe(&network, &[1, 3, 32, 32])?.params;
    let params = Params::initialise(&described, 1, Device::Cpu)?;
    params.assign_all(&checkpoint::load(&args.weights)?)?;
    let batches = checkpoint::load(&args.batches)?;
    let all = |name: &str| -> Result<Tensor> {
        let values = to_tensor(batches.get(name).with_context(|| format!("no tensor {name:?}"))?)?;
        let each = values.size()[1] / world.size as i64;
        Ok(values.narrow(1, world.rank as i64 * each, each))
    };
    let (images, labels) = (all("images")?, all("labels")?.to_kind(Kind::Int64));
    let mut optimizer = Optimizer::new(Settings::default());
    for (name, tensor) in params.trainable() {
        optimizer.add(name, &tensor.set_requires_grad(true), 0)?;
    }
    let learning = optimizer.parameters();
    let reducer = group.as_ref().map(|group| Reducer::new(Arc::clone(group), &learning)).transpose()?;
    let reducer = reducer.as_ref().filter(|_| args.reduce != Reduce::Never);
    let nothing = HashSet::new();
    let (mut losses, mut times) = (Vec::new(), Vec::new());
    for step in 0..images.size()[0] {
        let started = Instant::now();
        optimizer.forget_gradients()?;
        let (images, labels) = (images.select(0, step).contiguous(), labels.select(0, step).contiguous());
        let logits = network.forward(&Eager::train(&params, &nothing), &images)?;
        let loss = logits.cross_entropy_loss::<Tensor>(&labels, None, Reduction::Mean, -100, 0.0);
        let weighted = &loss / world.size as f64;
        if let Some(reducer) = reducer.filter(|_| args.reduce == Reduce::Overlapped) {
            reducer.begin();
        }
        weighted.backward();
        if let Some(reducer) = reducer {
            if args.reduce == Reduce::After {
                reducer.begin();
            }
            reducer.finish()?;
        }
        optimizer.step(&[args.learning_rate], None, None)?;
        losses.push(loss.double_value(&[]));
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    #[allow(clippy::print_stdout)] // the answer
    {
        println!("{}", json!({"losses": losses, "step_ms": times}));
    }
    Ok(())
}
