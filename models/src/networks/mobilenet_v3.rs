//! MobileNetV3 (Howard et al. 2019, arXiv:1905.02244), as in torchvision.

use super::architecture::{Architecture, Network, backbone};
use super::attention::{self, AttentionLayer, PlacedAttention};
use super::{Block, PREFIX, STAGES};
use crate::layers::{BatchNorm2d, Conv2d, ConvInit, Gate, Linear, LinearInit, Path, SqueezeExcitation};
use crate::ops::{Module, Ops, Reduce};
use crate::roles::Roles;

/// Activation of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activation {
    Relu,
    HardSwish,
}
use Activation::{HardSwish as HS, Relu as RE};

impl Activation {
    fn apply<O: Ops>(self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        match self {
            Self::Relu => ops.relu(x),
            Self::HardSwish => ops.hard_swish(x),
        }
    }
}

/// Sizes of an inverted residual block, as in Tables 1 and 2 of the paper.
struct Sizes {
    kernel: usize,
    /// Channels of the depthwise convolution.
    expanded: usize,
    channels: usize,
    /// True if it has squeeze-and-excitation.
    se: bool,
    activation: Activation,
    stride: usize,
}

const fn block(
    kernel: usize,
    expanded: usize,
    channels: usize,
    se: bool,
    activation: Activation,
    stride: usize,
) -> Sizes {
    Sizes { kernel, expanded, channels, se, activation, stride }
}

const LARGE: [Sizes; 15] = [
    block(3, 16, 16, false, RE, 1),
    block(3, 64, 24, false, RE, 2),
    block(3, 72, 24, false, RE, 1),
    block(5, 72, 40, true, RE, 2),
    block(5, 120, 40, true, RE, 1),
    block(5, 120, 40, true, RE, 1),
    block(3, 240, 80, false, HS, 2),
    block(3, 200, 80, false, HS, 1),
    block(3, 184, 80, false, HS, 1),
    block(3, 184, 80, false, HS, 1),
    block(3, 480, 112, true, HS, 1),
    block(3, 672, 112, true, HS, 1),
    block(5, 672, 160, true, HS, 2),
    block(5, 960, 160, true, HS, 1),
    block(5, 960, 160, true, HS, 1),
];

const SMALL: [Sizes; 11] = [
    block(3, 16, 16, true, RE, 2),
    block(3, 72, 24, false, RE, 2),
    block(3, 88, 24, false, RE, 1),
    block(5, 96, 40, true, HS, 2),
    block(5, 240, 40, true, HS, 1),
    block(5, 240, 40, true, HS, 1),
    block(5, 120, 48, true, HS, 1),
    block(5, 144, 48, true, HS, 1),
    block(5, 288, 96, true, HS, 2),
    block(5, 576, 96, true, HS, 1),
    block(5, 576, 96, true, HS, 1),
];

/// Channels of the stem.
const STEM: usize = 16;

/// Rate of the dropout before the classifier.
const DROPOUT: f32 = 0.2;

/// Blocks and sizes in which the small network and the large one differ.
struct Variant {
    blocks: &'static [Sizes],
    /// Last block of each stage: of maps of 1/4, 1/8, 1/16 and 1/32 of the image, counted from 1.
    stages: [usize; STAGES],
    /// Features of the hidden layer before the classifier.
    hidden: usize,
}

fn variant(network: Network) -> Variant {
    match network {
        Network::MobilenetV3Small => Variant { blocks: &SMALL, stages: [1, 3, 8, 11], hidden: 1024 },
        _ => Variant { blocks: &LARGE, stages: [3, 6, 12, 15], hidden: 1280 },
    }
}

impl Variant {
    /// Stage of a block, both counted from 1.
    fn stage(&self, block: usize) -> usize {
        1 + self.stages.iter().filter(|&&last| last < block).count()
    }

    /// Channels of the convolution after the last block.
    fn last(&self) -> usize {
        6 * self.blocks.last().map_or(0, |sizes| sizes.channels)
    }
}

/// Path of a part of the features: the stem is number 0, the blocks follow, then comes the last convolution.
fn feature(number: usize) -> Path {
    backbone("features") / number
}

/// Blocks of a MobileNetV3.
pub(super) fn blocks(network: Network) -> Vec<Block> {
    let variant = variant(network);
    let numbered = (1..).zip(variant.blocks);
    numbered
        .map(|(number, sizes)| Block {
            path: feature(number),
            channels: sizes.channels,
            stage: variant.stage(number),
        })
        .collect()
}

