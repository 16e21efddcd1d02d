//! Attention layers and the whole network under libtorch, ONNX Runtime and our operator for attention, from one definition
//! and the same weights.

pub mod copying;

use anyhow::{Result, ensure};
use ferronnx_infer::attention::Attention as How;
use ferronnx_infer::session::Options;
use ferronnx_infer::{Device, Session};
use ferronnx_models::layers::{Attention, Cbam, ChannelAttention, SpatialAttention};
use ferronnx_models::onnx::{self, Interface, Opset};
use ferronnx_models::{Module, Ops, shapes, testing};
use ferronnx_train::eager::Eager;
use ferronnx_train::params::{Params, to_array};
use ndarray::ArrayD;
use tch::Tensor;

/// Channels, height and width of the four stages at 32x32.
pub const STAGES: [[usize; 3]; 4] = [[64, 32, 32], [128, 16, 16], [256, 8, 8], [512, 4, 4]];

/// Images side by side, and threads of an engine.
pub const LOADS: [(usize, usize); 4] = [(1, 1), (1, 2), (16, 1), (16, 2)];

/// The one in the middle; there is at least one.
pub fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// An attention layer of any kind.
#[derive(Debug, Clone)]
pub enum Layer {
    /// Channel attention.
    Channel(ChannelAttention),
    /// Spatial attention.
    Spatial(SpatialAttention),
    /// Both.
    Cbam(Cbam),
}

impl Layer {
    /// The three layers for `channels`, with their names in reports.
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

/// What computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// libtorch.
    Libtorch,
    /// ONNX Runtime, attention by the operators of the file.
    OnnxRuntime,
    /// ONNX Runtime, attention by our operator.
    Fused,
}

impl Engine {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Libtorch, Self::OnnxRuntime, Self::Fused];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Libtorch => "libtorch",
            Self::OnnxRuntime => "onnxruntime",
            Self::Fused => "onnxruntime-fused",
        }
    }
}

/// Anything made of layers, on an input `[N, C, H, W]` and so many threads.
pub struct Case<'a, M> {
    module: &'a M,
    item: [usize; 3],
    batch: usize,
    threads: usize,
}

impl<'a, M: Module> Case<'a, M> {
    /// A case whose engines give the same.
    ///
    /// # Errors
    /// When they do not.
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

    /// One engine, alone: threads of others would wait for work on the same cores.
    pub fn ready(&self, engine: Engine) -> Result<Ready<'a, M>> {
        let [channels, height, width] = self.item;
        let shape = [self.batch, channels, height, width];
        let weights = testing::weights(self.module, &shape)?;
        let input = testing::input(&shape);
        if engine == Engine::Libtorch {
            // CUDA where there is one; not run on a GPU.
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
        let attention = if engine == Engine::Fused { How::Fused } else { How::Stock };
        // Ours is for the CPU.
        let device = match tch::Device::cuda_if_available() {
            tch::Device::Cuda(index) if engine == Engine::OnnxRuntime => Device::Cuda(index),
            _ => Device::Cpu,
        };
        // Sessions run in turns: threads of one must not spin while another computes.
        let threads = Some(self.threads);
        let options = Options { device, threads, attention, without_spinning: true, ..Options::default() };
        let session = Box::new(Session::from_bytes(&onnx::encode(graph, &[]), &options)?);
        let fusion = session.fusion();
        ensure!(engine != Engine::Fused || fusion.rejected.is_empty(), "attention is left as it is: {fusion:?}");
        Ok(Ready::OnnxRuntime { session, input })
    }
}

/// An engine with weights and input.
pub enum Ready<'a, M> {
    /// libtorch.
    Libtorch {
        /// What is computed.
        module: &'a M,
        /// Its weights.
        params: Params,
        /// `[N, C, H, W]`.
        input: Tensor,
    },
    /// ONNX Runtime.
    OnnxRuntime {
        /// What is computed, with its weights.
        session: Box<Session>,
        /// `[N, C, H, W]`.
        input: ArrayD<f32>,
    },
}

/// What an engine gives, as it gives it.
#[derive(Debug)]
pub enum Output {
    /// From libtorch.
    Tensor(Tensor),
    /// From ONNX Runtime.
    Array(ArrayD<f32>),
}

impl<M: Module> Ready<'_, M> {
    /// One pass, until its result is there.
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
