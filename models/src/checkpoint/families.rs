//! Networks that are recognised by the names and shapes of their tensors, for messages.

use std::collections::BTreeMap;
use std::fmt;

use super::{Checkpoint, StoredTensor};

/// Network that a checkpoint seems to hold: a guess for messages, which nothing else depends on.
///
/// The text continues a sentence: `: it seems to be a ResNet34`, or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seems(pub Option<String>);

impl fmt::Display for Seems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(network) => write!(f, ": it seems to be {network}"),
            None => Ok(()),
        }
    }
}

/// Networks, each with ends of names that all have to occur. The first that matches counts.
const FAMILIES: [(&str, &[&str]); 54] = [
    (
        "a network with pruned weights: call torch.nn.utils.prune.remove before saving it",
        &["conv1.weight_orig"],
    ),
    (
        "a network with parametrized weights: call remove_parametrizations before saving it",
        &["conv1.parametrizations.weight.original0"],
    ),
    ("a network that FSDP has flattened: save its full state dict", &["_flat_param"]),
    ("a LoRA adapter, which has no weights of its own network", &["lora_A.weight"]),
    ("a Stable Diffusion model", &["model.diffusion_model.out.2.weight"]),
    ("a CLIP model", &["logit_scale", "visual.proj"]),
    ("a CLIP model", &["logit_scale", "visual_projection.weight"]),
    ("a BERT model", &["embeddings.word_embeddings.weight", "encoder.layer.0.attention.self.query.weight"]),
    ("a large language model", &["layers.0.self_attn.q_proj.weight", "embed_tokens.weight"]),
    ("a GPT-2 model", &["wte.weight", "h.0.attn.c_attn.weight"]),
    ("a Faster R-CNN or another detector of torchvision", &["rpn.head.cls_logits.weight"]),
    ("a DETR detector", &["query_embed.weight", "class_embed.weight"]),
    (
        "a YOLO model of Ultralytics",
        &["model.0.conv.weight", "model.1.conv.weight", "model.2.cv1.conv.weight"],
    ),
    ("a YOLO model", &["model.0.conv.weight", "model.1.conv.weight"]),
    ("a YOLO model", &["model.0.conv.conv.weight"]),
    ("a YOLOX model", &["backbone.backbone.stem.conv.conv.weight"]),
    ("a DINOv2 vision transformer", &["cls_token", "blocks.0.ls1.gamma", "blocks.0.attn.qkv.weight"]),
    ("a BEiT vision transformer", &["cls_token", "blocks.0.attn.q_bias"]),
    ("a vision transformer (ViT) of timm", &["cls_token", "blocks.0.attn.qkv.weight"]),
    ("a vision transformer (ViT) of timm", &["pos_embed", "blocks.0.attn.qkv.weight"]),
    ("a vision transformer (ViT) of torchvision", &["class_token", "conv_proj.weight"]),
    (
        "a vision transformer (ViT) of Hugging Face",
        &["embeddings.cls_token", "embeddings.patch_embeddings.projection.weight"],
    ),
    ("a Swin transformer", &["blocks.0.attn.relative_position_bias_table"]),
    ("a Swin transformer", &["features.1.0.attn.relative_position_bias_table"]),
    ("a MaxViT", &["attn_block.attn.rel_pos.relative_position_bias_table"]),
    ("a ConvNeXt of Hugging Face", &["stages.0.layers.0.dwconv.weight"]),
    ("a ConvNeXt of timm", &["stages.0.blocks.0.conv_dw.weight", "stages.0.blocks.0.mlp.fc1.weight"]),
    ("a ConvNeXt", &["stages.0.0.dwconv.weight"]),
    ("a ConvNeXt of torchvision", &["features.1.0.layer_scale"]),
    ("an EfficientNet of torchvision", &["features.1.0.block.1.fc1.weight"]),
    ("an EfficientNetV2 of torchvision", &["features.1.0.block.0.0.weight"]),
    ("an EfficientNet (efficientnet_pytorch)", &["_blocks.0._depthwise_conv.weight"]),
    ("a MobileNetV3 of timm", &["blocks.0.0.conv_dw.weight", "conv_head.weight", "conv_head.bias"]),
    ("an EfficientNet or MobileNetV2 of timm", &["blocks.0.0.conv_dw.weight", "conv_head.weight"]),
    ("a MobileNetV3 of torchvision", &["features.1.block.0.0.weight", "classifier.3.weight"]),
    ("a MobileNetV2 of torchvision", &["features.1.conv.0.0.weight"]),
    ("an MNASNet", &["layers.8.0.layers.0.weight"]),
    ("a ShuffleNetV2", &["stage2.0.branch1.0.weight"]),
    ("a SqueezeNet", &["features.3.squeeze.weight"]),
    ("a DenseNet", &["denseblock1.denselayer1.conv1.weight"]),
    ("an Inception v3", &["Mixed_5b.branch1x1.conv.weight"]),
    ("a GoogLeNet", &["inception3a.branch1.conv.weight"]),
    ("an Xception", &["block1.rep.0.conv1.weight"]),
    ("a RegNet of torchvision", &["trunk_output.block1.block1-0.f.a.0.weight"]),
    ("a RegNet of timm", &["s1.b1.conv1.conv.weight"]),
    ("a VGG", &["features.0.weight", "classifier.6.weight", "features.28.weight"]),
    ("a VGG", &["features.0.weight", "classifier.6.weight", "features.25.weight"]),
    ("an AlexNet", &["features.0.weight", "classifier.6.weight", "features.10.weight"]),
    ("a DLA", &["level5.tree1.conv1.weight"]),
    ("an HRNet", &["stage2.0.branches.0.0.conv1.weight"]),
    ("a U-Net", &["inc.double_conv.0.weight"]),
    ("a U-Net (segmentation_models_pytorch)", &["segmentation_head.0.weight"]),
    ("a DeepLab or FCN of torchvision", &["backbone.layer1.0.conv1.weight", "classifier.4.weight"]),
    (
        "a ResNet of Hugging Face with bottlenecks or other depths",
        &["resnet.encoder.stages.0.layers.0.layer.0.convolution.weight"],
    ),
];

