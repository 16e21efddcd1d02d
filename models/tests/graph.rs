//! The exported graph as a person would draw it.

#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::collections::HashSet;
use std::fmt::Write;

use ferronnx_models::layers::Attention;
use ferronnx_models::networks::{Architecture, ArchitectureError, Classifier, Stem};
use ferronnx_models::onnx::digest::sha256;
use ferronnx_models::onnx::{self, Interface, Model, Opset, Tensor, WeightsDigest, passes};
use ferronnx_models::shapes::describe;
use ferronnx_models::{Weights, testing};
use proptest::prelude::*;

fn traced(architecture: &Architecture, opset: u32) -> (Model, Weights) {
    let network = Classifier::new(architecture).unwrap();
    let weights = testing::weights(&network, &[1, 3, 32, 32]).unwrap();
    let interface = Interface::new([3, 32, 32]).output("logits");
    let graph = onnx::trace(&network, &weights, &interface, Opset::new(opset).unwrap()).unwrap();
    (graph, weights)
}

fn listing(graph: &Model) -> String {
    let line =
        |node: &onnx::Node| format!("{} ({}) -> {}", node.name, node.inputs.join(", "), node.outputs[0]);
    graph.graph.nodes.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn node_list() {
    let (mut graph, _) = traced(&Architecture::default(), 17);
    passes::fold_batch_norm(&mut graph);
    insta::assert_snapshot!(listing(&graph));
}

#[test]
fn plain_resnet18_has_the_usual_nodes() {
    let (mut graph, _) = traced(&Architecture { attention: None, ..Architecture::default() }, 17);
    passes::fold_batch_norm(&mut graph);
    let count = |op: &str| graph.graph.nodes.iter().filter(|node| node.is(op)).count();
    let counts =
        ["Conv", "BatchNormalization", "Relu", "Add", "GlobalAveragePool", "Flatten", "Gemm"].map(count);
    assert_eq!(counts, [20, 0, 17, 8, 1, 1, 1]);
    assert_eq!(graph.graph.nodes.len(), 48, "and no others");
}

/// Every form that can be exported, by name.
fn forms(opset: u32) -> Vec<(&'static str, Model)> {
    let network = Classifier::new(&Architecture::default()).unwrap();
    let weights = testing::weights(&network, &[1, 3, 32, 32]).unwrap();
    let trace = |observed| {
        let interface = Interface::new([3, 32, 32]).output("logits").observed(observed);
        onnx::trace(&network, &weights, &interface, Opset::new(opset).unwrap()).unwrap()
    };
    let folded = |observed| {
        let mut graph = trace(observed);
        passes::fold_batch_norm(&mut graph);
        graph
    };
    let (mut half, mut int8, mut bytes) = (folded(true), folded(true), folded(true));
    passes::half_precision(&mut half).unwrap();
    let range = |(index, name): (usize, String)| (name, (-1.0 - index as f32 / 64.0, 2.0));
    let ranges = passes::quantized_values(&int8).into_iter().enumerate().map(range).collect();
    passes::quantize(&mut int8, &ranges).unwrap();
    passes::embed_preprocessing(&mut bytes, &[0.5; 3], &[0.5; 3]).unwrap();
    let (mut int8_bytes, mut half_bytes) = (int8.clone(), half.clone());
    passes::embed_preprocessing(&mut int8_bytes, &[0.5; 3], &[0.5; 3]).unwrap();
    passes::embed_preprocessing(&mut half_bytes, &[0.5; 3], &[0.5; 3]).unwrap();
    let mut half_unfolded = trace(true);
    passes::half_precision(&mut half_unfolded).unwrap();
    let mut forms = vec![
        ("plain", folded(false)),
        ("unfolded", trace(true)),
        ("half", half),
        ("int8", int8),
        ("bytes", bytes),
        ("half bytes", half_bytes),
        ("half unfolded", half_unfolded),
        ("int8 bytes", int8_bytes),
    ];
    for (_, graph) in &mut forms {
        passes::deduplicate_initializers(graph, |name| weights.contains_key(name));
    }
    forms
}

#[test]
fn every_name_is_unique_and_every_operand_defined_before_use() {
    for opset in Opset::MIN..=Opset::MAX {
        for (form, Model { graph, .. }) in forms(opset) {
            let mut defined: HashSet<&str> = graph.initializers.keys().map(String::as_str).collect();
            defined.insert("input");
            let mut names = HashSet::new();
            for node in &graph.nodes {
                assert!(names.insert(node.name.as_str()), "opset {opset}, {form}: {} twice", node.name);
                assert!(node.name.starts_with('/'), "opset {opset}, {form}: {} stands nowhere", node.name);
                assert!(
                    node.inputs.iter().all(|input| defined.contains(input.as_str())),
                    "opset {opset}, {form}: {node:?}"
                );
                assert!(defined.insert(&node.outputs[0]), "opset {opset}, {form}: {} twice", node.outputs[0]);
            }
            assert!(graph.outputs.iter().all(|output| defined.contains(output.name.as_str())), "{form}");
        }
    }
}

#[test]
fn nothing_is_dead_and_no_initializer_is_there_twice() {
    for opset in [Opset::MIN, 18, Opset::MAX] {
        for (form, model) in forms(opset) {
            let mut live = model.clone();
            passes::eliminate_dead_nodes(&mut live);
            let (live, graph) = (live.graph, model.graph);
            assert_eq!(live.nodes, graph.nodes, "opset {opset}, {form}");
            let used: Vec<_> = live.initializers.keys().collect();
            assert_eq!(used, graph.initializers.keys().collect::<Vec<_>>(), "opset {opset}, {form}");
            for (index, (name, values)) in graph.initializers.iter().enumerate() {
                let twin = graph.initializers.iter().skip(index + 1).find(|(_, other)| *other == values);
                assert_eq!(twin.map(|(twin, _)| twin), None, "opset {opset}, {form}: the same as {name}");
            }
        }
    }
}

/// Observed values may have a name already: the input, the result, or another one of their own.
struct Aliases;

impl ferronnx_models::Module for Aliases {
    fn forward<O: ferronnx_models::Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        ops.observe("a.input", x);
        let y = ops.relu(x)?;
        ops.observe("a.once", &y);
        ops.observe("a.twice", &y);
        let z = ops.sigmoid(&y)?;
        ops.observe("a.result", &z);
        Ok(z)
    }
}

