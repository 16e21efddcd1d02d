//! Measures parameters, multiply-accumulates and latency of every network with every attention at every place.
//!
//! Three sessions take turns, so that noise of the machine affects all: the network without attention, the network with
//! it, and the same with ONNX Runtime's operators for attention instead of ours. Before, the outputs of the last two are
//! compared. Usage: `attention_costs [NETWORK | KIND-PLACE]...`, with `ORT_DYLIB_PATH` set or from the root folder of the
//! workspace: `attention_costs resnet50 se-blocks eca-blocks`. Images have 224x224 pixels, weights are computed by a formula.
//! Prints one table.

use std::env;
use std::hint::black_box;
use std::time::Instant;

use anyhow::{Result, ensure};
use benches::median;
use ferronnx_infer::attention::AttentionKernels;
use ferronnx_infer::session::Options;
use ferronnx_infer::{Device, Session};
use ferronnx_models::layers::Attention;
use ferronnx_models::networks::{
    Architecture, AttentionKind, Classifier, Network, PlacedAttention, Placement, Stem,
};
use ferronnx_models::onnx::{self, Interface, Opset};
use ferronnx_models::{shapes, testing};
use ndarray::ArrayD;

/// Height and width of the images.
const SIDE: usize = 224;

/// Batch sizes, each with its number of rounds.
const LOADS: [(usize, usize); 2] = [(1, 24), (16, 5)];

fn main() -> Result<()> {
    let (names, networks): (Vec<_>, Vec<_>) = env::args().skip(1).partition(|name| name.contains('-'));
    let chosen: Vec<Network> = networks.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
    let chosen = if chosen.is_empty() { Network::ALL.to_vec() } else { chosen };
    let mut placements = placements()?;
    let is_chosen = |placed: &PlacedAttention| {
        names.iter().filter_map(|name| name.split_once('-')).any(|(kind, place)| {
            kind == placed.kind.name() && place.parse().is_ok_and(|at: Placement| at == placed.at)
        })
    };
    placements.retain(|placed| names.is_empty() || is_chosen(placed));
    ensure!(!placements.is_empty(), "no attention is called {}", names.join(", "));
    println!("| network | attention | parameters | MACs | batch 1 | batch 16 | fused, 1 | fused, 16 |");
    println!("|---|---|---|---|---|---|---|---|");
    for network in chosen {
        let plain = Costs::of(network, None)?;
        for attention in [None].into_iter().chain(placements.iter().copied().map(Some)) {
            let costs = Costs::of(network, attention)?;
            let times = LOADS.map(|load| times(&plain, &costs, load));
            let [single, many] =
                times.into_iter().collect::<Result<Vec<_>>>()?.try_into().unwrap_or_default();
            let place =
                attention.map_or("none".into(), |placed| format!("{} {}", placed.kind.name(), placed.at));
            let Costs { parameters, macs, .. } = costs;
            println!(
                "| {network} | {place} | {:.3} M | {:.3} G | {} | {} | {} | {} |",
                parameters as f64 / 1e6,
                macs as f64 / 1e9,
                single.against_plain(attention),
                many.against_plain(attention),
                single.fused,
                many.fused,
            );
        }
    }
    Ok(())
}

/// Every kind of attention, with its default settings, at every place.
fn placements() -> Result<Vec<PlacedAttention>> {
    let cbam = AttentionKind::Cbam(Attention::default());
    let kinds = [cbam, AttentionKind::Se { ratio: 16 }, AttentionKind::Eca { kernel: 3 }];
    let mut placements = Vec::new();
    for kind in kinds {
        for at in ["last", "stages", "blocks"] {
            placements.push(PlacedAttention { kind, at: at.parse()? });
        }
    }
    Ok(placements)
}

/// A network with its costs and its file.
struct Costs {
    parameters: usize,
    macs: u64,
    file: Vec<u8>,
}

impl Costs {
    fn of(network: Network, attention: Option<PlacedAttention>) -> Result<Self> {
        let architecture =
            Architecture { network, classes: 1000, channels: 3, stem: Stem::Imagenet, attention };
        let module = Classifier::new(&architecture)?;
        let shape = [1, 3, SIDE, SIDE];
        let layers = shapes::describe(&module, &shape)?.layers;
        let weights = testing::weights(&module, &shape)?;
        let graph = onnx::trace(&module, &weights, &Interface::new([3, SIDE, SIDE]), Opset::default())?;
        Ok(Self {
            parameters: layers.iter().map(|layer| layer.parameters).sum(),
            macs: layers.iter().map(|layer| layer.macs).sum(),
            file: onnx::encode(graph, &[]),
        })
    }
}

/// Latency at one batch size.
#[derive(Default)]
struct Times {
    /// Median of the network without attention, in ms.
    plain: f64,
    /// Median of its ratios to that: of each round.
    ratio: f64,
    /// Median of the ratios of our operators to ONNX Runtime's; `-` where nothing is fused.
    fused: String,
}

impl Times {
    /// The ratio, or the time of the network without attention itself.
    fn against_plain(&self, attention: Option<PlacedAttention>) -> String {
        match attention {
            None => format!("{:.1} ms", self.plain),
            Some(_) => format!("{:.3}", self.ratio),
        }
    }
}

fn times(plain: &Costs, costs: &Costs, (batch, rounds): (usize, usize)) -> Result<Times> {
    let input = testing::input(&[batch, 3, SIDE, SIDE]);
    let open = |costs: &Costs, attention| {
        // Sessions take turns, so the threads of one must not spin while another computes.
        let options = Options::default().device(Device::Cpu).attention(attention).spinning(false);
        Session::from_bytes(&costs.file, &options)
    };
    let sessions = [
        open(plain, AttentionKernels::Fused)?,
        open(costs, AttentionKernels::Fused)?,
        open(costs, AttentionKernels::Stock)?,
    ];
    let fusion = sessions[1].fusion();
    ensure!(fusion.rejected.is_empty(), "attention is left as it is: {fusion:?}");
    let [_, fused, stock] = &sessions;
    let difference = difference(&fused.run(input.view())?, &stock.run(input.view())?);
    ensure!(difference < 1e-5, "our operators differ by {difference}");
    let mut ratios = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..rounds + 2 {
        let mut times = [0.0; 3];
        // Every other round in the opposite order.
        let order = if round % 2 == 0 { [0, 1, 2] } else { [2, 1, 0] };
        for at in order {
            let start = Instant::now();
            black_box(sessions[at].run(input.view())?);
            times[at] = start.elapsed().as_secs_f64() * 1e3;
        }
        if round >= 2 {
            let [plain, fused, stock] = times;
            for (ratios, ratio) in ratios.iter_mut().zip([plain, fused / plain, fused / stock]) {
                ratios.push(ratio);
            }
        }
    }
    let [plain, ratio, against_stock] = ratios.map(median);
    let nothing = fusion.fused.is_empty();
    let fused = if nothing { "-".into() } else { format!("{against_stock:.3}") };
    Ok(Times { plain, ratio, fused })
}

/// Largest difference, relative to the largest value.
fn difference(a: &ArrayD<f32>, b: &ArrayD<f32>) -> f32 {
    let largest = b.iter().fold(f32::MIN_POSITIVE, |largest, value| largest.max(value.abs()));
    // A NaN must not pass as no difference.
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |max: f32, x| if x > max || x.is_nan() { x } else { max }) / largest
}
