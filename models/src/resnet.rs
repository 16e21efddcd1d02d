//! ResNet18 (He et al. 2016, arXiv:1512.03385) with CBAM after each of its four stages.
//!
//! The blocks are torchvision's, and so are the names of the parameters.

mod spellings;

use std::fmt;

use ndarray::ArrayBase;
use serde::{Deserialize, Serialize};

use crate::card::IMAGENET_MIN_SIZE;
use crate::layers::{Attention, BatchNorm2d, Cbam, Conv2d, ConvInit, Linear, MaxPool2d};
use crate::ops::{Module, Ops, Reduce};
use crate::roles::Roles;
use crate::weights::Weights;

/// Number of channels of the four stages.
pub const STAGE_CHANNELS: [usize; 4] = [64, 128, 256, 512];

/// Configuration of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "network", rename = "resnet18")]
pub struct Architecture {
    /// Number of classes.
    pub classes: usize,
    /// Channels of the images: 3 for RGB, 1 for gray.
    #[serde(default = "rgb", skip_serializing_if = "is_rgb")]
    pub channels: usize,
    /// Layers before the first stage.
    pub stem: Stem,
    /// CBAM after each stage; none for a plain ResNet18.
    pub attention: Option<Attention>,
}

impl Default for Architecture {
    fn default() -> Self {
        Self { classes: 10, channels: RGB, stem: Stem::Cifar, attention: Some(Attention::default()) }
    }
}

/// Channels of RGB images.
const RGB: usize = 3;

fn rgb() -> usize {
    RGB
}

fn is_rgb(channels: &usize) -> bool {
    *channels == RGB
}

/// Stem of the network: the layers before the first stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stem {
    /// A 3x3 convolution with stride 1, for small inputs.
    Cifar,
    /// A 7x7 convolution with stride 2 and a 3x3 max pool with stride 2, for photos.
    Imagenet,
}

impl Stem {
    /// Usual stem for square images of `size` pixels.
    pub fn for_size(size: u32) -> Self {
        if size < IMAGENET_MIN_SIZE { Self::Cifar } else { Self::Imagenet }
    }

    /// Image size that the stem was designed for, in pixels.
    pub fn usual_size(self) -> u32 {
        match self {
            Self::Cifar => 32,
            Self::Imagenet => 224,
        }
    }
}

impl Architecture {
    /// Reads the configuration from the shapes of weights.
    ///
    /// # Errors
    /// [`ArchitectureError`] when a parameter is missing, or the shapes are those of no configuration.
    pub fn of(weights: &Weights) -> Result<Self, ArchitectureError> {
        Self::of_shapes(|name| weights.get(name).map(ArrayBase::shape))
    }

    /// Reads the configuration from the shapes of parameters; `shape` gives that of a name.
    ///
    /// # Errors
    /// As of [`of`](Self::of).
    pub fn of_shapes<'s>(shape: impl Fn(&str) -> Option<&'s [usize]>) -> Result<Self, ArchitectureError> {
        let missing = |name: &str| ArchitectureError::NotResNet18(name.into());
        let size = |name: &str, axis: usize| {
            shape(name).and_then(|shape| shape.get(axis).copied()).ok_or_else(|| missing(name))
        };
        let attention = match shape(SQUEEZE) {
            None => None,
            Some(_) => {
                let mut hidden = [0; 4];
                for (stage, hidden) in (1..).zip(&mut hidden) {
                    *hidden = size(&format!("cbam_layer{stage}.channel_attn.fc.0.weight"), 0)?;
                }
                // The division rounds down, so that several ratios give the same shape in one stage.
                let ratio = (1..=STAGE_CHANNELS[0]).find(|&ratio| hidden_units(ratio) == hidden);
                let ratio = ratio.ok_or(ArchitectureError::UnknownRatio(hidden))?;
                Some(Attention { ratio, kernel: size(MASK, 2)? })
            }
        };
        let stem = if size("backbone.conv1.weight", 2)? == 7 { Stem::Imagenet } else { Stem::Cifar };
        let channels = size("backbone.conv1.weight", 1)?;
        let architecture = Self { classes: size("backbone.fc.weight", 0)?, channels, stem, attention };
        ResNet18::new(&architecture)?;
        Ok(architecture)
    }

    /// Tells whether both have parameters of the same shapes. Different ratios may give the same number of hidden units.
    pub fn same_shapes(&self, other: &Self) -> bool {
        let shapes = |a: &Self| {
            let attention = a.attention.map(|attention| (hidden_units(attention.ratio), attention.kernel));
            (a.classes, a.channels, a.stem, attention)
        };
        shapes(self) == shapes(other)
    }
}

