//! ResNet (He et al. 2016, arXiv:1512.03385), as in torchvision: bottlenecks have their stride in the 3x3 convolution.

use super::architecture::{Architecture, Network, Stem, backbone};
use super::attention::{self, AttentionLayer, PlacedAttention};
use super::{Block, PREFIX, STAGES, spellings};
use crate::layers::{BatchNorm2d, Conv2d, ConvInit, Linear, MaxPool2d, Path};
use crate::ops::{Module, Ops, Reduce};
use crate::roles::Roles;

/// Channels of the 3x3 convolutions in the four stages.
const WIDTHS: [usize; STAGES] = [64, 128, 256, 512];

/// Factor by which a bottleneck widens its result.
const EXPANSION: usize = 4;

/// Number of blocks in each stage, and whether they are bottlenecks.
fn depths(network: Network) -> ([usize; STAGES], bool) {
    match network {
        Network::Resnet34 => ([3, 4, 6, 3], false),
        Network::Resnet50 => ([3, 4, 6, 3], true),
        Network::Resnet101 => ([3, 4, 23, 3], true),
        _ => ([2, 2, 2, 2], false),
    }
}

/// Number of output channels of a stage, counted from 1.
fn stage_channels(network: Network, stage: usize) -> usize {
    let (_, bottleneck) = depths(network);
    WIDTHS[stage - 1] * if bottleneck { EXPANSION } else { 1 }
}

/// Path of a stage, counted from 1.
fn stage_path(stage: usize) -> Path {
    backbone(&format!("layer{stage}"))
}

/// Blocks of a ResNet.
pub(super) fn blocks(network: Network) -> Vec<Block> {
    let (depths, _) = depths(network);
    let in_stage = |(stage, depth): (usize, usize)| {
        let channels = stage_channels(network, stage);
        (0..depth).map(move |index| Block { path: stage_path(stage) / index, channels, stage })
    };
    (1..).zip(depths).flat_map(in_stage).collect()
}

/// Tells whether parameters have the depth of `network`.
pub(super) fn fits<'s>(network: Network, shape: &impl Fn(&str) -> Option<&'s [usize]>) -> bool {
    let (depths, bottleneck) = depths(network);
    let has = |path: Path, conv: &str| shape(&format!("{path}.{conv}.weight")).is_some();
    let ends = |(stage, depth): (usize, usize)| {
        has(stage_path(stage) / (depth - 1), "conv1") && !has(stage_path(stage) / depth, "conv1")
    };
    (1..).zip(depths).all(ends) && has(stage_path(1) / 0, "conv3") == bottleneck
}

/// ResNet with optional attention: images `[N, 3, H, W]`, or `[N, 1, H, W]` if they are gray, -> logits `[N, classes]`.
#[derive(Debug, Clone)]
pub struct ResNet {
    network: Network,
    stem: StemLayers,
    stages: Vec<Stage>,
    fc: Linear,
}

#[derive(Debug, Clone)]
struct StemLayers {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    pool: Option<MaxPool2d>,
}

#[derive(Debug, Clone)]
struct Stage {
    blocks: Vec<ResidualBlock>,
    attention: Option<AttentionLayer>,
}

impl ResNet {
    /// Creates the network of a configuration that was checked.
    pub(super) fn new(architecture: &Architecture) -> Self {
        let Architecture { network, classes, channels, stem, attention } = *architecture;
        let stages = (1..=STAGES).map(|stage| Stage::new(network, stage, attention)).collect();
        let fc = Linear::new(backbone("fc"), stage_channels(network, STAGES), classes);
        Self { network, stem: StemLayers::new(stem, channels), stages, fc }
    }
}

impl Module for ResNet {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        ops.scope(PREFIX, || {
            let mut x = self.stem.forward(ops, x)?;
            for stage in &self.stages {
                x = stage.forward(ops, &x)?;
            }
            let pooled = ops.reduce(&x, Reduce::Mean, &[2, 3], false)?;
            ops.linear(&pooled, &self.fc)
        })
    }

    fn roles(&self) -> Roles {
        let below = |part: &str| format!("{}.*", backbone(part));
        let stage = |stage| [format!("{}.*", stage_path(stage))];
        let roles = Roles::default()
            .stem(["conv1", "bn1"].map(below))
            .stages((1..=STAGES).map(stage))
            .head([below("fc")])
            .attention(attention::patterns(&backbone("layer")))
            .prefix(format!("{PREFIX}."))
            .cropped_from(self.stem.conv1.weight_name(), 7);
        spellings::of_resnet(self.network)
            .fold(roles, |roles, (own, theirs)| roles.also_named(format!("{PREFIX}.{own}"), theirs))
    }
}

impl StemLayers {
    fn new(stem: Stem, channels: usize) -> Self {
        let (path, bn1) = (backbone("conv1"), BatchNorm2d::new(backbone("bn1"), WIDTHS[0]));
        match stem {
            // The reference implementation replaces torchvision's stem by a new Conv2d with PyTorch's default.
            Stem::Cifar => {
                let conv1 = Conv2d { padding: 1, ..Conv2d::new(path, channels, WIDTHS[0], 3) };
                Self { conv1, bn1, pool: None }
            }
            Stem::Imagenet => {
                let conv1 = Conv2d {
                    stride: 2,
                    padding: 3,
                    init: ConvInit::KaimingFanOut,
                    ..Conv2d::new(path, channels, WIDTHS[0], 7)
                };
                Self { conv1, bn1, pool: Some(MaxPool2d { kernel: 3, stride: 2, padding: 1 }) }
            }
        }
    }
}