/// Layers that are added to ResNets, each with the end of a name that has to occur. The first that matches counts.
const ADDED: [(&str, &str); 14] = [
    ("with CBAM in its blocks", "layer1.0.ca.fc1.weight"),
    ("with CBAM in its blocks", "layer1.0.ca.fc.0.weight"),
    ("with CBAM in its blocks", "layer1.0.sa.conv1.weight"),
    ("with CBAM in its blocks", "layer1.0.cbam.ChannelGate.mlp.1.weight"),
    ("with CBAM in its blocks", "layer1.0.cbam.channel_attention.fc.0.weight"),
    ("with BAM", "bam1.channel_att.gate_c.gate_c_fc_0.weight"),
    ("with squeeze and excitation (SE)", "layer1.0.se.fc1.weight"),
    ("with squeeze and excitation (SE)", "layer1.0.se.fc.0.weight"),
    ("with squeeze and excitation (SE)", "layer1.0.se_module.fc1.weight"),
    ("with efficient channel attention (ECA)", "layer1.0.eca.conv.weight"),
    ("with efficient channel attention (ECA)", "layer1.0.se.conv.weight"),
    ("with CBAM after its stem", "ca.fc1.weight"),
    ("with CBAM after its stem", "ca.fc.0.weight"),
    ("with spatial attention after its stem", "sa.conv1.weight"),
];

/// Modules of Python whose objects other programs save, and the kind of model.
const CLASSES: [(&str, &str); 6] = [
    ("sklearn.", "a model of scikit-learn: export it to ONNX with skl2onnx"),
    ("xgboost.", "a model of XGBoost"),
    ("lightgbm.", "a model of LightGBM"),
    ("keras.", "a model of Keras: export it to ONNX from Keras"),
    ("tensorflow.", "a model of TensorFlow: export it to ONNX with tf2onnx"),
    ("detectron2.", "a model of Detectron2"),
];

