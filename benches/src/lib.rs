//! The attention layers under libtorch, ONNX Runtime and our operator for it, from one definition and the same weights.

use anyhow::{Result, ensure};
use infer::Session;
use infer::attention::Attention as How;
use infer::session::Options;
use models::layers::{Attention, Cbam, ChannelAttention, SpatialAttention};
use models::onnx::{self, Interface, Opset};
use models::{Module, Ops, shapes, testing};
use ndarray::ArrayD;
use tch::{Device, Tensor};
use train::eager::Eager;
use train::params::{Params, to_array};

/// Channels, height and width of the four stages at 32x32.
pub const STAGES: [[usize; 3]; 4] = [[64, 32, 32], [128, 16, 16], [256, 8, 8], [512, 4, 4]];

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

/// A layer that is ready to run under all engines on one input `[N, C, H, W]`.
pub struct Peers<'a> {
    layer: &'a Layer,
    params: Params,
    stock: Session,
    /// For whole CBAM alone.
    fused: Option<Session>,
    input: ArrayD<f32>,
    tensor: Tensor,
}

impl<'a> Peers<'a> {
    /// Prepares the engines and checks that they compute the same.
    pub fn new(layer: &'a Layer, item: [usize; 3], batch: usize, threads: usize) -> Result<Self> {
        let shape = [batch, item[0], item[1], item[2]];
        let weights = testing::weights(layer, &shape)?;
        let params = Params::initialise(&shapes::describe(layer, &shape)?.params, 0, Device::Cpu)?;
        for (name, values) in &weights {
            params.assign(name, values)?;
        }
        let graph = onnx::trace(layer, &weights, &Interface::new(item), Opset::default())?;
        let file = onnx::encode(graph, &[]);
        let session = |attention| {
            let threads = Some(threads);
            let device = infer::Device::Cpu;
            Session::from_bytes(&file, &Options { device, threads, attention, ..Options::default() })
        };
        let (stock, fused) = (session(How::Stock)?, session(How::Fused)?);
        let fused = (!fused.fusion().fused.is_empty()).then_some(fused);
        tch::set_num_threads(threads as i32);
        let input = testing::input(&shape);
        let tensor = Tensor::f_from_slice(input.as_slice().unwrap_or_default())?
            .f_view(shape.map(|size| size as i64))?;
        ensure!(fused.is_some() == matches!(layer, Layer::Cbam(_)), "CBAM is not computed by one operator");
        let peers = Self { layer, params, stock, fused, input, tensor };
        let libtorch = to_array(&peers.libtorch()?)?;
        for other in [Some(peers.onnxruntime()?), peers.fused()?].into_iter().flatten() {
            let difference = libtorch.iter().zip(&other).fold(0.0, |max: f32, (a, b)| max.max((a - b).abs()));
            ensure!(difference < 1e-5, "the engines differ by {difference}");
        }
        Ok(peers)
    }

    /// One pass under libtorch.
    pub fn libtorch(&self) -> Result<Tensor> {
        let _guard = tch::no_grad_guard();
        Ok(self.layer.forward(&Eager::eval(&self.params), &self.tensor)?)
    }

    /// One pass under ONNX Runtime, by its own operators.
    pub fn onnxruntime(&self) -> Result<ArrayD<f32>> {
        Ok(self.stock.run(self.input.view())?)
    }

    /// One pass under ONNX Runtime by our operator, which whole CBAM has.
    pub fn fused(&self) -> Result<Option<ArrayD<f32>>> {
        Ok(self.fused.as_ref().map(|session| session.run(self.input.view())).transpose()?)
    }
}
