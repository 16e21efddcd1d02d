//! Parity with PyTorch's goldens, on libtorch and through the exported file on ONNX Runtime.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod common;
#[path = "../examples/convnext.rs"]
#[allow(dead_code, missing_docs)] // its `main` is for the command line
mod convnext;

use std::collections::HashSet;

use common::{golden, params, relative_difference, tensor};
use ferronnx_infer::session::Options;
use ferronnx_infer::{Device, Session};
use ferronnx_models::layers::{
    Attention, Cbam, ChannelAttention, EfficientChannelAttention, Path, SpatialAttention, SqueezeExcitation,
};
use ferronnx_models::networks::{
    Architecture, AttentionKind, Classifier, Network, PlacedAttention, ResidualBlock, Stem,
};
use ferronnx_models::onnx::{self, Interface, Opset, passes};
use ferronnx_models::{Module, testing};
use ferronnx_train::eager::Eager;
use ferronnx_train::params::to_array;
use ndarray::{ArrayD, Axis, Slice};

const LIBTORCH: f32 = 1e-5;
const ONNX: f32 = 1e-4;

/// Compares at batch 1 and 2, under libtorch and ONNX Runtime, with batch norm folded and not.
fn compare(name: &str, module: &impl Module, item: [usize; 3]) {
    let shape = [2, item[0], item[1], item[2]];
    let weights = testing::weights(module, &shape).unwrap();
    let params = params(module, &shape, &weights);
    let expected = golden(name);
    let input = testing::input(&shape);
    let first = |array: &ArrayD<f32>, n: isize| array.slice_axis(Axis(0), Slice::from(..n)).to_owned();

    let graph = onnx::trace(module, &weights, &Interface::new(item), Opset::default()).unwrap();
    let mut folded = graph.clone();
    passes::fold_batch_norm(&mut folded);
    let cpu = Options::default().device(Device::Cpu);
    let sessions = [graph, folded].map(|graph| Session::from_bytes(&onnx::encode(graph, &[]), &cpu).unwrap());

    for batch in [1, 2] {
        let (x, y) = (first(&input, batch), first(&expected, batch));
        let _guard = tch::no_grad_guard();
        let eager = to_array(&module.forward(&Eager::eval(&params), &tensor(&x)).unwrap()).unwrap();
        let difference = relative_difference(&eager, &y);
        assert!(difference <= LIBTORCH, "{name}, batch {batch}: libtorch differs by {difference:e}");
        for (session, form) in sessions.iter().zip(["plain", "folded"]) {
            let difference = relative_difference(&session.run(x.view()).unwrap(), &y);
            assert!(difference <= ONNX, "{name}, batch {batch}: the {form} file differs by {difference:e}");
        }
    }
}

#[test]
fn attention_at_all_four_stages() {
    for (channels, height, width) in [(64, 5, 4), (128, 4, 3), (256, 3, 2), (512, 2, 2)] {
        let item = [channels, height, width];
        let Attention { ratio, kernel } = Attention::default();
        compare(&format!("channel.{channels}"), &ChannelAttention::new("channel", channels, ratio), item);
        compare(&format!("spatial.{channels}"), &SpatialAttention::new("spatial", kernel), item);
        compare(&format!("cbam.{channels}"), &Cbam::new("cbam", channels, Attention::default()), item);
    }
}

#[test]
fn basic_block_with_and_without_downsample() {
    compare("block.plain", &ResidualBlock::basic("block", 64, 64, 1), [64, 5, 4]);
    compare("block.downsample", &ResidualBlock::basic("block", 64, 128, 2), [64, 5, 4]);
}

#[test]
fn basic_block_in_training_mode_moves_its_statistics() {
    let block = ResidualBlock::basic("block", 64, 64, 1);
    let shape = [5, 64, 5, 4];
    let weights = testing::weights(&block, &shape).unwrap();
    let params = params(&block, &shape, &weights);
    let frozen = HashSet::new();
    let _guard = tch::no_grad_guard();
    let output = block.forward(&Eager::train(&params, &frozen), &tensor(&testing::input(&shape))).unwrap();
    let after = params.to_weights().unwrap();
    for (found, name) in [
        (&to_array(&output).unwrap(), "block.train"),
        (&after["block.bn1.running_mean"], "block.train.running_mean"),
        (&after["block.bn1.running_var"], "block.train.running_var"),
    ] {
        let difference = relative_difference(found, &golden(name));
        assert!(difference <= LIBTORCH, "{name} differs by {difference:e}");
    }
}

#[test]
fn frozen_statistics_stand_still() {
    let block = ResidualBlock::basic("block", 64, 64, 1);
    let shape = [5, 64, 5, 4];
    let weights = testing::weights(&block, &shape).unwrap();
    let params = params(&block, &shape, &weights);
    let frozen: HashSet<_> = ["block.bn1".to_owned()].into();
    let _guard = tch::no_grad_guard();
    let _ = block.forward(&Eager::train(&params, &frozen), &tensor(&testing::input(&shape))).unwrap();
    let after = params.to_weights().unwrap();
    assert_eq!(after["block.bn1.running_mean"], weights["block.bn1.running_mean"]);
    assert_ne!(after["block.bn2.running_mean"], weights["block.bn2.running_mean"]);
}

