//! Attention layers and the whole network on libtorch, on ONNX Runtime and on our operator for attention.
//!
//! All engines run the same definition with the same weights, and their results are compared before they are timed.

pub mod copying;

use anyhow::{Result, ensure};
use ferronnx_infer::attention::AttentionKernels;
use ferronnx_infer::session::Options;
use ferronnx_infer::{Device, Session};
use ferronnx_models::layers::{Attention, Cbam, ChannelAttention, SpatialAttention};
use ferronnx_models::onnx::{self, Interface, Opset};
use ferronnx_models::{Module, Ops, shapes, testing};
use ferronnx_train::eager::Eager;
use ferronnx_train::params::{Params, to_array};
use ndarray::ArrayD;
use tch::Tensor;

/// Channels, height and width after each of the four stages, for images of 32x32.
pub const STAGES: [[usize; 3]; 4] = [[64, 32, 32], [128, 16, 16], [256, 8, 8], [512, 4, 4]];

/// Combinations of batch size and threads that are measured.
pub const LOADS: [(usize, usize); 4] = [(1, 1), (1, 2), (16, 1), (16, 2)];

/// Median of `times`.
///
/// # Panics
/// When `times` is empty.
pub fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// One of the attention layers.
#[derive(Debug, Clone)]
pub enum Layer {
    /// Channel attention alone.
    Channel(ChannelAttention),
    /// Spatial attention alone.
    Spatial(SpatialAttention),
    /// Channel attention followed by spatial attention.
    Cbam(Cbam),
}

impl Layer {
    /// The three layers for `channels` channels, each with its name in reports.
    pub fn all(channels: usize) -> [(&'static str, Self); 3] {
        let Attention { ratio, kernel } = Attention::default();
        [
            ("channel", Self::Channel(ChannelAttention::new("channel", channels, ratio))),
            ("spatial", Self::Spatial(SpatialAttention::new("spatial", kernel))),
            ("cbam", Self::Cbam(Cbam::new("cbam", channels, Attention::default()))),
        ]
    }
}

impl Module for Layer {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        match self {
            Self::Channel(layer) => layer.forward(ops, x),
            Self::Spatial(layer) => layer.forward(ops, x),
            Self::Cbam(layer) => layer.forward(ops, x),
        }
    }
}

/// Engine that runs a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// libtorch.
    Libtorch,
    /// ONNX Runtime with the file's own operators for attention.
    OnnxRuntime,
    /// ONNX Runtime with our operator for attention.
    Fused,
}

impl Engine {
    /// All engines.
    pub const ALL: [Self; 3] = [Self::Libtorch, Self::OnnxRuntime, Self::Fused];

    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Libtorch => "libtorch",
            Self::OnnxRuntime => "onnxruntime",
            Self::Fused => "onnxruntime-fused",
        }
    }
}

/// A layer or network with its input size, batch size and number of threads.
pub struct Case<'a, M> {
    module: &'a M,
    item: [usize; 3],
    batch: usize,
    threads: usize,
}

impl<'a, M: Module> Case<'a, M> {
    /// Makes a case and compares the results of all engines on it.
    ///
    /// `item` is `[C, H, W]`.
    ///
    /// # Errors
    /// When an engine fails, or differs from libtorch by more than 1e-5 of the largest value.
    pub fn new(module: &'a M, item: [usize; 3], batch: usize, threads: usize) -> Result<Self> {
        let case = Self { module, item, batch, threads };
        let array = |engine| match case.ready(engine)?.run()? {
            Output::Tensor(tensor) => Ok(to_array(&tensor)?),
            Output::Array(array) => anyhow::Ok(array),
        };
        let expected = array(Engine::Libtorch)?;
        let largest = expected.iter().fold(1.0, |max: f32, value| max.max(value.abs()));
        for engine in [Engine::OnnxRuntime, Engine::Fused] {
            let differences = expected.iter().zip(array(engine)?).map(|(a, b)| (a - b).abs());
            let difference = differences.fold(0.0, f32::max) / largest;
            ensure!(difference < 1e-5, "{} differs by {difference}", engine.name());
        }
        Ok(case)
    }

    /// Prepares one engine with weights and input.
    ///
    /// Keep only one engine at a time: waiting threads of the others would take its cores.
    ///
    /// # Errors
    /// When the engine cannot be prepared, or does not use our operator though it should.
    pub fn ready(&self, engine: Engine) -> Result<Ready<'a, M>> {
        let [channels, height, width] = self.item;
        let shape = [self.batch, channels, height, width];
        let weights = testing::weights(self.module, &shape)?;
        let input = testing::input(&shape);
        if engine == Engine::Libtorch {
            // Uses CUDA if there is a GPU. Not run on one.
            let device = tch::Device::cuda_if_available();
            let params = Params::initialise(&shapes::describe(self.module, &shape)?.params, 0, device)?;
            for (name, values) in &weights {
                params.assign(name, values)?;
            }
            tch::set_num_threads(self.threads as i32);
            let input = Tensor::f_from_slice(input.as_slice().unwrap_or_default())?
                .f_view(shape.map(|size| size as i64))?
                .f_to_device(device)?;
            return Ok(Ready::Libtorch { module: self.module, params, input });
        }
        let graph = onnx::trace(self.module, &weights, &Interface::new(self.item), Opset::default())?;
        let attention = match engine {
            Engine::Fused => AttentionKernels::Fused,
            _ => AttentionKernels::Stock,
        };
        // Our operator runs on the CPU only.
        let device = match tch::Device::cuda_if_available() {
            tch::Device::Cuda(index) if engine == Engine::OnnxRuntime => Device::Cuda(index),
            _ => Device::Cpu,
        };
        // Sessions take turns, so the threads of one must not spin while another computes.
        let options =
            Options::default().device(device).threads(self.threads).attention(attention).spinning(false);
        let session = Box::new(Session::from_bytes(&onnx::encode(graph, &[]), &options)?);
        let fusion = session.fusion();
        ensure!(
            engine != Engine::Fused || fusion.rejected.is_empty(),
            "attention is left as it is: {fusion:?}"
        );
        Ok(Ready::OnnxRuntime { session, input })
    }
}

/// An engine that is ready to run, with weights and input.
pub enum Ready<'a, M> {
    /// libtorch.
    Libtorch {
        /// Layer or network.
        module: &'a M,
        /// Weights of the module.
        params: Params,
        /// Input `[N, C, H, W]`.
        input: Tensor,
    },
    /// ONNX Runtime, with either kind of attention.
    OnnxRuntime {
        /// Session of the exported module.
        session: Box<Session>,
        /// Input `[N, C, H, W]`.
        input: ArrayD<f32>,
    },
}

/// Output of an engine, in its own type.
#[derive(Debug)]
pub enum Output {
    /// Output of libtorch.
    Tensor(Tensor),
    /// Output tensor computed by ONNX Runtime.
    Array(ArrayD<f32>),
}

impl<M: Module> Ready<'_, M> {
    /// Runs one forward pass and waits for its result.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn run(&self) -> Result<Output> {
        match self {
            Self::Libtorch { module, params, input } => {
                let _guard = tch::no_grad_guard();
                let output = module.forward(&Eager::eval(params), input)?;
                if let tch::Device::Cuda(index) = input.device() {
                    tch::Cuda::synchronize(index as i64);
                }
                Ok(Output::Tensor(output))
            }
            Self::OnnxRuntime { session, input } => Ok(Output::Array(session.run(input.view())?)),
        }
    }
}
