//! Parity with PyTorch's goldens, on libtorch and through the exported file on ONNX Runtime.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod common;

use std::collections::HashSet;

use common::{Golden, golden, params, relative_difference, tensor};
use ferronnx_infer::session::Options;
use ferronnx_infer::{Device, Session};
use ferronnx_models::layers::{Attention, Cbam, ChannelAttention, SpatialAttention};
use ferronnx_models::onnx::{self, Interface, Opset, passes};
use ferronnx_models::resnet::{Architecture, BasicBlock, ResNet18, Stem};
use ferronnx_models::{Module, testing};
use ferronnx_train::eager::Eager;
use ferronnx_train::params::to_array;
use ndarray::{ArrayD, Axis, Slice};

const LIBTORCH: f32 = 1e-5;
const ONNX: f32 = 1e-4;

/// Compares at batch 1 and 5, under libtorch and ONNX Runtime, with batch norm folded and not.
fn compare(name: &str, module: &Golden, item: [usize; 3]) {
    let shape = [5, item[0], item[1], item[2]];
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

    for batch in [1, 5] {
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
        compare(
            &format!("channel.{channels}"),
            &Golden::Channel(ChannelAttention::new("channel", channels, ratio)),
            item,
        );
        compare(
            &format!("spatial.{channels}"),
            &Golden::Spatial(SpatialAttention::new("spatial", kernel)),
            item,
        );
        compare(
            &format!("cbam.{channels}"),
            &Golden::Cbam(Cbam::new("cbam", channels, Attention::default())),
            item,
        );
    }
}

#[test]
fn basic_block_with_and_without_downsample() {
    compare("block.plain", &Golden::Block(BasicBlock::new("block", 64, 64, 1)), [64, 5, 4]);
    compare("block.downsample", &Golden::Block(BasicBlock::new("block", 64, 128, 2)), [64, 5, 4]);
}

#[test]
fn basic_block_in_training_mode_moves_its_statistics() {
    let block = BasicBlock::new("block", 64, 64, 1);
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
    let block = BasicBlock::new("block", 64, 64, 1);
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
fn whole_network() {
    let attention = |ratio, kernel| Some(Attention { ratio, kernel });
    let cases = [
        ("network.cifar", Stem::Cifar, attention(16, 7), 32),
        ("network.imagenet", Stem::Imagenet, attention(16, 7), 64),
        ("network.plain", Stem::Cifar, None, 32),
        ("network.ratio8_kernel3", Stem::Cifar, attention(8, 3), 32),
    ];
    for (name, stem, attention, size) in cases {
        let network = ResNet18::new(&Architecture { classes: 10, channels: 3, stem, attention }).unwrap();
        compare(name, &Golden::Network(Box::new(network)), [3, size, size]);
    }
}
