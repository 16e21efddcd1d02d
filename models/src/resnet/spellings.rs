//! Names that other programs give to the modules of a ResNet18.

/// Modules of a ResNet18 by torchvision's names, and those of other programs that compute the same.
pub fn all() -> impl Iterator<Item = (String, String)> {
    // A classifier behind dropout: `nn.Sequential(nn.Dropout(), nn.Linear(512, classes))`.
    let head = (0..4).map(|index| ("fc.".into(), format!("fc.{index}.")));
    // A classifier that is no part of the backbone; OpenMMLab calls it `head.fc`.
    let head = head.chain(["classifier.", "head.", "head.fc."].map(|name| ("fc.".into(), name.into())));
    // https://github.com/kuangliu/pytorch-cifar
    let cifar =
        (2..=4).map(|stage| (format!("layer{stage}.0.downsample."), format!("layer{stage}.0.shortcut.")));
    let cifar = cifar.chain([("fc.".into(), "linear.".into())]);
    // `ResNetModel` has the names of `ResNetForImageClassification` without the first part.
    let bare = |(own, theirs): (String, String)| Some((own, theirs.strip_prefix("resnet.")?.to_owned()));
    head.chain(cifar).chain(hugging_face()).chain(hugging_face().filter_map(bare))
}

/// Names of `ResNetForImageClassification` in Hugging Face's transformers.
fn hugging_face() -> impl Iterator<Item = (String, String)> {
    let ends = [
        ("conv1.", "resnet.embedder.embedder.convolution."),
        ("bn1.", "resnet.embedder.embedder.normalization."),
        ("fc.", "classifier.1."),
    ];
    let blocks = (0..4).flat_map(|stage| (0..2).map(move |block| (stage, block)));
    let parts = [
        ("conv1.", "layer.0.convolution."),
        ("bn1.", "layer.0.normalization."),
        ("conv2.", "layer.1.convolution."),
        ("bn2.", "layer.1.normalization."),
        ("downsample.0.", "shortcut.convolution."),
        ("downsample.1.", "shortcut.normalization."),
    ];
    let blocks = blocks.flat_map(move |(stage, block)| {
        parts.map(|(own, theirs)| {
            let own = format!("layer{}.{block}.{own}", stage + 1);
            (own, format!("resnet.encoder.stages.{stage}.layers.{block}.{theirs}"))
        })
    });
    ends.map(|(own, theirs)| (own.into(), theirs.into())).into_iter().chain(blocks)
}

#[cfg(test)]
mod tests {
    use crate::Module;
    use crate::resnet::{Architecture, ResNet18};

    #[test]
    fn names_of_other_programs_are_known() {
        let roles = ResNet18::new(&Architecture::default()).unwrap().roles();
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
    }
}
