//! Attention layers and the whole network on libtorch, on ONNX Runtime and on our operator for attention.
//!
//! All engines run the same definition with the same weights, and their results are compared before they are timed. On
//! CUDA their tensors are on the device, and copies between it and memory are measured apart.

pub mod bound;
pub mod copying;
pub mod device;

use anyhow::{Result, ensure};
use ferronnx_infer::attention::AttentionKernels;
use ferronnx_infer::session::Options;
use ferronnx_infer::{Device, Session};
use ferronnx_models::layers::{Attention, Cbam, ChannelAttention, SpatialAttention};
use ferronnx_models::onnx::{self, Interface, Opset};
use ferronnx_models::{Module, Ops, shapes, testing};
use ferronnx_train::eager::Eager;
use ferronnx_train::params::{Params, to_array, to_tensor};
use ndarray::ArrayD;
use tch::Tensor;

use bound::BoundSession;
use device::{Load, synchronize};

/// Channels, height and width after each of the four stages, for images of 32x32.
pub const STAGES: [[usize; 3]; 4] = [[64, 32, 32], [128, 16, 16], [256, 8, 8], [512, 4, 4]];

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
    /// Engines that run on a device: our operator is for the CPU.
    pub fn on(device: tch::Device) -> &'static [Self] {
        match device {
            tch::Device::Cuda(_) => &[Self::Libtorch, Self::OnnxRuntime],
            _ => &[Self::Libtorch, Self::OnnxRuntime, Self::Fused],
        }
    }

    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Libtorch => "libtorch",
            Self::OnnxRuntime => "onnxruntime",
            Self::Fused => "onnxruntime-fused",
        }
    }
}

/// A layer or network with its input size and load.
pub struct Case<'a, M> {
    module: &'a M,
    item: [usize; 3],
    load: Load,
}

impl<'a, M: Module> Case<'a, M> {
    /// Makes a case and compares the results of all engines on it.
    ///
    /// `item` is `[C, H, W]`.
    ///
    /// # Errors
    /// When an engine fails, or differs from libtorch by more than 1e-5 of the largest value.
    pub fn new(module: &'a M, item: [usize; 3], load: Load) -> Result<Self> {
        let case = Self { module, item, load };
        let expected = case.ready(Engine::Libtorch)?.output()?;
        let largest = expected.iter().fold(1.0, |max: f32, value| max.max(value.abs()));
        for &engine in Engine::on(load.device).iter().filter(|&&engine| engine != Engine::Libtorch) {
            let found = case.ready(engine)?.output()?;
            ensure!(found.shape() == expected.shape(), "{} has shape {:?}", engine.name(), found.shape());
            let differences = expected.iter().zip(found).map(|(a, b)| (a - b).abs());
            // A NaN must not pass as no difference.
            let difference =
                differences.fold(0.0, |max: f32, x| if x > max || x.is_nan() { x } else { max }) / largest;
            ensure!(difference < 1e-5, "{} differs by {difference} at {load}", engine.name());
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
        let shape = [self.load.batch, channels, height, width];
        let input = testing::input(&shape);
        match engine {
            Engine::Libtorch => self.libtorch(&shape, &input),
            _ => self.onnx_runtime(engine, &shape, input),
        }
    }

    fn libtorch(&self, shape: &[usize; 4], input: &ArrayD<f32>) -> Result<Ready<'a, M>> {
        let device = self.load.device;
        let params = Params::initialise(&shapes::describe(self.module, shape)?.params, 0, device)?;
        for (name, values) in &testing::weights(self.module, shape)? {
            params.assign(name, values)?;
        }
        tch::set_num_threads(self.load.threads as i32);
        let input = to_tensor(input)?.f_to_device(device)?;
        Ok(Ready::Libtorch { module: self.module, params, input })
    }

    fn onnx_runtime(&self, engine: Engine, shape: &[usize; 4], input: ArrayD<f32>) -> Result<Ready<'a, M>> {
        let weights = testing::weights(self.module, shape)?;
        let graph = onnx::trace(self.module, &weights, &Interface::new(self.item), Opset::default())?;
        let file = onnx::encode(graph, &[]);
        if let tch::Device::Cuda(_) = self.load.device {
            let output = shapes::describe(self.module, shape)?.output;
            return Ok(Ready::Bound(Box::new(BoundSession::new(&file, self.load.device, &input, &output)?)));
        }
        let attention = match engine {
            Engine::Fused => AttentionKernels::Fused,
            _ => AttentionKernels::Stock,
        };
        // Sessions take turns, so the threads of one must not spin while another computes.
        let options = Options::default()
            .device(Device::Cpu)
            .threads(self.load.threads)
            .attention(attention)
            .spinning(false);
        let session = Box::new(Session::from_bytes(&file, &options)?);
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
    /// ONNX Runtime on the CPU, with either kind of attention.
    OnnxRuntime {
        /// Session of the exported module.
        session: Box<Session>,
        /// Input `[N, C, H, W]`.
        input: ArrayD<f32>,
    },
    /// ONNX Runtime with input and output on a device.
    Bound(Box<BoundSession>),
}

/// Output of an engine, in its own type.
#[derive(Debug)]
pub enum Output {
    /// Output of libtorch.
    Tensor(Tensor),
    /// Output tensor computed by ONNX Runtime.
    Array(ArrayD<f32>),
    /// Output that stays on the device.
    Bound,
}

impl<M: Module> Ready<'_, M> {
    /// Runs one forward pass and waits for its result.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn run(&mut self) -> Result<Output> {
        match self {
            Self::Libtorch { module, params, input } => {
                let _guard = tch::no_grad_guard();
                let output = module.forward(&Eager::eval(params), input)?;
                synchronize(input.device());
                Ok(Output::Tensor(output))
            }
            Self::OnnxRuntime { session, input } => Ok(Output::Array(session.run(input.view())?)),
            Self::Bound(session) => session.run().map(|()| Output::Bound),
        }
    }

    /// Runs one forward pass and copies its result to memory.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn output(&mut self) -> Result<ArrayD<f32>> {
        match self.run()? {
            Output::Tensor(tensor) => Ok(to_array(&tensor)?),
            Output::Array(array) => Ok(array),
            Output::Bound => match self {
                Self::Bound(session) => session.output(),
                _ => unreachable!("only a bound session leaves its output on the device"),
            },
        }
    }
}
