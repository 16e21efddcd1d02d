//! Configuration of a built-in network.

use std::fmt;
use std::str::FromStr;

use ndarray::ArrayBase;
use serde::{Deserialize, Serialize};

use super::{Block, PREFIX, PlacedAttention, STAGES, mobilenet_v3, resnet};
use crate::card::IMAGENET_MIN_SIZE;
use crate::layers::Attention;
use crate::weights::Weights;

/// Built-in network, by torchvision's name for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// ResNet with 18 layers: basic blocks, 2 a stage.
    #[default]
    Resnet18,
    /// ResNet with 34 layers: basic blocks.
    Resnet34,
    /// ResNet with 50 layers: bottleneck blocks.
    Resnet50,
    /// ResNet with 101 layers: bottleneck blocks.
    Resnet101,
    /// Small MobileNetV3.
    MobilenetV3Small,
    /// Large MobileNetV3.
    MobilenetV3Large,
}

/// A name that is no [`Network`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no network that is built in: use {names}", names = Network::ALL.map(Network::name).join(", "))]
pub struct ParseNetworkError(String);

impl FromStr for Network {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Self, ParseNetworkError> {
        let named = Self::ALL.into_iter().find(|network| network.name() == text);
        named.ok_or_else(|| ParseNetworkError(text.into()))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Network {
    /// All networks.
    pub const ALL: [Self; 6] = [
        Self::Resnet18,
        Self::Resnet34,
        Self::Resnet50,
        Self::Resnet101,
        Self::MobilenetV3Small,
        Self::MobilenetV3Large,
    ];

    /// Name in torchvision.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resnet18 => "resnet18",
            Self::Resnet34 => "resnet34",
            Self::Resnet50 => "resnet50",
            Self::Resnet101 => "resnet101",
            Self::MobilenetV3Small => "mobilenet_v3_small",
            Self::MobilenetV3Large => "mobilenet_v3_large",
        }
    }

    /// True for ResNets, which have a choice of stems.
    pub fn is_resnet(self) -> bool {
        !matches!(self, Self::MobilenetV3Small | Self::MobilenetV3Large)
    }

    /// Attention that the network has unless another is chosen: CBAM after every stage for ResNet18, none for others.
    pub fn usual_attention(self) -> Option<PlacedAttention> {
        (self == Self::Resnet18).then(|| Attention::default().into())
    }

    /// Usual stem for square images of `size` pixels.
    pub fn stem_for_size(self, size: u32) -> Stem {
        if self.is_resnet() { Stem::for_size(size) } else { Stem::Imagenet }
    }

    /// Full name of the classifier's weight, `[classes, features]`.
    pub fn head_weight(self) -> &'static str {
        if self.is_resnet() { "backbone.fc.weight" } else { "backbone.classifier.3.weight" }
    }

    /// Full name of the first convolution's weight, `[filters, channels, kernel, kernel]`.
    fn stem_weight(self) -> &'static str {
        if self.is_resnet() { "backbone.conv1.weight" } else { "backbone.features.0.0.weight" }
    }

    /// Blocks of the network, in their order.
    pub(super) fn blocks(self) -> Vec<Block> {
        if self.is_resnet() { resnet::blocks(self) } else { mobilenet_v3::blocks(self) }
    }

    /// Tells whether parameters of these names and shapes have the depth and width of this network.
    fn fits<'s>(self, shape: &impl Fn(&str) -> Option<&'s [usize]>) -> bool {
        if self.is_resnet() { resnet::fits(self, shape) } else { mobilenet_v3::fits(self, shape) }
    }
}

/// Configuration of a built-in network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Architecture {
    /// Network.
    pub network: Network,
    /// Number of classes.
    pub classes: usize,
    /// Channels of the images: 3 for RGB, 1 for gray.
    #[serde(default = "rgb", skip_serializing_if = "is_rgb")]
    pub channels: usize,
    /// Layers before the first stage.
    pub stem: Stem,
    /// Attention that is added to the network; MobileNet's own squeeze-and-excitation is always there.
    pub attention: Option<PlacedAttention>,
}

impl Default for Architecture {
    fn default() -> Self {
        let network = Network::default();
        Self { network, classes: 10, channels: RGB, stem: Stem::Cifar, attention: network.usual_attention() }
    }
}

/// Channels of RGB images.
const RGB: usize = 3;

