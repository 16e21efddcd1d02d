//! Agreement of the three interpretations: shapes, libtorch and ONNX.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod common;

use common::{Golden, params, tensor};
use ferronnx_infer::session::Options;
use ferronnx_infer::{Device, Session};
use ferronnx_models::layers::{Attention, Cbam, Conv2d, Init};
use ferronnx_models::onnx::{self, Interface, Opset, passes};
use ferronnx_models::resnet::{Architecture, BasicBlock, ResNet18, Stem};
use ferronnx_models::{Module, Ops, shapes, testing};
use ferronnx_train::eager::Eager;
use ferronnx_train::params::{Params, to_array};
use proptest::prelude::*;

/// Runs a module under the three interpretations and returns the output's shapes.
fn three_shapes(module: &Golden, shape: [usize; 4], opset: u32) -> [Vec<usize>; 3] {
    let described = shapes::describe(module, &shape).unwrap().output;
    let weights = testing::weights(module, &shape).unwrap();
    let params = params(module, &shape, &weights);
    let input = testing::input(&shape);
    let _guard = tch::no_grad_guard();
    let eager = module.forward(&Eager::eval(&params), &tensor(&input)).unwrap();
    let eager = eager.size().iter().map(|&size| size as usize).collect();

    let interface = Interface::new([shape[1], shape[2], shape[3]]);
    let mut graph = onnx::trace(module, &weights, &interface, Opset::new(opset).unwrap()).unwrap();
    passes::fold_batch_norm(&mut graph);
    let cpu = Options::default().device(Device::Cpu);
    let session = Session::from_bytes(&onnx::encode(graph, &[]), &cpu).unwrap();
    [described, eager, session.run(input.view()).unwrap().shape().to_vec()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn blocks_and_attention(
        n in 1usize..4, h in 1usize..24, w in 1usize..24, stride in 1usize..3,
        channels in 16usize..40, ratio in 1usize..17, kernel in 0usize..4,
        opset in Opset::MIN..=Opset::MAX,
    ) {
        let block = Golden::Block(BasicBlock::new("block", channels, channels + 3, stride));
        let attention = Attention { ratio, kernel: 2 * kernel + 1 };
        let cbam = Golden::Cbam(Cbam::new("cbam", channels, attention));
        for module in [block, cbam] {
            let [described, eager, onnx] = three_shapes(&module, [n, channels, h, w], opset);
            prop_assert_eq!(&described, &eager);
            prop_assert_eq!(&described, &onnx);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, ..ProptestConfig::default() })]

    #[test]
    fn whole_networks(n in 1usize..3, h in 33usize..70, w in 33usize..70, imagenet: bool, classes in 2usize..20) {
        let stem = if imagenet { Stem::Imagenet } else { Stem::Cifar };
        let network = ResNet18::new(&Architecture { classes, stem, ..Architecture::default() }).unwrap();
        let [described, eager, onnx] = three_shapes(&Golden::Network(Box::new(network)), [n, 3, h, w], 17);
        prop_assert_eq!(&described, &vec![n, classes]);
        prop_assert_eq!(&described, &eager);
        prop_assert_eq!(&described, &onnx);
    }
}

#[test]
fn every_opset_computes_the_same() {
    let shape = [2, 32, 6, 5];
    let cbam = Cbam::new("cbam", 32, Attention::default());
    let weights = testing::weights(&cbam, &shape).unwrap();
    let cpu = Options::default().device(Device::Cpu);
    let run = |opset| {
        let graph =
            onnx::trace(&cbam, &weights, &Interface::new([32, 6, 5]), Opset::new(opset).unwrap()).unwrap();
        let session = Session::from_bytes(&onnx::encode(graph, &[]), &cpu).unwrap();
        session.run(testing::input(&shape).view()).unwrap()
    };
    let first = run(Opset::MIN);
    for opset in Opset::MIN + 1..=Opset::MAX {
        assert!(common::relative_difference(&run(opset), &first) < 1e-6, "opset {opset}");
    }
}

