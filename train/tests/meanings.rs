//! Agreement of the three interpretations: shapes, libtorch and ONNX.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod common;

use common::{params, tensor};
use ferronnx_infer::session::Options;
use ferronnx_infer::{Device, Session};
use ferronnx_models::layers::{Attention, AvgPool2d, Cbam, Conv1d, Conv2d, Init, LayerNorm, LayerScale};
use ferronnx_models::networks::{Architecture, Classifier, ResidualBlock, Stem};
use ferronnx_models::onnx::{self, Interface, Opset, passes};
use ferronnx_models::{Module, Ops, Reduce, shapes, testing};
use ferronnx_train::eager::Eager;
use ferronnx_train::params::{Params, to_array};
use proptest::prelude::*;
use tch::Tensor;

/// Runs a module under the three interpretations and returns the output's shapes.
fn three_shapes(module: &impl Module, shape: [usize; 4], opset: u32) -> [Vec<usize>; 3] {
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
        let block = ResidualBlock::basic("block", channels, channels + 3, stride);
        let attention = Attention { ratio, kernel: 2 * kernel + 1 };
        let cbam = Cbam::new("cbam", channels, attention);
        let shape = [n, channels, h, w];
        for [described, eager, onnx] in [three_shapes(&block, shape, opset), three_shapes(&cbam, shape, opset)] {
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
        let network = Classifier::new(&Architecture { classes, stem, ..Architecture::default() }).unwrap();
        let [described, eager, onnx] = three_shapes(&network, [n, 3, h, w], 17);
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

/// Network of the operators that no layer above uses.
struct Operators {
    conv: Conv2d,
    line: Conv1d,
    pool: AvgPool2d,
}

impl Module for Operators {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        let x = ops.hard_swish(&ops.conv2d(x, &self.conv)?)?;
        let x = ops.silu(&ops.avg_pool2d(&x, &self.pool)?)?;
        let line = ops.unsqueeze(&ops.reduce(&x, Reduce::Mean, &[2, 3], false)?, &[1])?;
        let gate = ops.hard_sigmoid(&ops.squeeze(&ops.conv1d(&line, &self.line)?, &[1])?)?;
        let x = ops.drop_path(&ops.mul(&x, &ops.unsqueeze(&gate, &[2, 3])?)?, 0.5)?;
        ops.dropout(&x, 0.5)
    }
}

/// Compares shapes, libtorch, and the file in fp32 and fp16.
fn compare(module: &impl Module, shape: [usize; 4], opset: u32) {
    let described = shapes::describe(module, &shape).unwrap().output;
    let weights = testing::weights(module, &shape).unwrap();
    let input = testing::input(&shape);
    let _guard = tch::no_grad_guard();
    let params = params(module, &shape, &weights);
    let eager = to_array(&module.forward(&Eager::eval(&params), &tensor(&input)).unwrap()).unwrap();
    assert_eq!(&described[..], eager.shape());
    let [_, item @ ..] = shape;
    let mut graph = onnx::trace(module, &weights, &Interface::new(item), Opset::new(opset).unwrap()).unwrap();
    let cpu = Options::default().device(Device::Cpu);
    let run = |graph| {
        let session = Session::from_bytes(&onnx::encode(graph, &[]), &cpu).unwrap();
        session.run(input.view()).unwrap()
    };
    let difference = common::relative_difference(&run(graph.clone()), &eager);
    assert!(difference < 1e-5, "fp32 differs by {difference:e}");
    passes::half_precision(&mut graph).unwrap();
    let difference = common::relative_difference(&run(graph), &eager);
    assert!(difference < 1e-2, "fp16 differs by {difference:e}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn operators_of_other_networks(
        n in 1usize..4, h in 9usize..24, w in 9usize..24, groups in 1usize..4, width in 1usize..5,
        kernel in 1usize..4, dilation in 1usize..4, stride in 1usize..3, window in 1usize..4, line in 0usize..3,
        bias: bool, opset in Opset::MIN..=Opset::MAX,
    ) {
        let channels = groups * width;
        let conv = Conv2d { dilation, groups, stride, padding: 1, bias, ..Conv2d::new("conv", channels, 2 * channels, kernel) };
        let pool = AvgPool2d { kernel: window, stride: 1, padding: window / 2 };
        let module = Operators { conv, line: Conv1d::new("line", 1, 1, 2 * line + 1), pool };
        compare(&module, [n, channels, h, w], opset);
    }
}

/// Network of the operators of ConvNeXt.
struct Normalised {
    norm: LayerNorm,
    scale: LayerScale,
}

impl Module for Normalised {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        let y = ops.layer_norm(&ops.permute(x, &[0, 2, 3, 1])?, &self.norm)?;
        let y = ops.gelu(&ops.layer_scale(&ops.permute(&y, &[0, 3, 1, 2])?, &self.scale)?)?;
        ops.permute(&ops.add(x, &y)?, &[0, 2, 1, 3])
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn operators_of_convnext(
        n in 1usize..4, h in 1usize..9, w in 1usize..9, channels in 8usize..24, eps in 1e-6..0.1,
        opset in Opset::MIN..=Opset::MAX,
    ) {
        let norm = LayerNorm { eps, ..LayerNorm::new("norm", channels) };
        compare(&Normalised { norm, scale: LayerScale::new("block", channels) }, [n, channels, h, w], opset);
    }
}

#[test]
fn operators_of_convnext_refuse_other_shapes() {
    let module =
        |channels| Normalised { norm: LayerNorm::new("norm", channels), scale: LayerScale::new("block", 8) };
    let error =
        |channels, shape: &[usize]| shapes::describe(&module(channels), shape).unwrap_err().to_string();
    assert_eq!(error(6, &[1, 8, 3, 2]), "norm: expects [..., 6], got [1, 3, 2, 8]");
    assert_eq!(error(6, &[1, 6, 3, 2]), "block: expects [N, 8, H, W], got [1, 6, 3, 2]");
    assert!(
        error(8, &[1, 8]).ends_with("the order [0, 2, 3, 1] does not name each dimension of [1, 8] once")
    );
}

/// Network of which only dropout is left.
struct Dropped {
    rate: f32,
    whole: bool,
}

impl Module for Dropped {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        if self.whole { ops.drop_path(x, self.rate) } else { ops.dropout(x, self.rate) }
    }
}

