//! Names that other programs give to the modules of a ResNet.

use super::architecture::Network;

/// Attention in a block, by our names and those of other programs that compute the same. All are checked for their shapes,
/// so that variants with biases or batch norms are refused.
const IN_BLOCKS: [(&str, &str); 13] = [
    // https://github.com/luuuyi/CBAM.PyTorch and its many copies: 1x1 convolutions as MLP
    ("cbam.channel_attn.fc.0.", "ca.fc1."),
    ("cbam.channel_attn.fc.2.", "ca.fc2."),
    ("cbam.channel_attn.fc.0.", "ca.fc.0."),
    ("cbam.channel_attn.fc.2.", "ca.fc.2."),
    ("cbam.channel_attn.fc.0.", "ca.sharedMLP.0."),
    ("cbam.channel_attn.fc.2.", "ca.sharedMLP.2."),
    ("cbam.channel_attn.fc.0.", "cbam.channel_attention.fc.0."),
    ("cbam.channel_attn.fc.2.", "cbam.channel_attention.fc.2."),
    ("cbam.spatial_attn.conv.", "sa.conv1."),
    ("cbam.spatial_attn.conv.", "sa.conv."),
    ("cbam.spatial_attn.conv.", "cbam.spatial_attention.conv."),
    // https://github.com/Cadene/pretrained-models.pytorch
    ("se.", "se_module."),
    // timm
    ("eca.conv.", "se.conv."),
];

/// Convolutions of a block in Hugging Face's transformers, which numbers them.
const HUGGING_FACE: [(&str, &str); 8] = [
    ("conv1.", "layer.0.convolution."),
    ("bn1.", "layer.0.normalization."),
    ("conv2.", "layer.1.convolution."),
    ("bn2.", "layer.1.normalization."),
    ("conv3.", "layer.2.convolution."),
    ("bn3.", "layer.2.normalization."),
    ("downsample.0.", "shortcut.convolution."),
    ("downsample.1.", "shortcut.normalization."),
];

/// Modules of a ResNet by torchvision's names, and those of other programs that compute the same.
pub(super) fn of_resnet(network: Network) -> impl Iterator<Item = (String, String)> {
    // A classifier behind dropout: `nn.Sequential(nn.Dropout(), nn.Linear(512, classes))`.
    let head = (0..4).map(|index| ("fc.".into(), format!("fc.{index}.")));
    // A classifier that is no part of the backbone; OpenMMLab calls it `head.fc`.
    let head = head.chain(["classifier.", "head.", "head.fc."].map(|name| ("fc.".into(), name.into())));
    // https://github.com/kuangliu/pytorch-cifar
    let cifar = blocks(network)
        .map(|(stage, block)| format!("layer{stage}.{block}."))
        .map(|block| (format!("{block}downsample."), format!("{block}shortcut.")));
    let cifar = cifar.chain([("fc.".into(), "linear.".into())]);
    // `ResNetModel` has the names of `ResNetForImageClassification` without the first part.
    let bare = |(own, theirs): (String, String)| Some((own, theirs.strip_prefix("resnet.")?.to_owned()));
    let hugging_face = move || hugging_face(network);
    head.chain(cifar).chain(attention(network)).chain(hugging_face()).chain(hugging_face().filter_map(bare))
}

/// Stage, counted from 1, and number, counted from 0, of each block.
fn blocks(network: Network) -> impl Iterator<Item = (usize, usize)> {
    let mut before = 0;
    let mut index = 0;
    network.blocks().into_iter().map(move |block| {
        index = if block.stage == before { index + 1 } else { 0 };
        before = block.stage;
        (block.stage, index)
    })
}

/// Names of attention in blocks.
fn attention(network: Network) -> impl Iterator<Item = (String, String)> {
    blocks(network).flat_map(|(stage, block)| {
        IN_BLOCKS.map(|(own, theirs)| {
            (format!("layer{stage}.{block}.{own}"), format!("layer{stage}.{block}.{theirs}"))
        })
    })
}

/// Names of `ResNetForImageClassification` in Hugging Face's transformers.
fn hugging_face(network: Network) -> impl Iterator<Item = (String, String)> {
    let ends = [
        ("conv1.", "resnet.embedder.embedder.convolution."),
        ("bn1.", "resnet.embedder.embedder.normalization."),
        ("fc.", "classifier.1."),
    ];
    let blocks = blocks(network).flat_map(|(stage, block)| {
        HUGGING_FACE.map(|(own, theirs)| {
            let own = format!("layer{stage}.{block}.{own}");
            (own, format!("resnet.encoder.stages.{}.layers.{block}.{theirs}", stage - 1))
        })
    });
    ends.map(|(own, theirs)| (own.into(), theirs.into())).into_iter().chain(blocks)
}

#[cfg(test)]
mod tests {
    use crate::Module;
    use crate::networks::{Architecture, Classifier, Network};

    #[test]
    fn names_of_other_programs_are_known() {
        let roles = Classifier::new(&Architecture::default()).unwrap().roles();
        for (own, theirs) in [
            ("backbone.conv1.weight", "conv1.weight"),
            ("backbone.conv1.weight", "resnet.embedder.embedder.convolution.weight"),
            ("backbone.bn1.running_var", "resnet.embedder.embedder.normalization.running_var"),
            ("backbone.layer3.1.conv2.weight", "resnet.encoder.stages.2.layers.1.layer.1.convolution.weight"),
            ("backbone.layer2.0.bn1.bias", "resnet.encoder.stages.1.layers.0.layer.0.normalization.bias"),
            (
                "backbone.layer4.0.downsample.1.running_mean",
                "resnet.encoder.stages.3.layers.0.shortcut.normalization.running_mean",
            ),
            ("backbone.layer2.0.downsample.0.weight", "layer2.0.shortcut.0.weight"),
            ("backbone.fc.bias", "linear.bias"),
            ("backbone.fc.bias", "fc.1.bias"),
            ("backbone.fc.weight", "classifier.weight"),
            ("backbone.fc.weight", "classifier.1.weight"),
            ("backbone.fc.weight", "head.fc.weight"),
            ("backbone.layer1.0.conv1.weight", "encoder.stages.0.layers.0.layer.0.convolution.weight"),
        ] {
            assert!(roles.spellings(own).contains(&theirs.to_owned()), "{own}: {:?}", roles.spellings(own));
        }
        assert_eq!(roles.spellings("cbam_layer1.spatial_attn.conv.weight").len(), 1);

        let deep = Architecture { network: Network::Resnet101, ..Architecture::default() };
        let roles = Classifier::new(&deep).unwrap().roles();
        for (own, theirs) in [
            ("backbone.layer3.22.cbam.channel_attn.fc.2.weight", "layer3.22.ca.fc2.weight"),
            ("backbone.layer1.0.cbam.spatial_attn.conv.weight", "layer1.0.sa.conv1.weight"),
            ("backbone.layer2.1.se.fc1.bias", "layer2.1.se_module.fc1.bias"),
            (
                "backbone.layer3.22.conv3.weight",
                "resnet.encoder.stages.2.layers.22.layer.2.convolution.weight",
            ),
        ] {
            assert!(roles.spellings(own).contains(&theirs.to_owned()), "{own}: {:?}", roles.spellings(own));
        }
    }
}