/// ResNets of torchvision: numbers of blocks in the stages, whether the blocks are bottlenecks, and the name.
const RESNETS: [([usize; 4], bool, &str); 8] = [
    ([1, 1, 1, 1], false, "ResNet10"),
    ([2, 2, 2, 2], false, "ResNet18"),
    ([3, 4, 6, 3], false, "ResNet34"),
    ([2, 2, 2, 2], true, "ResNet26"),
    ([3, 4, 6, 3], true, "ResNet50"),
    ([3, 4, 23, 3], true, "ResNet101"),
    ([3, 8, 36, 3], true, "ResNet152"),
    ([3, 24, 36, 3], true, "ResNet200"),
];

impl Seems {
    /// Recognises the network of a checkpoint by its tensors, and by the classes that it names.
    pub fn of(checkpoint: &Checkpoint<'_>) -> Self {
        let tensors = checkpoint.tensors();
        let saved = CLASSES
            .iter()
            .find(|(module, _)| checkpoint.classes().iter().any(|class| class.starts_with(module)));
        let family = FAMILIES.iter().find(|(_, ends)| ends.iter().all(|end| has(tensors, end)));
        let known = saved.map(|(_, name)| *name).or(family.map(|(name, _)| *name));
        Self(known.map(Into::into).or_else(|| resnet(tensors)))
    }
}

fn has(tensors: &[StoredTensor], end: &str) -> bool {
    tensors.iter().any(|tensor| ends_with(&tensor.name, end))
}

fn ends_with(name: &str, end: &str) -> bool {
    name.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// Recognises a ResNet by its depth, the width of its blocks, and its stem.
fn resnet(tensors: &[StoredTensor]) -> Option<String> {
    let shape = |end: &str| tensors.iter().find(|tensor| ends_with(&tensor.name, end))?.shape();
    let last = |conv: &str| conv_blocks(tensors, conv);
    let bottleneck = shape("layer1.0.conv3.weight").is_some();
    let blocks = last(if bottleneck { "conv3.weight" } else { "conv2.weight" })?;
    let known = RESNETS.iter().find(|(known, kind, _)| (*known, *kind) == (blocks, bottleneck));
    let name = known.map_or_else(
        || format!("ResNet with {blocks:?} blocks in its stages"),
        |(.., name)| (*name).to_owned(),
    );
    let name = match shape("layer1.0.conv2.weight") {
        Some([width, inner, ..]) if bottleneck && width != inner => format!("ResNeXt ({name} with groups)"),
        Some([width, ..]) if bottleneck && *width > 64 => format!("wide {name}"),
        Some([width, ..]) if !bottleneck && *width != 64 => format!("{name} of another width"),
        _ => name,
    };
    let added = ADDED.iter().find(|(_, end)| has(tensors, end));
    let name = added.map_or(name.clone(), |(added, _)| format!("{name} {added}"));
    Some(match shape("conv1.weight") {
        Some([.., 3]) => format!("a {name} for small images (3x3 stem)"),
        Some([_, channels, ..]) if *channels != 3 => format!("a {name} for images of {channels} channels"),
        _ => format!("a {name}"),
    })
}

/// Number of blocks in each of the four stages, by the convolution that ends a block.
fn conv_blocks(tensors: &[StoredTensor], conv: &str) -> Option<[usize; 4]> {
    let mut blocks: BTreeMap<usize, usize> = BTreeMap::new();
    for tensor in tensors {
        let Some(start) = tensor.name.rfind("layer") else { continue };
        let mut parts = tensor.name[start + "layer".len()..].splitn(3, '.');
        let (stage, block, rest) = (parts.next()?, parts.next(), parts.next());
        if let (Ok(stage), Some(Ok(block)), true) = (stage.parse(), block.map(str::parse), rest == Some(conv))
        {
            let count: &mut usize = blocks.entry(stage).or_default();
            *count = (*count).max(usize::saturating_add(block, 1));
        }
    }
    let count = |stage| blocks.get(&stage).copied();
    Some([count(1)?, count(2)?, count(3)?, count(4)?])
}
