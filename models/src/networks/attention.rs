//! Attention of a network: its kind, and the places where it stands.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Architecture, ArchitectureError, Network, STAGES};
use crate::layers::{Attention, Cbam, EfficientChannelAttention, Path, SqueezeExcitation};
use crate::ops::{Module, Ops};

/// Kind of attention, with its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionKind {
    /// [`Cbam`]: channel and spatial attention.
    Cbam(Attention),
    /// [`SqueezeExcitation`].
    Se {
        /// Reduction ratio: the hidden layer has `channels / ratio` units.
        ratio: usize,
    },
    /// [`EfficientChannelAttention`].
    Eca {
        /// Kernel size of its convolution along the channels; odd.
        kernel: usize,
    },
}

/// Attention of a network: its kind, and the places where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct PlacedAttention {
    /// Kind of attention.
    pub kind: AttentionKind,
    /// Places in the network.
    pub at: Placement,
}

/// CBAM after every stage.
impl From<Attention> for PlacedAttention {
    fn from(settings: Attention) -> Self {
        Self { kind: AttentionKind::Cbam(settings), at: Placement::default() }
    }
}

/// Places of attention in a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Placement {
    /// In every block, after the last batch norm of the residual branch and before the addition (arXiv:1807.06521, Fig. 3).
    Blocks,
    /// After the stages that are true, in their order.
    Stages([bool; STAGES]),
}

impl Default for Placement {
    fn default() -> Self {
        Self::Stages([true; STAGES])
    }
}

/// A text that names no [`Placement`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no place for attention: use blocks, stages, last, or stages:1,2 with numbers from 1 to {STAGES}"
)]
pub struct ParsePlacementError(String);

impl FromStr for Placement {
    type Err = ParsePlacementError;

    fn from_str(text: &str) -> Result<Self, ParsePlacementError> {
        let mut stages = [false; STAGES];
        match text {
            "blocks" => return Ok(Self::Blocks),
            "stages" => return Ok(Self::default()),
            "last" => stages[STAGES - 1] = true,
            _ => {
                let wrong = || ParsePlacementError(text.into());
                for number in text.strip_prefix("stages:").ok_or_else(wrong)?.split(',') {
                    let index = number.trim().parse::<usize>().ok().and_then(|number| number.checked_sub(1));
                    *index.and_then(|index| stages.get_mut(index)).ok_or_else(wrong)? = true;
                }
            }
        }
        Ok(Self::Stages(stages))
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blocks => f.write_str("blocks"),
            Self::Stages(stages) if stages.iter().all(|stage| *stage) => f.write_str("stages"),
            Self::Stages(stages) => write!(f, "stages:{}", numbers(stages)),
        }
    }
}

impl TryFrom<String> for Placement {
    type Error = ParsePlacementError;

    fn try_from(text: String) -> Result<Self, ParsePlacementError> {
        text.parse()
    }
}

impl From<Placement> for String {
    fn from(placement: Placement) -> Self {
        placement.to_string()
    }
}

/// Numbers of the stages that are true, counted from 1: `1,4`.
fn numbers(stages: &[bool; STAGES]) -> String {
    let numbers = (1..).zip(stages).filter(|(_, stage)| **stage);
    numbers.map(|(number, _): (usize, _)| number.to_string()).collect::<Vec<_>>().join(",")
}

impl AttentionKind {
    /// Name of the kind, which is part of the names of its parameters.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Cbam(_) => "cbam",
            Self::Se { .. } => "se",
            Self::Eca { .. } => "eca",
        }
    }

    /// Reduction ratio, if the kind has a hidden layer.
    pub fn ratio(&self) -> Option<usize> {
        match *self {
            Self::Cbam(Attention { ratio, .. }) | Self::Se { ratio } => Some(ratio),
            Self::Eca { .. } => None,
        }
    }

    /// Kernel size, if the kind has a convolution with one.
    pub fn kernel(&self) -> Option<usize> {
        match *self {
            Self::Cbam(Attention { kernel, .. }) | Self::Eca { kernel } => Some(kernel),
            Self::Se { .. } => None,
        }
    }

    /// Numbers of hidden units in layers over `channels`.
    fn hidden(&self, channels: &[usize]) -> Vec<usize> {
        self.ratio().map_or_else(Vec::new, |ratio| channels.iter().map(|channels| channels / ratio).collect())
    }
}