#[test]
fn every_observed_value_is_an_output_that_is_computed() {
    let interface = Interface::new([3, 4, 4]).observed(true);
    let graph = onnx::trace(&Aliases, &Weights::default(), &interface, Opset::default()).unwrap().graph;
    let outputs: Vec<_> = graph.outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(outputs, ["output", "a.input", "a.once", "a.twice", "a.result"]);
    for output in outputs {
        assert_eq!(graph.nodes.iter().filter(|node| node.outputs == [output]).count(), 1, "{output}");
    }
    let operands: Vec<_> = graph.nodes.iter().map(|node| (&*node.op, node.inputs[0].as_str())).collect();
    let identity = |of| ("Identity", of);
    let expected = [("Relu", "input"), ("Sigmoid", "a.once")];
    assert_eq!(operands[..2], expected);
    assert_eq!(operands[2..], ["input", "a.once", "output"].map(identity));

    struct Twice;
    impl ferronnx_models::Module for Twice {
        fn forward<O: ferronnx_models::Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
            ops.observe("same", &ops.sigmoid(x)?);
            ops.observe("same", &ops.relu(x)?);
            ops.relu(x)
        }
    }
    let error = onnx::trace(&Twice, &Weights::default(), &interface, Opset::default()).unwrap_err();
    assert_eq!(error.to_string(), "same is observed twice: each observed value needs a name of its own");
}

/// Observes something that nothing else depends on.
struct Observing;

impl ferronnx_models::Module for Observing {
    fn forward<O: ferronnx_models::Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        ops.observe("aside", &ops.sigmoid(x)?);
        ops.relu(x)
    }
}

#[test]
fn what_is_only_observed_is_there_only_for_observers() {
    for (observed, nodes) in [(false, 1), (true, 2)] {
        let interface = Interface::new([3, 4, 4]).observed(observed);
        let graph = onnx::trace(&Observing, &Weights::default(), &interface, Opset::default()).unwrap().graph;
        assert_eq!((graph.nodes.len(), graph.outputs.len()), (nodes, nodes));
    }
}

#[test]
fn every_form_is_read_and_written_again() {
    for opset in Opset::MIN..=Opset::MAX {
        for (form, model) in forms(opset) {
            let file = onnx::encode(model, &[("key", "value")]);
            assert!(Model::decode(file.clone()).unwrap().encode() == file, "opset {opset}, {form}");
        }
    }
}

