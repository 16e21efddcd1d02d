//! Built-in networks: torchvision's ResNets and MobileNetV3s, with attention of choice.
//!
//! The layers are torchvision's, and so are the names of the parameters, with `backbone.` before them. An [`Architecture`]
//! is the configuration that cards, runs and checkpoints keep, a [`Classifier`] the network that is built from it.

mod architecture;
mod attention;
mod mobilenet_v3;
mod resnet;
mod spellings;

use crate::ops::{Module, Ops};
use crate::roles::Roles;

pub use architecture::{Architecture, ArchitectureError, Network, ParseNetworkError, Stem};
pub use attention::{AttentionKind, AttentionLayer, ParsePlacementError, PlacedAttention, Placement};
pub use mobilenet_v3::MobileNetV3;
pub use resnet::{ResNet, ResidualBlock};

/// Prefix of all names but those of attention after stages; torchvision's have none.
const PREFIX: &str = "backbone";

/// Number of stages of every network.
pub const STAGES: usize = 4;

/// Built-in network: images `[N, 3, H, W]`, or `[N, 1, H, W]` if they are gray, -> logits `[N, classes]`.
#[derive(Debug, Clone)]
pub enum Classifier {
    /// A ResNet.
    ResNet(Box<ResNet>),
    /// A MobileNetV3.
    MobileNetV3(Box<MobileNetV3>),
}

impl Classifier {
    /// Builds the network of a configuration.
    ///
    /// # Errors
    /// [`ArchitectureError`] for fewer than two classes, images of two channels, a stem that the network does not have, or
    /// an attention that cannot be built.
    pub fn new(architecture: &Architecture) -> Result<Self, ArchitectureError> {
        architecture.check()?;
        Ok(match architecture.network.is_resnet() {
            true => Self::ResNet(ResNet::new(architecture).into()),
            false => Self::MobileNetV3(MobileNetV3::new(architecture).into()),
        })
    }
}

impl Module for Classifier {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        match self {
            Self::ResNet(network) => network.forward(ops, x),
            Self::MobileNetV3(network) => network.forward(ops, x),
        }
    }

    fn roles(&self) -> Roles {
        match self {
            Self::ResNet(network) => network.roles(),
            Self::MobileNetV3(network) => network.roles(),
        }
    }
}

/// A network's block, and the stage that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Block {
    path: crate::layers::Path,
    /// Number of output channels.
    channels: usize,
    /// Stage, counted from 1.
    stage: usize,
}