impl PlacedAttention {
    /// Path of the attention after a stage, counted from 1: `cbam_layer1`.
    fn after_stage(kind: &str, stage: usize) -> Path {
        Path::new(format!("{kind}_layer{stage}"))
    }

    /// Builds the layer in a block over `channels`, if it has one.
    pub(super) fn in_block(attention: Option<Self>, block: &Path, channels: usize) -> Option<AttentionLayer> {
        let Self { kind, .. } = attention.filter(|attention| attention.at == Placement::Blocks)?;
        Some(AttentionLayer::new(&(block / kind.name()), channels, kind))
    }

    /// Builds the layer after a stage, counted from 1, if it has one.
    pub(super) fn at_stage(attention: Option<Self>, stage: usize, channels: usize) -> Option<AttentionLayer> {
        let Self { kind, at } = attention?;
        let here = matches!(at, Placement::Stages(stages) if stages[stage - 1]);
        here.then(|| AttentionLayer::new(&Self::after_stage(kind.name(), stage), channels, kind))
    }

    /// Paths and channels of all layers of `kind` that a network has at some place.
    fn places(network: Network, kind: &str, at: Placement) -> Vec<(Path, usize)> {
        let blocks = network.blocks();
        match at {
            Placement::Blocks => blocks.iter().map(|block| (&block.path / kind, block.channels)).collect(),
            Placement::Stages(stages) => {
                let last = |stage| blocks.iter().rfind(|block| block.stage == stage);
                let wanted = (1..=STAGES).filter(|stage| stages[stage - 1]).filter_map(last);
                wanted.map(|block| (Self::after_stage(kind, block.stage), block.channels)).collect()
            }
        }
    }

    fn channels(&self, network: Network) -> Vec<usize> {
        Self::places(network, self.kind.name(), self.at).into_iter().map(|(_, channels)| channels).collect()
    }

    /// Checks that the layers can be built in a network.
    pub(super) fn check(&self, network: Network) -> Result<(), ArchitectureError> {
        let channels = self.channels(network);
        if channels.is_empty() {
            return Err(ArchitectureError::NoPlace);
        }
        if let Some(ratio) = self.kind.ratio()
            && let Some(&channels) = channels.iter().find(|&&c| ratio == 0 || c / ratio == 0)
        {
            return Err(ArchitectureError::Ratio { ratio, channels });
        }
        match self.kind.kernel().filter(|kernel| kernel % 2 == 0) {
            Some(kernel) => Err(ArchitectureError::Kernel(kernel)),
            None => Ok(()),
        }
    }

    /// Tells whether both have parameters of the same shapes in a network: different ratios may give as many hidden units.
    pub(super) fn same_shapes(&self, other: &Self, network: Network) -> bool {
        let hidden = |attention: &Self| attention.kind.hidden(&attention.channels(network));
        let rest = |attention: &Self| (attention.kind.name(), attention.kind.kernel(), attention.at);
        rest(self) == rest(other) && hidden(self) == hidden(other)
    }

    /// Reads the attention of a network from the shapes of its parameters; none if it has no parameter of any.
    pub(super) fn of_shapes<'s>(
        network: Network,
        shape: &impl Fn(&str) -> Option<&'s [usize]>,
    ) -> Result<Option<Self>, ArchitectureError> {
        for probe in PROBES {
            let is_there = |path: &Path| shape(&format!("{path}.{}", probe.first)).is_some();
            let stages: [bool; STAGES] =
                std::array::from_fn(|index| is_there(&Self::after_stage(probe.kind, index + 1)));
            let in_blocks = || network.blocks().iter().any(|block| is_there(&(&block.path / probe.kind)));
            let at = match stages.contains(&true) {
                true => Placement::Stages(stages),
                false if in_blocks() => Placement::Blocks,
                false => continue,
            };
            return probe
                .read(&Self::places(network, probe.kind, at), shape)
                .map(|kind| Some(Self { kind, at }));
        }
        Ok(None)
    }
}