fn rgb() -> usize {
    RGB
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_rgb(channels: &usize) -> bool {
    *channels == RGB
}

/// Stem of the network: the layers before the first stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stem {
    /// A 3x3 convolution with stride 1, for small inputs.
    Cifar,
    /// Torchvision's stem, for photos. ResNet: a 7x7 convolution with stride 2 and a 3x3 max pool with stride 2; MobileNetV3,
    /// which has no other: a 3x3 convolution with stride 2.
    Imagenet,
}

impl Stem {
    /// Usual stem of a ResNet for square images of `size` pixels.
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
    /// Checks that the configuration describes a network.
    ///
    /// # Errors
    /// [`ArchitectureError`] for fewer than two classes, images of two channels, a stem that the network does not have, or
    /// an attention that cannot be built.
    pub fn check(&self) -> Result<(), ArchitectureError> {
        let Self { network, classes, channels, stem, attention } = *self;
        if classes < 2 {
            return Err(ArchitectureError::Classes(classes));
        }
        if !matches!(channels, 1 | RGB) {
            return Err(ArchitectureError::Channels(channels));
        }
        if !network.is_resnet() && stem != Stem::Imagenet {
            return Err(ArchitectureError::Stem(network));
        }
        attention.map_or(Ok(()), |attention| attention.check(network))
    }

    /// Reads the configuration from the shapes of weights.
    ///
    /// # Errors
    /// [`ArchitectureError`] when a parameter is missing, or the shapes are those of no configuration.
    pub fn of(weights: &Weights) -> Result<Self, ArchitectureError> {
        let shape = |name: &str| weights.get(name).map(ArrayBase::shape);
        let network = Network::ALL.into_iter().find(|network| network.fits(&shape)).unwrap_or_default();
        Self::of_shapes(network, shape)
    }

    /// Reads the configuration of a network from the shapes of its parameters; `shape` gives that of a name.
    ///
    /// # Errors
    /// As of [`of`](Self::of).
    pub fn of_shapes<'s>(
        network: Network,
        shape: impl Fn(&str) -> Option<&'s [usize]>,
    ) -> Result<Self, ArchitectureError> {
        let size = |name: &str, axis: usize| {
            let size = shape(name).and_then(|shape| shape.get(axis).copied());
            size.ok_or_else(|| ArchitectureError::Missing(name.into()))
        };
        let stem = match size(network.stem_weight(), 2)? {
            3 if network.is_resnet() => Stem::Cifar,
            _ => Stem::Imagenet,
        };
        let architecture = Self {
            network,
            classes: size(network.head_weight(), 0)?,
            channels: size(network.stem_weight(), 1)?,
            stem,
            attention: PlacedAttention::of_shapes(network, &shape)?,
        };
        architecture.check()?;
        Ok(architecture)
    }

    /// Tells whether both have parameters of the same shapes. Different ratios may give the same number of hidden units.
    pub fn same_shapes(&self, other: &Self) -> bool {
        let rest = |a: &Self| (a.network, a.classes, a.channels, a.stem);
        rest(self) == rest(other)
            && match (self.attention, other.attention) {
                (Some(own), Some(other)) => own.same_shapes(&other, self.network),
                (own, other) => own.is_none() && other.is_none(),
            }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stem = match self.stem {
            _ if !self.network.is_resnet() => "",
            Stem::Cifar => "3x3 stem, ",
            Stem::Imagenet => "7x7 stem, ",
        };
        let gray = if self.channels == RGB { "" } else { "gray images, " };
        write!(f, "{}{}, {stem}{gray}{} classes", self.network, self.attention_in_words(), self.classes)
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
    /// The network has no stem for small images.
    #[error("{0} has one stem, which is for photos, and none for small images")]
    Stem(Network),
    /// Attention stands at no place of the network.
    #[error("attention needs a place in the network: its blocks, or after some of its {STAGES} stages")]
    NoPlace,
    /// The hidden layer of an attention would be empty.
    #[error("an attention ratio of {ratio} leaves no hidden unit of {channels} channels")]
    Ratio {
        /// Reduction ratio.
        ratio: usize,
        /// Number of channels of the first place that is too narrow.
        channels: usize,
    },
    /// A parameter of the network is missing.
    #[error("there is no {0}")]
    Missing(String),
    /// No ratio gives these numbers of hidden units.
    #[error("no attention ratio leaves {0:?} hidden units")]
    UnknownRatio(Vec<usize>),
    /// The kernel size is even, which would change the size of what the attention scales.
    #[error("the attention kernel must be odd, not {0}")]
    Kernel(usize),
}

/// Full name of a part of the backbone.
pub(super) fn backbone(part: &str) -> crate::layers::Path {
    crate::layers::Path::new(PREFIX) / part
}