/// Network that divides its input by a constant.
struct Divided(f32);

impl Module for Divided {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        ops.scope("temperature", || ops.divide(x, self.0))
    }
}

#[test]
fn a_division_is_the_same_to_the_bit() {
    let shape = [2, 3, 4, 5];
    let (input, weights) = (testing::input(&shape), ferronnx_models::Weights::new());
    for divisor in [0.05_f32, 1.7, -3.0, 20.0] {
        let module = Divided(divisor);
        assert_eq!(shapes::describe(&module, &shape).unwrap().output, shape);
        let right = input.mapv(|value| value / divisor);
        let params = Params::initialise(&[], 0, tch::Device::Cpu).unwrap();
        let eager = module.forward(&Eager::eval(&params), &tensor(&input)).unwrap();
        assert_eq!(to_array(&eager).unwrap(), right);
        for opset in [Opset::MIN, Opset::MAX] {
            let interface = Interface::new([3, 4, 5]);
            let graph = onnx::trace(&module, &weights, &interface, Opset::new(opset).unwrap()).unwrap();
            let cpu = Options::default().device(Device::Cpu);
            let session = Session::from_bytes(&onnx::encode(graph, &[]), &cpu).unwrap();
            assert_eq!(session.run(input.view()).unwrap(), right, "opset {opset}");
        }
    }
}

#[test]
fn initial_values_have_the_distributions_that_layers_name() {
    let network = ResNet18::new(&Architecture { stem: Stem::Imagenet, ..Architecture::default() }).unwrap();
    let described = shapes::describe(&network, &[1, 3, 64, 64]).unwrap().params;
    let params = Params::initialise(&described, 3, tch::Device::Cpu).unwrap();
    let weights = params.to_weights().unwrap();
    for param in described {
        let values = weights[&param.name].mapv(f64::from);
        let count = values.len() as f64;
        let (mean, std) = (values.mean().unwrap(), values.std(0.0));
        match param.init {
            Init::Constant(value) => assert!(values.iter().all(|&v| v == value), "{}", param.name),
            Init::Uniform { bound } => {
                assert!(values.iter().all(|v| v.abs() <= bound), "{}", param.name);
                assert!((std / (bound / 3f64.sqrt()) - 1.0).abs() < 2.3 / count.sqrt(), "{}", param.name);
                assert!(mean.abs() < 5.0 * std / count.sqrt(), "{}", param.name);
            }
            Init::Normal { std: expected } => {
                assert!((std / expected - 1.0).abs() < 3.6 / count.sqrt(), "{}: {std}", param.name);
                assert!(mean.abs() < 5.0 * std / count.sqrt(), "{}", param.name);
                assert!(values.iter().any(|v| v.abs() > 2.0 * expected), "{}", param.name);
            }
        }
    }
    let again =
        Params::initialise(&shapes::describe(&network, &[1, 3, 64, 64]).unwrap().params, 3, tch::Device::Cpu);
    let again = again.unwrap().to_weights().unwrap();
    assert!(again == weights, "the same seed gives the same values");
}

#[test]
fn errors_of_libtorch_name_the_layer() {
    let conv = Conv2d::new("backbone.conv1", 3, 4, 3);
    let shape = [1, 3, 8, 8];
    let weights = {
        let mut weights = ferronnx_models::Weights::new();
        for param in conv.params() {
            weights.insert(param.name, ndarray::ArrayD::zeros(param.shape));
        }
        weights
    };
    let params = Params::initialise(&conv.params(), 0, tch::Device::Cpu).unwrap();
    params.assign("backbone.conv1.weight", &weights["backbone.conv1.weight"]).unwrap();
    let wrong = tensor(&testing::input(&[shape[0], 4, 8, 8]));
    let error = ferronnx_train::error::chain(&Eager::eval(&params).conv2d(&wrong, &conv).unwrap_err());
    assert!(error.starts_with("backbone.conv1: ") && error.lines().count() == 1, "{error}");
}