/// Parameters that tell the settings of a kind of attention, by the ends of their names.
struct Probe {
    kind: &'static str,
    /// Parameter that every such layer has; its first dimension is the hidden layer, if there is one.
    first: &'static str,
    /// Parameter whose third dimension is the kernel size, if there is one.
    kernel: Option<&'static str>,
}

const PROBES: [Probe; 3] = [
    Probe { kind: "cbam", first: "channel_attn.fc.0.weight", kernel: Some("spatial_attn.conv.weight") },
    Probe { kind: "se", first: "fc1.weight", kernel: None },
    Probe { kind: "eca", first: "conv.weight", kernel: Some("conv.weight") },
];

impl Probe {
    /// Reads the settings from the shapes at all places.
    fn read<'s>(
        &self,
        places: &[(Path, usize)],
        shape: &impl Fn(&str) -> Option<&'s [usize]>,
    ) -> Result<AttentionKind, ArchitectureError> {
        let size = |(path, _): &(Path, usize), end: &str, axis: usize| {
            let name = format!("{path}.{end}");
            shape(&name).and_then(|shape| shape.get(axis).copied()).ok_or(ArchitectureError::Missing(name))
        };
        let first = places.first().ok_or(ArchitectureError::NoPlace)?;
        let kernel = || self.kernel.map_or(Ok(1), |end| size(first, end, 2));
        if self.kind == "eca" {
            return Ok(AttentionKind::Eca { kernel: kernel()? });
        }
        let hidden = places.iter().map(|place| size(place, self.first, 0)).collect::<Result<Vec<_>, _>>()?;
        let most = places.iter().map(|(_, channels)| *channels).max().unwrap_or(1);
        // The division rounds down, so that several ratios may give the same shapes: the usual one is preferred.
        let fits = |ratio: &usize| places.iter().zip(&hidden).all(|((_, c), hidden)| c / ratio == *hidden);
        let ratio = std::iter::once(Attention::default().ratio)
            .chain(1..=most)
            .find(fits)
            .ok_or(ArchitectureError::UnknownRatio(hidden))?;
        Ok(match self.kind {
            "se" => AttentionKind::Se { ratio },
            _ => AttentionKind::Cbam(Attention { ratio, kernel: kernel()? }),
        })
    }
}

/// A layer of attention.
#[derive(Debug, Clone, PartialEq)]
pub enum AttentionLayer {
    /// Channel and spatial attention.
    Cbam(Cbam),
    /// Squeeze-and-excitation.
    Se(SqueezeExcitation),
    /// Efficient channel attention.
    Eca(EfficientChannelAttention),
}

impl AttentionLayer {
    /// Creates a layer over `channels`, which are at least as many as the ratio.
    pub fn new(path: &Path, channels: usize, kind: AttentionKind) -> Self {
        match kind {
            AttentionKind::Cbam(settings) => Self::Cbam(Cbam::new(path, channels, settings)),
            AttentionKind::Se { ratio } => Self::Se(SqueezeExcitation::new(path, channels, channels / ratio)),
            AttentionKind::Eca { kernel } => Self::Eca(EfficientChannelAttention::new(path, kernel)),
        }
    }

    /// Applies the layer of a place, if there is one.
    pub(super) fn apply<O: Ops>(layer: Option<&Self>, ops: &O, x: O::Value) -> Result<O::Value, O::Error> {
        match layer {
            Some(layer) => layer.forward(ops, &x),
            None => Ok(x),
        }
    }
}

impl Module for AttentionLayer {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        match self {
            Self::Cbam(layer) => layer.forward(ops, x),
            Self::Se(layer) => layer.forward(ops, x),
            Self::Eca(layer) => layer.forward(ops, x),
        }
    }
}

/// Patterns of the parameters of all attention that [`PlacedAttention`] can add to blocks under `blocks`.
pub(super) fn patterns(blocks: &Path) -> Vec<String> {
    let patterns = PROBES.iter().map(|probe| {
        let kind = probe.kind;
        [format!("{kind}_layer*"), format!("{blocks}*.{kind}.*")]
    });
    patterns.flatten().collect()
}