/// Files and digests are those of the versions before `Graph` could read, byte for byte: SHA-256 of both, made by the
/// commit before.
#[test]
fn files_are_those_of_earlier_versions() {
    let expected = include_str!("onnx_files/forms.txt");
    let mut found = String::new();
    for opset in [Opset::MIN, Opset::MAX] {
        for (form, mut model) in forms(opset) {
            let digest = WeightsDigest::of_graph(&model.graph).unwrap().sha256;
            model.producer_version = "0.1.0".into();
            let file = onnx::encode(model, &[("key", "value")]);
            writeln!(found, "{opset} {form}: {} {digest}", sha256(&file)).unwrap();
        }
    }
    for (found, expected) in found.lines().zip(expected.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(found, expected);
}

#[test]
fn node_list_of_int8_from_bytes() {
    let (_, graph) = forms(17).pop().unwrap();
    let nodes = listing(&graph);
    // The other stages are like the first one.
    let is_shown = |node: &&str| !["layer2", "layer3", "layer4"].iter().any(|stage| node.contains(stage));
    insta::assert_snapshot!(nodes.lines().filter(is_shown).collect::<Vec<_>>().join("\n"));
}

#[test]
fn parameters_keep_their_names_and_unfolded_weights_their_values() {
    let (graph, weights) = traced(&Architecture::default(), 17);
    for (name, values) in &weights {
        assert_eq!(graph.graph.initializers[name], Tensor::from(values), "{name}");
    }
}

#[test]
fn missing_and_misshapen_weights_are_named() {
    let network = Classifier::new(&Architecture::default()).unwrap();
    let interface = Interface::new([3, 32, 32]);
    let mut weights = testing::weights(&network, &[1, 3, 32, 32]).unwrap();
    let error = |weights: &Weights| {
        onnx::trace(&network, weights, &interface, Opset::default()).unwrap_err().to_string()
    };
    weights["backbone.fc.bias"] = ndarray::ArrayD::zeros(vec![7]);
    assert_eq!(error(&weights), "backbone.fc.bias has shape [7], the network needs [10]");
    weights.shift_remove("cbam_layer2.spatial_attn.conv.weight");
    assert_eq!(error(&weights), "the weights lack cbam_layer2.spatial_attn.conv.weight");
}

#[test]
fn configurations_without_a_network_are_refused() {
    let refused = |architecture| Classifier::new(&architecture).unwrap_err();
    let attention = |ratio, kernel| Architecture {
        attention: Some(Attention { ratio, kernel }.into()),
        ..Architecture::default()
    };
    assert_eq!(refused(attention(65, 7)), ArchitectureError::Ratio { ratio: 65, channels: 64 });
    assert_eq!(refused(attention(0, 7)), ArchitectureError::Ratio { ratio: 0, channels: 64 });
    assert_eq!(refused(attention(16, 6)), ArchitectureError::Kernel(6));
    assert_eq!(
        refused(Architecture { classes: 1, ..Architecture::default() }),
        ArchitectureError::Classes(1)
    );
    assert_eq!(
        refused(Architecture { channels: 2, ..Architecture::default() }),
        ArchitectureError::Channels(2)
    );
    assert_eq!(Opset::new(16).unwrap_err().to_string(), "opset 16 is not supported: choose 17 to 23");
}

#[test]
fn weights_tell_their_architecture() {
    let some = |ratio, kernel| Some(Attention { ratio, kernel }.into());
    for (channels, stem, attention) in
        [(3, Stem::Cifar, some(16, 7)), (1, Stem::Imagenet, some(8, 3)), (1, Stem::Cifar, None)]
    {
        let architecture = Architecture { classes: 7, channels, stem, attention, ..Architecture::default() };
        let network = Classifier::new(&architecture).unwrap();
        let weights = testing::weights(&network, &[1, channels, 64, 64]).unwrap();
        assert_eq!(Architecture::of(&weights), Ok(architecture));
    }
    for ratio in 1..=64 {
        let architecture = Architecture { classes: 2, attention: some(ratio, 3), ..Architecture::default() };
        let network = Classifier::new(&architecture).unwrap();
        let shapes = describe(&network, &[1, 3, 64, 64]).unwrap().params;
        let weights = shapes.into_iter().map(|p| (p.name, ndarray::ArrayD::zeros(p.shape))).collect();
        assert!(Architecture::of(&weights).unwrap().same_shapes(&architecture), "ratio {ratio}");
    }
    let other: Weights = [("fc.weight".to_owned(), ndarray::ArrayD::zeros(vec![2, 2]))].into();
    assert!(Architecture::of(&other).unwrap_err().to_string().contains("backbone.conv1.weight"));
}

#[test]
fn an_input_that_does_not_fit_names_the_layer() {
    let network = Classifier::new(&Architecture::default()).unwrap();
    let error = describe(&network, &[1, 4, 32, 32]).unwrap_err().to_string();
    assert_eq!(error, "backbone.conv1: expects [N, 3, H, W], got [1, 4, 32, 32]");
}

proptest! {
    /// CBAM keeps the shape of whatever it is applied to.
    #[test]
    fn cbam_keeps_shapes(n in 1usize..4, c in 16usize..80, h in 1usize..40, w in 1usize..40, k in 0usize..4) {
        let attention = Attention { ratio: 16, kernel: 2 * k + 1 };
        let cbam = ferronnx_models::layers::Cbam::new("cbam", c, attention);
        prop_assert_eq!(describe(&cbam, &[n, c, h, w]).unwrap().output, [n, c, h, w]);
    }
}