/// Tells whether the convolution after the last block has the place and the width of `network`.
pub(super) fn fits<'s>(network: Network, shape: &impl Fn(&str) -> Option<&'s [usize]>) -> bool {
    let variant = variant(network);
    let last = shape(&format!("{}.0.weight", feature(variant.blocks.len() + 1)));
    last.and_then(|shape| shape.first()) == Some(&variant.last())
}

/// Smallest multiple of 8 that is near `channels`, and at least nine tenths of it.
fn rounded(channels: usize) -> usize {
    let near = (channels + 4) / 8 * 8;
    let near = near.max(8);
    if 10 * near < 9 * channels { near + 8 } else { near }
}

/// MobileNetV3 with optional attention: images `[N, 3, H, W]`, or `[N, 1, H, W]` if they are gray, -> logits
/// `[N, classes]`.
#[derive(Debug, Clone)]
pub struct MobileNetV3 {
    network: Network,
    stem: ConvNorm,
    stages: Vec<Stage>,
    last: ConvNorm,
    hidden: Linear,
    classifier: Linear,
}

#[derive(Debug, Clone)]
struct Stage {
    blocks: Vec<InvertedResidual>,
    attention: Option<AttentionLayer>,
}

impl MobileNetV3 {
    /// Creates the network of a configuration that was checked.
    pub(super) fn new(architecture: &Architecture) -> Self {
        let Architecture { network, classes, channels, attention, .. } = *architecture;
        let variant = variant(network);
        let stage = |stage: usize| {
            let of_stage = (1..).zip(variant.blocks).filter(|(number, _)| variant.stage(*number) == stage);
            let input = |number: usize| if number == 1 { STEM } else { variant.blocks[number - 2].channels };
            let block =
                |(number, sizes)| InvertedResidual::new(&feature(number), input(number), sizes, attention);
            let blocks = of_stage.map(block).collect();
            let channels = variant.blocks[variant.stages[stage - 1] - 1].channels;
            Stage { blocks, attention: PlacedAttention::at_stage(attention, stage, channels) }
        };
        let conv = |number: usize, inputs, outputs, kernel, stride| {
            let conv = Conv2d { stride, ..Conv2d::new(feature(number) / 0, inputs, outputs, kernel) };
            ConvNorm::new(&feature(number), conv, Some(HS))
        };
        let linear = |index: usize, inputs, outputs| {
            let path = backbone("classifier") / index;
            Linear { init: LinearInit::Normal { std: 0.01 }, ..Linear::new(path, inputs, outputs) }
        };
        let (narrow, wide) = (variant.last() / 6, variant.last());
        Self {
            network,
            stem: conv(0, channels, STEM, 3, 2),
            stages: (1..=STAGES).map(stage).collect(),
            last: conv(variant.blocks.len() + 1, narrow, wide, 1, 1),
            hidden: linear(0, wide, variant.hidden),
            classifier: linear(3, variant.hidden, classes),
        }
    }
}

impl Module for MobileNetV3 {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        ops.scope(PREFIX, || {
            let mut x = self.stem.forward(ops, x)?;
            for stage in &self.stages {
                for block in &stage.blocks {
                    x = block.forward(ops, &x)?;
                }
                x = AttentionLayer::apply(stage.attention.as_ref(), ops, x)?;
            }
            let x = ops.reduce(&self.last.forward(ops, &x)?, Reduce::Mean, &[2, 3], false)?;
            let x = ops.hard_swish(&ops.linear(&x, &self.hidden)?)?;
            ops.linear(&ops.dropout(&x, DROPOUT)?, &self.classifier)
        })
    }

    fn roles(&self) -> Roles {
        let blocks = blocks(self.network);
        let (last, hidden) = (feature(blocks.len() + 1), backbone("classifier") / 0);
        let stage = |stage: usize| {
            let blocks =
                blocks.iter().filter(move |block| block.stage == stage).map(|block| block.path.clone());
            let end = [last.clone(), hidden.clone()].into_iter().filter(move |_| stage == STAGES);
            blocks.chain(end).map(|path| format!("{path}.*")).collect::<Vec<_>>()
        };
        Roles::default()
            .stem([format!("{}.*", feature(0))])
            .stages((1..=STAGES).map(stage))
            .head([format!("{}.*", backbone("classifier") / 3)])
            .attention(attention::patterns(&backbone("features.")))
            .prefix(format!("{PREFIX}."))
    }
}