/// Attention in cards and runs: `{"ratio": 16, "kernel": 7}` is CBAM after every stage.
#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(default = "cbam", skip_serializing_if = "is_cbam")]
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ratio: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kernel: Option<usize>,
    #[serde(default, skip_serializing_if = "is_default")]
    at: Placement,
}

fn cbam() -> String {
    "cbam".into()
}

fn is_cbam(kind: &str) -> bool {
    kind == "cbam"
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_default(at: &Placement) -> bool {
    *at == Placement::default()
}

impl From<PlacedAttention> for Stored {
    fn from(PlacedAttention { kind, at }: PlacedAttention) -> Self {
        Self { kind: kind.name().into(), ratio: kind.ratio(), kernel: kind.kernel(), at }
    }
}

/// Attention of a kind or with settings that are not known.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no kind of attention that is known, or its settings are missing")]
struct UnknownAttention(String);

impl TryFrom<Stored> for PlacedAttention {
    type Error = UnknownAttention;

    fn try_from(Stored { kind, ratio, kernel, at }: Stored) -> Result<Self, UnknownAttention> {
        let kind = match (kind.as_str(), ratio, kernel) {
            ("cbam", Some(ratio), Some(kernel)) => AttentionKind::Cbam(Attention { ratio, kernel }),
            ("se", Some(ratio), None) => AttentionKind::Se { ratio },
            ("eca", None, Some(kernel)) => AttentionKind::Eca { kernel },
            _ => return Err(UnknownAttention(kind)),
        };
        Ok(Self { kind, at })
    }
}

impl Architecture {
    /// Describes the attention: `-cbam (ratio 16, kernel 7)`, with its places unless it is after every stage.
    pub(super) fn attention_in_words(&self) -> String {
        let Some(PlacedAttention { kind, at }) = self.attention else { return String::new() };
        let ratio = kind.ratio().map(|ratio| format!("ratio {ratio}"));
        let kernel = kind.kernel().map(|kernel| format!("kernel {kernel}"));
        let settings: Vec<_> = ratio.into_iter().chain(kernel).collect();
        let place = match at {
            Placement::Blocks => " in its blocks".into(),
            at if at == Placement::default() => String::new(),
            Placement::Stages(stages) => format!(" after stage {}", numbers(&stages)),
        };
        format!("-{} ({}){place}", kind.name(), settings.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_parsed_and_written_alike() {
        for (text, written) in [
            ("blocks", "blocks"),
            ("stages", "stages"),
            ("last", "stages:4"),
            ("stages:4", "stages:4"),
            ("stages:3, 1", "stages:1,3"),
            ("stages:1,2,3,4", "stages"),
        ] {
            let placement: Placement = text.parse().unwrap();
            assert_eq!(placement.to_string(), written);
            assert_eq!(written.parse(), Ok(placement));
        }
        for wrong in ["", "block", "stages:", "stages:0", "stages:5", "stages:1,x", "stages:-1", "1"] {
            assert!(wrong.parse::<Placement>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn files_of_earlier_versions_have_cbam_after_the_stages() {
        let usual = PlacedAttention::from(Attention::default());
        let text = r#"{"ratio":16,"kernel":7}"#;
        assert_eq!(serde_json::to_string(&usual).unwrap(), text);
        assert_eq!(serde_json::from_str::<PlacedAttention>(text).unwrap(), usual);
        for text in [
            r#"{"kind":"se","ratio":8,"at":"blocks"}"#,
            r#"{"kind":"eca","kernel":3,"at":"stages:4"}"#,
            r#"{"ratio":8,"kernel":3,"at":"blocks"}"#,
        ] {
            let read: PlacedAttention = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
        }
        for wrong in [
            "{}",
            r#"{"ratio":16}"#,
            r#"{"kind":"bam","ratio":16}"#,
            r#"{"kind":"eca","ratio":16}"#,
            r#"{"ratio":16,"kernel":7,"at":"head"}"#,
        ] {
            assert!(serde_json::from_str::<PlacedAttention>(wrong).is_err(), "{wrong}");
        }
    }
}