/// Prefix of all names but those of the attention; torchvision's have none.
const PREFIX: &str = "backbone.";

/// Prefix of the names of the attention after each stage.
const ATTENTION: &str = "cbam_layer";

/// Number of hidden units of the channel attention in each stage.
fn hidden_units(ratio: usize) -> [usize; 4] {
    STAGE_CHANNELS.map(|channels| channels / ratio)
}

/// Parameter whose shape gives the ratio of the attention.
const SQUEEZE: &str = "cbam_layer1.channel_attn.fc.0.weight";
/// Parameter whose shape gives the kernel size of the attention.
const MASK: &str = "cbam_layer1.spatial_attn.conv.weight";

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("resnet18")?;
        if let Some(Attention { ratio, kernel }) = self.attention {
            write!(f, "-cbam (ratio {ratio}, kernel {kernel})")?;
        }
        let stem = match self.stem {
            Stem::Cifar => "3x3",
            Stem::Imagenet => "7x7",
        };
        let gray = if self.channels == RGB { "" } else { "gray images, " };
        write!(f, ", {stem} stem, {gray}{} classes", self.classes)
    }
}

/// Reason why a configuration describes no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchitectureError {
    /// There are fewer than two classes.
    #[error("a classifier needs at least two classes, not {0}")]
    Classes(usize),
    /// The images are neither RGB nor gray.
    #[error("images have three channels, or one if they are gray, not {0}")]
    Channels(usize),
    /// The hidden layer of a channel attention would be empty.
    #[error("an attention ratio of {ratio} leaves no hidden unit in a stage of {channels} channels")]
    Ratio {
        /// Reduction ratio.
        ratio: usize,
        /// Number of channels of the first stage that is too narrow.
        channels: usize,
    },
    /// A parameter of ResNet18 is missing.
    #[error("there is no {0}")]
    NotResNet18(String),
    /// No ratio gives these numbers of hidden units.
    #[error("no attention ratio leaves {0:?} hidden units")]
    UnknownRatio([usize; 4]),
    /// The kernel size is even, which would change the size of the mask.
    #[error("the attention kernel must be odd, not {0}")]
    Kernel(usize),
}

/// ResNet18 with optional CBAM: images `[N, 3, H, W]`, or `[N, 1, H, W]` if they are gray, -> logits `[N, classes]`.
#[derive(Debug, Clone)]
pub struct ResNet18 {
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
    blocks: [BasicBlock; 2],
    cbam: Option<Cbam>,
}

impl ResNet18 {
    /// Creates the network.
    ///
    /// # Errors
    /// [`ArchitectureError`] for fewer than two classes, images of two channels, or an attention that cannot be built.
    pub fn new(architecture: &Architecture) -> Result<Self, ArchitectureError> {
        let Architecture { classes, channels, stem, attention } = *architecture;
        if classes < 2 {
            return Err(ArchitectureError::Classes(classes));
        }
        if !matches!(channels, 1 | RGB) {
            return Err(ArchitectureError::Channels(channels));
        }
        if let Some(Attention { ratio, kernel }) = attention {
            if let Some(&channels) = STAGE_CHANNELS.iter().find(|&&c| ratio == 0 || c / ratio == 0) {
                return Err(ArchitectureError::Ratio { ratio, channels });
            }
            if kernel % 2 == 0 {
                return Err(ArchitectureError::Kernel(kernel));
            }
        }
        let stages = STAGE_CHANNELS
            .iter()
            .enumerate()
            .map(|(index, &channels)| Stage::new(index, channels, attention))
            .collect();
        let fc = Linear::new("backbone.fc", STAGE_CHANNELS[3], classes);
        Ok(Self { stem: StemLayers::new(stem, channels), stages, fc })
    }
}