/// Convolution with batch norm and an activation, as torchvision's `Conv2dNormActivation`: parts `0` and `1` of a path.
#[derive(Debug, Clone)]
struct ConvNorm {
    scope: String,
    conv: Conv2d,
    norm: BatchNorm2d,
    activation: Option<Activation>,
}

impl ConvNorm {
    /// Creates the layers; the convolution keeps the size but for its stride.
    fn new(path: &Path, conv: Conv2d, activation: Option<Activation>) -> Self {
        let norm =
            BatchNorm2d { eps: 0.001, momentum: 0.01, ..BatchNorm2d::new(path / 1, conv.out_channels) };
        let conv = Conv2d { padding: conv.kernel / 2, init: ConvInit::KaimingFanOut, ..conv };
        Self { scope: path.to_string(), conv, norm, activation }
    }
}

impl Module for ConvNorm {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        ops.scope(&self.scope, || {
            let y = ops.batch_norm(&ops.conv2d(x, &self.conv)?, &self.norm)?;
            match self.activation {
                Some(activation) => activation.apply(ops, &y),
                None => Ok(y),
            }
        })
    }
}

/// Inverted residual block: expansion, depthwise convolution, squeeze-and-excitation, projection.
///
/// `[N, in, H, W]` -> `[N, channels, H / stride, W / stride]`, with a shortcut where the shape stays.
#[derive(Debug, Clone)]
struct InvertedResidual {
    name: String,
    expand: Option<ConvNorm>,
    depthwise: ConvNorm,
    se: Option<SqueezeExcitation>,
    project: ConvNorm,
    /// Added attention, before the addition.
    attention: Option<AttentionLayer>,
    shortcut: bool,
}

impl InvertedResidual {
    fn new(path: &Path, inputs: usize, sizes: &Sizes, attention: Option<PlacedAttention>) -> Self {
        let &Sizes { kernel, expanded, channels, se, activation, stride } = sizes;
        // torchvision numbers the parts that are there.
        let mut parts = (0..).map(|index: usize| path / "block" / index);
        let mut part = || parts.next().expect("the numbers do not end");
        let conv = |path: Path, inputs, outputs, kernel, activation| {
            ConvNorm::new(&path, Conv2d::new(&path / 0, inputs, outputs, kernel), activation)
        };
        let expand = (expanded != inputs).then(|| conv(part(), inputs, expanded, 1, Some(activation)));
        let depthwise = {
            let path = part();
            let conv =
                Conv2d { groups: expanded, stride, ..Conv2d::new(&path / 0, expanded, expanded, kernel) };
            ConvNorm::new(&path, conv, Some(activation))
        };
        let se = se.then(|| gate(&part(), expanded));
        Self {
            name: path.to_string(),
            expand,
            depthwise,
            se,
            project: conv(part(), expanded, channels, 1, None),
            attention: PlacedAttention::in_block(attention, path, channels),
            shortcut: stride == 1 && inputs == channels,
        }
    }
}

/// Creates MobileNetV3's squeeze-and-excitation over `channels`.
fn gate(path: &Path, channels: usize) -> SqueezeExcitation {
    let SqueezeExcitation { name, fc1, fc2, .. } =
        SqueezeExcitation::new(path, channels, rounded(channels / 4));
    let [fc1, fc2] = [fc1, fc2].map(|conv| Conv2d { init: ConvInit::KaimingFanOut, ..conv });
    SqueezeExcitation { name, fc1, fc2, gate: Gate::HardSigmoid }
}

impl Module for InvertedResidual {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        ops.scope(&self.name, || {
            let y = match &self.expand {
                Some(expand) => self.depthwise.forward(ops, &expand.forward(ops, x)?)?,
                None => self.depthwise.forward(ops, x)?,
            };
            let y = match &self.se {
                Some(se) => self.project.forward(ops, &se.forward(ops, &y)?)?,
                None => self.project.forward(ops, &y)?,
            };
            let y = AttentionLayer::apply(self.attention.as_ref(), ops, y)?;
            if self.shortcut { ops.add(&y, x) } else { Ok(y) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::rounded;

    #[test]
    fn channels_are_rounded_as_in_torchvision() {
        // torchvision.models._utils._make_divisible(v, 8)
        for (channels, expected) in
            [(4, 8), (11, 16), (12, 16), (18, 24), (24, 24), (60, 64), (168, 168), (240, 240)]
        {
            assert_eq!(rounded(channels), expected, "{channels}");
        }
    }
}
