//! Flags that choose a network, for `train fit`, `train find-lr` and `train summary`.

use clap::ValueEnum;
use ferronnx_models::layers::Attention;
use ferronnx_models::networks::{AttentionKind, Network, PlacedAttention, Placement, Stem};

/// Kernel size of ECA unless another is chosen.
const ECA_KERNEL: usize = 3;

/// Flags that choose a network.
#[derive(Debug, Clone, clap::Args)]
pub struct NetworkArgs {
    /// Network, by torchvision's name: resnet18, resnet34, resnet50, resnet101, mobilenet_v3_small or mobilenet_v3_large
    #[arg(long, value_name = "NAME", default_value = "resnet18")]
    pub network: Network,
    /// First layers of a ResNet [default: by image size]
    #[arg(long, value_enum)]
    pub stem: Option<StemArg>,
    /// Attention to add [default: cbam for resnet18, none for other networks]
    #[arg(long, value_enum)]
    pub attention: Option<AttentionArg>,
    /// Places of the attention: blocks, stages, last (after the last stage), or stages:1,2 [default: stages]
    #[arg(long, value_name = "PLACES")]
    pub attention_at: Option<Placement>,
    /// Reduction ratio of cbam and se [default: 16]
    #[arg(long, value_name = "N")]
    pub attention_ratio: Option<usize>,
    /// Kernel size of cbam and eca, odd [default: 7 for cbam, 3 for eca]
    #[arg(long, value_name = "N")]
    pub attention_kernel: Option<usize>,
}

/// Values of `--stem`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StemArg {
    /// 3x3 convolution without pooling
    Cifar,
    /// 7x7 convolution and pooling, both with stride 2
    Imagenet,
}

impl From<StemArg> for Stem {
    fn from(stem: StemArg) -> Self {
        match stem {
            StemArg::Cifar => Self::Cifar,
            StemArg::Imagenet => Self::Imagenet,
        }
    }
}

/// Values of `--attention`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AttentionArg {
    /// CBAM: channel and spatial attention
    Cbam,
    /// Squeeze-and-excitation: channel attention
    Se,
    /// Efficient channel attention: a convolution along the channels
    Eca,
    /// No attention beyond the network's own
    None,
}

impl NetworkArgs {
    /// The attention that is asked for.
    pub fn attention(&self) -> Option<PlacedAttention> {
        let usual = Attention::default();
        let ratio = self.attention_ratio.unwrap_or(usual.ratio);
        let kernel = |usual| self.attention_kernel.unwrap_or(usual);
        let kind = match self.attention_name() {
            AttentionArg::Cbam => AttentionKind::Cbam(Attention { ratio, kernel: kernel(usual.kernel) }),
            AttentionArg::Se => AttentionKind::Se { ratio },
            AttentionArg::Eca => AttentionKind::Eca { kernel: kernel(ECA_KERNEL) },
            AttentionArg::None => return None,
        };
        Some(PlacedAttention { kind, at: self.attention_at.unwrap_or_default() })
    }

    fn attention_name(&self) -> AttentionArg {
        self.attention.unwrap_or(match self.network.usual_attention() {
            Some(_) => AttentionArg::Cbam,
            None => AttentionArg::None,
        })
    }

    /// The stem for images of `size` pixels.
    pub fn stem(&self, size: u32) -> Stem {
        self.stem.map_or_else(|| self.network.stem_for_size(size), Into::into)
    }

    /// Flags that are given and change nothing, each with the reason.
    pub fn idle_flags(&self) -> Vec<(&'static str, &'static str)> {
        let name = self.attention_name();
        let without = match name {
            AttentionArg::None => "the network has no attention",
            AttentionArg::Se => "se has no kernel",
            _ => "eca has no ratio",
        };
        let plain = name == AttentionArg::None;
        [
            ("--attention-at", self.attention_at.is_some() && plain),
            ("--attention-ratio", self.attention_ratio.is_some() && (plain || name == AttentionArg::Eca)),
            ("--attention-kernel", self.attention_kernel.is_some() && (plain || name == AttentionArg::Se)),
        ]
        .into_iter()
        .filter(|(_, idle)| *idle)
        .map(|(flag, _)| (flag, without))
        .collect()
    }
}