impl Module for ResNet18 {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        ops.scope("backbone", || {
            let mut x = self.stem.forward(ops, x)?;
            for stage in &self.stages {
                x = stage.forward(ops, &x)?;
            }
            let pooled = ops.reduce(&x, Reduce::Mean, &[2, 3], false)?;
            ops.linear(&pooled, &self.fc)
        })
    }

    fn roles(&self) -> Roles {
        let stage = |number| [format!("{PREFIX}layer{number}.*")];
        let roles = Roles::default()
            .stem([format!("{PREFIX}conv1.*"), format!("{PREFIX}bn1.*")])
            .stages((1..=STAGE_CHANNELS.len()).map(stage))
            .head([format!("{PREFIX}fc.*")])
            .attention([format!("{ATTENTION}*")])
            .prefix(PREFIX)
            .cropped_from(format!("{PREFIX}conv1.weight"), 7);
        spellings::all()
            .fold(roles, |roles, (own, theirs)| roles.also_named(format!("{PREFIX}{own}"), theirs))
    }
}

impl StemLayers {
    fn new(stem: Stem, channels: usize) -> Self {
        let (name, bn1) = ("backbone.conv1", BatchNorm2d::new("backbone.bn1", STAGE_CHANNELS[0]));
        match stem {
            // The reference implementation replaces torchvision's stem by a new Conv2d with PyTorch's default.
            Stem::Cifar => {
                let conv1 = Conv2d { padding: 1, ..Conv2d::new(name, channels, STAGE_CHANNELS[0], 3) };
                Self { conv1, bn1, pool: None }
            }
            Stem::Imagenet => {
                let conv1 = Conv2d {
                    stride: 2,
                    padding: 3,
                    init: ConvInit::KaimingFanOut,
                    ..Conv2d::new(name, channels, STAGE_CHANNELS[0], 7)
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
    fn new(index: usize, channels: usize, attention: Option<Attention>) -> Self {
        let (in_channels, stride) = match index {
            0 => (STAGE_CHANNELS[0], 1),
            _ => (STAGE_CHANNELS[index - 1], 2),
        };
        let number = index + 1;
        let name = format!("backbone.layer{number}");
        Self {
            blocks: [
                BasicBlock::new(&format!("{name}.0"), in_channels, channels, stride),
                BasicBlock::new(&format!("{name}.1"), channels, channels, 1),
            ],
            cbam: attention.map(|attention| Cbam::new(&format!("cbam_layer{number}"), channels, attention)),
        }
    }
}

impl Module for Stage {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        let [first, second] = &self.blocks;
        let x = second.forward(ops, &first.forward(ops, x)?)?;
        match &self.cbam {
            Some(cbam) => cbam.forward(ops, &x),
            None => Ok(x),
        }
    }
}

/// Residual block: two 3x3 convolutions and a shortcut, which is a 1x1 convolution where the shape changes.
///
/// `[N, in, H, W]` -> `[N, out, H / stride, W / stride]`.
#[derive(Debug, Clone)]
pub struct BasicBlock {
    name: String,
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    downsample: Option<(Conv2d, BatchNorm2d)>,
}

impl BasicBlock {
    /// Creates a block; `name` is its full path.
    pub fn new(name: &str, in_channels: usize, out_channels: usize, stride: usize) -> Self {
        let conv = |part: &str, in_channels, kernel, stride| Conv2d {
            stride,
            padding: kernel / 2,
            init: ConvInit::KaimingFanOut,
            ..Conv2d::new(format!("{name}.{part}"), in_channels, out_channels, kernel)
        };
        let bn = |part: &str| BatchNorm2d::new(format!("{name}.{part}"), out_channels);
        Self {
            name: name.into(),
            conv1: conv("conv1", in_channels, 3, stride),
            bn1: bn("bn1"),
            conv2: conv("conv2", out_channels, 3, 1),
            bn2: bn("bn2"),
            downsample: (stride != 1 || in_channels != out_channels)
                .then(|| (conv("downsample.0", in_channels, 1, stride), bn("downsample.1"))),
        }
    }
}

impl Module for BasicBlock {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        ops.scope(&self.name, || {
            let y = ops.relu(&ops.batch_norm(&ops.conv2d(x, &self.conv1)?, &self.bn1)?)?;
            let y = ops.batch_norm(&ops.conv2d(&y, &self.conv2)?, &self.bn2)?;
            let sum = match &self.downsample {
                Some((conv, bn)) => ops.add(&y, &ops.batch_norm(&ops.conv2d(x, conv)?, bn)?)?,
                None => ops.add(&y, x)?,
            };
            ops.relu(&sum)
        })
    }
}