#[test]
fn dropout_acts_in_training_only_and_by_its_draws() {
    let shape = [40, 3, 4, 5];
    let input = testing::input(&shape);
    let params = Params::initialise(&[], 0, tch::Device::Cpu).unwrap();
    let none = std::collections::HashSet::new();
    let draws = |numbers: [f32; 2]| Tensor::from_slice(&numbers);
    for whole in [false, true] {
        let module = Dropped { rate: 0.25, whole };
        let run = |eager: Eager<'_>| module.forward(&eager, &tensor(&input)).map(|y| to_array(&y).unwrap());
        assert_eq!(run(Eager::eval(&params).with_draws(&draws([1.0, 2.0]))).unwrap(), input);
        let error = run(Eager::train(&params, &none)).unwrap_err();
        assert!(error.to_string().contains("no random numbers"), "{error}");
        let trained = |numbers| run(Eager::train(&params, &none).with_draws(&draws(numbers))).unwrap();
        let first = trained([1.0, 2.0]);
        assert_eq!(trained([1.0, 2.0]), first);
        assert_ne!(trained([1.0, 3.0]), first);
        let scaled = |(y, x): (&f32, &f32)| *y == 0.0 || (y - x / 0.75).abs() < 1e-6;
        assert!(first.iter().zip(&input).all(scaled));
        let rows: Vec<bool> = first.outer_iter().map(|row| row.iter().all(|&value| value == 0.0)).collect();
        assert_eq!(rows.contains(&true), whole, "items are dropped as a whole, or not");
        if whole {
            assert!(
                first.outer_iter().zip(&rows).all(|(row, dropped)| *dropped || row.iter().all(|&v| v != 0.0))
            );
        }
        let graph = onnx::trace(
            &module,
            &testing::weights(&module, &shape).unwrap(),
            &Interface::new([3, 4, 5]),
            Opset::default(),
        );
        let session =
            Session::from_bytes(&onnx::encode(graph.unwrap(), &[]), &Options::default().device(Device::Cpu));
        assert_eq!(session.unwrap().run(input.view()).unwrap(), input);
    }
    let error = shapes::describe(&Dropped { rate: 1.0, whole: false }, &shape).unwrap_err();
    assert!(error.to_string().contains("less than 1, not 1"), "{error}");
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
    let network = Classifier::new(&Architecture { stem: Stem::Imagenet, ..Architecture::default() }).unwrap();
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