#[test]
fn bottleneck_and_attention_without_maxima() {
    let path = |name| Path::new(name);
    compare("block.bottleneck", &ResidualBlock::bottleneck("block", 64, 16, 1), [64, 3, 2]);
    compare("se", &SqueezeExcitation::new(&path("se"), 32, 2), [32, 3, 2]);
    compare("eca", &EfficientChannelAttention::new(&path("eca"), 3), [32, 3, 2]);
}

/// Layer norm over channels, the exact GELU and layer scale.
#[test]
fn block_of_convnext() {
    let block = convnext::Block { name: Path::new("convnext"), channels: 16, drop_path: 0.1 };
    compare("convnext", &block, [16, 6, 5]);
}

/// A network of torchvision with ten classes, as the generator makes it.
fn torchvision(network: Network, attention: Option<PlacedAttention>) -> Classifier {
    let architecture = Architecture { network, stem: Stem::Imagenet, attention, ..Architecture::default() };
    Classifier::new(&architecture).unwrap()
}

#[test]
fn networks_of_torchvision() {
    for network in Network::ALL {
        compare(&format!("network.{network}"), &torchvision(network, None), [3, 64, 64]);
    }
}

/// Batch statistics reach every layer, and the running ones of the last batch norm depend on all before it.
///
/// Deep networks amplify rounding: torchvision's own float32 differs from the golden, which is float64, by 3e-5 for ResNet50
/// and 2e-4 for ResNet101.
#[test]
fn networks_of_torchvision_in_training_mode() {
    let shape = [5, 3, 64, 64];
    let (input, frozen) = (tensor(&testing::input(&shape)), HashSet::new());
    for network in Network::ALL {
        let allowed = match network {
            Network::Resnet50 => 1e-4,
            Network::Resnet101 => 1e-3,
            _ => LIBTORCH,
        };
        let module = torchvision(network, None);
        let params = params(&module, &shape, &testing::weights(&module, &shape).unwrap());
        let _guard = tch::no_grad_guard();
        let draws = tch::Tensor::from_slice(&[1.0_f32, 2.0]);
        let logits = module.forward(&Eager::train(&params, &frozen).with_draws(&draws), &input).unwrap();
        let after = params.to_weights().unwrap();
        let norm = match network {
            Network::Resnet18 => "backbone.layer4.1.bn2",
            Network::Resnet34 => "backbone.layer4.2.bn2",
            Network::Resnet50 | Network::Resnet101 => "backbone.layer4.2.bn3",
            Network::MobilenetV3Small => "backbone.features.12.1",
            Network::MobilenetV3Large => "backbone.features.16.1",
        };
        for field in ["running_mean", "running_var"] {
            let expected = golden(&format!("train.{network}.{norm}.{field}"));
            let found = after[&format!("{norm}.{field}")].slice_axis(Axis(0), Slice::from(..64)).to_owned();
            let difference = relative_difference(&found, &expected);
            assert!(difference <= allowed, "{network}, {norm}.{field} differs by {difference:e}");
        }
        // MobileNet's logits depend on its dropout.
        if network.is_resnet() {
            let difference =
                relative_difference(&to_array(&logits).unwrap(), &golden(&format!("train.{network}")));
            assert!(difference <= allowed, "{network} differs by {difference:e}");
        }
    }
}

#[test]
fn networks_with_attention_in_their_blocks_and_after_their_stages() {
    let cbam = AttentionKind::Cbam(Attention::default());
    let (se, eca) = (AttentionKind::Se { ratio: 16 }, AttentionKind::Eca { kernel: 3 });
    for (name, network, kind, at) in [
        ("resnet18.cbam.blocks", Network::Resnet18, cbam, "blocks"),
        ("resnet18.se.blocks", Network::Resnet18, se, "blocks"),
        ("resnet18.eca.blocks", Network::Resnet18, eca, "blocks"),
        ("resnet34.eca.last", Network::Resnet34, eca, "last"),
        ("resnet50.se.stages", Network::Resnet50, se, "stages"),
        ("resnet50.cbam.blocks", Network::Resnet50, cbam, "blocks"),
        ("mobilenet_v3_small.cbam.blocks", Network::MobilenetV3Small, cbam, "blocks"),
        ("mobilenet_v3_small.se.stages", Network::MobilenetV3Small, se, "stages:2,3"),
        ("mobilenet_v3_large.cbam.stages", Network::MobilenetV3Large, cbam, "stages"),
    ] {
        let attention = PlacedAttention { kind, at: at.parse().unwrap() };
        compare(&format!("network.{name}"), &torchvision(network, Some(attention)), [3, 64, 64]);
    }
}

#[test]
fn whole_network() {
    let attention = |ratio, kernel| Some(Attention { ratio, kernel }.into());
    let cases = [
        ("network.cifar", Stem::Cifar, attention(16, 7), 32),
        ("network.imagenet", Stem::Imagenet, attention(16, 7), 64),
        ("network.plain", Stem::Cifar, None, 32),
        ("network.ratio8_kernel3", Stem::Cifar, attention(8, 3), 32),
    ];
    for (name, stem, attention, size) in cases {
        let network = Classifier::new(&Architecture { stem, attention, ..Architecture::default() }).unwrap();
        compare(name, &network, [3, size, size]);
    }
}
