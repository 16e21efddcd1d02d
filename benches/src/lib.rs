//! The attention layers under both engines, from one definition and the same weights.

use anyhow::{Result, ensure};
use infer::Session;
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

/// A layer that is ready to run under both engines on one input `[N, C, H, W]`.
pub struct Peers<'a> {
    layer: &'a Layer,
    params: Params,
    session: Session,
    input: ArrayD<f32>,
    tensor: Tensor,
}

impl<'a> Peers<'a> {
    /// Prepares both engines and checks that they compute the same.
    pub fn new(layer: &'a Layer, item: [usize; 3], batch: usize, threads: usize) -> Result<Self> {
        let shape = [batch, item[0], item[1], item[2]];
        let weights = testing::weights(layer, &shape)?;
        let params = Params::initialise(&shapes::describe(layer, &shape)?.params, 0, Device::Cpu)?;
        for (name, values) in &weights {
            params.assign(name, values)?;
        }
        let graph = onnx::trace(layer, &weights, &Interface::new(item), Opset::default())?;
        let options = Options { device: infer::Device::Cpu, threads: Some(threads), ..Options::default() };
        let session = Session::from_bytes(&onnx::encode(graph, &[]), &options)?;
        tch::set_num_threads(threads as i32);
        let input = testing::input(&shape);
        let tensor = Tensor::f_from_slice(input.as_slice().unwrap_or_default())?
            .f_view(shape.map(|size| size as i64))?;
        let peers = Self { layer, params, session, input, tensor };
        let (libtorch, onnx) = (to_array(&peers.libtorch()?)?, peers.onnxruntime()?);
        let difference = libtorch.iter().zip(&onnx).fold(0.0, |max: f32, (a, b)| max.max((a - b).abs()));
        ensure!(difference < 1e-5, "the engines differ by {difference}");
        Ok(peers)
    }

    /// One pass under libtorch.
    pub fn libtorch(&self) -> Result<Tensor> {
        let _guard = tch::no_grad_guard();
        Ok(self.layer.forward(&Eager::eval(&self.params), &self.tensor)?)
    }

    /// One pass under ONNX Runtime.
    pub fn onnxruntime(&self) -> Result<ArrayD<f32>> {
        Ok(self.session.run(self.input.view())?)
    }
}