impl Module for StemLayers {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        let x = ops.relu(&ops.batch_norm(&ops.conv2d(x, &self.conv1)?, &self.bn1)?)?;
        match &self.pool {
            Some(pool) => ops.max_pool2d(&x, pool),
            None => Ok(x),
        }
    }
}

impl Stage {
    fn new(network: Network, stage: usize, attention: Option<PlacedAttention>) -> Self {
        let (depths, bottleneck) = depths(network);
        let (width, channels) = (WIDTHS[stage - 1], stage_channels(network, stage));
        let block = |index: usize| {
            let (inputs, stride) = match (stage, index) {
                (1, 0) => (WIDTHS[0], 1),
                (_, 0) => (stage_channels(network, stage - 1), 2),
                _ => (channels, 1),
            };
            let path = stage_path(stage) / index;
            let block = match bottleneck {
                true => ResidualBlock::bottleneck(&path, inputs, width, stride),
                false => ResidualBlock::basic(&path, inputs, width, stride),
            };
            ResidualBlock { attention: PlacedAttention::in_block(attention, &path, channels), ..block }
        };
        Self {
            blocks: (0..depths[stage - 1]).map(block).collect(),
            attention: PlacedAttention::at_stage(attention, stage, channels),
        }
    }
}

impl Module for Stage {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        let [first, rest @ ..] = &self.blocks[..] else { unreachable!("every stage has blocks") };
        let x = rest.iter().try_fold(first.forward(ops, x)?, |x, block| block.forward(ops, &x))?;
        AttentionLayer::apply(self.attention.as_ref(), ops, x)
    }
}

/// Residual block: convolutions with batch norm, and a shortcut, which is a 1x1 convolution where the shape changes.
///
/// `[N, in, H, W]` -> `[N, out, H / stride, W / stride]`.
#[derive(Debug, Clone)]
pub struct ResidualBlock {
    name: String,
    convs: Vec<(Conv2d, BatchNorm2d)>,
    downsample: Option<(Conv2d, BatchNorm2d)>,
    /// Attention before the addition.
    attention: Option<AttentionLayer>,
}

impl ResidualBlock {
    /// Creates torchvision's `BasicBlock`: two 3x3 convolutions of `width` channels.
    pub fn basic(path: impl Into<Path>, in_channels: usize, width: usize, stride: usize) -> Self {
        Self::new(&path.into(), in_channels, &[(3, width, stride), (3, width, 1)])
    }

    /// Creates torchvision's `Bottleneck`: a 3x3 convolution of `width` channels between two of 1x1; it has four times as
    /// many output channels.
    pub fn bottleneck(path: impl Into<Path>, in_channels: usize, width: usize, stride: usize) -> Self {
        let convs = [(1, width, 1), (3, width, stride), (1, EXPANSION * width, 1)];
        Self::new(&path.into(), in_channels, &convs)
    }

    /// Creates a block of convolutions with these kernels, output channels and strides.
    fn new(path: &Path, in_channels: usize, sizes: &[(usize, usize, usize)]) -> Self {
        let layer = |conv: Path, bn: Path, inputs, (kernel, outputs, stride)| {
            let conv = Conv2d {
                stride,
                padding: kernel / 2,
                init: ConvInit::KaimingFanOut,
                ..Conv2d::new(conv, inputs, outputs, kernel)
            };
            (conv, BatchNorm2d::new(bn, outputs))
        };
        let mut channels = in_channels;
        let mut convs = Vec::new();
        for (number, &size) in (1..).zip(sizes) {
            let [conv, bn] = ["conv", "bn"].map(|part| path / format_args!("{part}{number}"));
            convs.push(layer(conv, bn, channels, size));
            channels = size.1;
        }
        let stride = sizes.iter().map(|(_, _, stride)| stride).product();
        let downsample = (stride != 1 || in_channels != channels).then(|| {
            let shortcut = path / "downsample";
            layer(&shortcut / 0, &shortcut / 1, in_channels, (1, channels, stride))
        });
        Self { name: path.to_string(), convs, downsample, attention: None }
    }
}

impl Module for ResidualBlock {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        ops.scope(&self.name, || {
            let conv =
                |x: &O::Value, (conv, bn): &(Conv2d, BatchNorm2d)| ops.batch_norm(&ops.conv2d(x, conv)?, bn);
            let [first, rest @ ..] = &self.convs[..] else { unreachable!("every block has convolutions") };
            let y = rest.iter().try_fold(conv(x, first)?, |y, layer| conv(&ops.relu(&y)?, layer))?;
            let y = AttentionLayer::apply(self.attention.as_ref(), ops, y)?;
            let sum = match &self.downsample {
                Some(shortcut) => ops.add(&y, &conv(x, shortcut)?)?,
                None => ops.add(&y, x)?,
            };
            ops.relu(&sum)
        })
    }
}
