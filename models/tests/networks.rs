//! Compares the built-in networks with torchvision's: names, shapes, published costs; and finds them in checkpoints.

#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::collections::BTreeMap;
use std::fmt::Write;

use ferronnx_models::checkpoint::network::{FindError, find};
use ferronnx_models::checkpoint::{self, Checkpoint};
use ferronnx_models::layers::Attention;
use ferronnx_models::networks::{Architecture, AttentionKind, Classifier, Network, PlacedAttention, Stem};
use ferronnx_models::onnx::fuse::Kind;
use ferronnx_models::onnx::{self, Interface, Opset};
use ferronnx_models::shapes::{Description, describe};
use ferronnx_models::{Module, Weights, testing};
use serde::Deserialize;
use sha2::{Digest, Sha256};

fn architecture(network: Network, attention: Option<PlacedAttention>) -> Architecture {
    Architecture { network, stem: Stem::Imagenet, attention, ..Architecture::default() }
}

fn described(architecture: Architecture, side: usize) -> Description {
    describe(&Classifier::new(&architecture).unwrap(), &[1, 3, side, side]).unwrap()
}

/// Every kind of attention at every place.
fn attention() -> Vec<PlacedAttention> {
    let kinds = [
        AttentionKind::Cbam(Attention { ratio: 8, kernel: 5 }),
        AttentionKind::Se { ratio: 8 },
        AttentionKind::Eca { kernel: 5 },
    ];
    let places = ["blocks", "stages", "last", "stages:1,3"];
    let at = |kind| places.map(|at| PlacedAttention { kind, at: at.parse().unwrap() });
    kinds.into_iter().flat_map(at).collect()
}

/// Names and shapes of a network of torchvision with 1000 classes, see `goldens/generate.py`.
#[derive(Deserialize)]
struct Listing {
    trainable: usize,
    tensors: usize,
    sha256: String,
}

#[test]
fn names_and_shapes_are_torchvisions() {
    let text = include_str!("goldens/networks.json");
    let listings: BTreeMap<String, Listing> = serde_json::from_str(text).unwrap();
    assert_eq!(listings.len(), Network::ALL.len());
    for network in Network::ALL {
        let expected = &listings[network.name()];
        let found = described(Architecture { classes: 1000, ..architecture(network, None) }, 64);
        let trainable: usize = found.layers.iter().map(|layer| layer.parameters).sum();
        let mut shapes: Vec<_> = found.params.into_iter().map(|param| (param.name, param.shape)).collect();
        shapes.sort();
        let lines = shapes.iter().fold(String::new(), |mut lines, (name, shape)| {
            writeln!(lines, "{name} {shape:?}").unwrap();
            lines
        });
        assert_eq!((trainable, shapes.len()), (expected.trainable, expected.tensors), "{network}");
        let digest = Sha256::digest(lines.as_bytes());
        let digest = digest.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        assert_eq!(digest, expected.sha256, "{network}:\n{lines}");
    }
}

#[test]
fn costs_are_those_published() {
    // Parameters and billions of multiply-accumulates, as torchvision's documentation lists them.
    for (network, parameters, macs) in [
        (Network::Resnet18, 11_689_512, 1.81),
        (Network::Resnet34, 21_797_672, 3.66),
        (Network::Resnet50, 25_557_032, 4.09),
        (Network::Resnet101, 44_549_160, 7.80),
        (Network::MobilenetV3Large, 5_483_032, 0.22),
        (Network::MobilenetV3Small, 2_542_856, 0.06),
    ] {
        let layers = described(Architecture { classes: 1000, ..architecture(network, None) }, 224).layers;
        assert_eq!(layers.iter().map(|layer| layer.parameters).sum::<usize>(), parameters, "{network}");
        let found = layers.iter().map(|layer| layer.macs).sum::<u64>() as f64 / 1e9;
        assert!((found - macs).abs() < 0.01, "{network}: {found} and not {macs}");
    }
}

/// Every parameter has a role, so that recipes can name all of a network by roles.
#[test]
fn roles_name_every_parameter() {
    for network in Network::ALL {
        for attention in [None].into_iter().chain(attention().into_iter().map(Some)) {
            let architecture = architecture(network, attention);
            let roles = Classifier::new(&architecture).unwrap().roles();
            let matches =
                |role: &str, name: &str| roles.get(role).unwrap().iter().any(|pattern| glob(pattern, name));
            for param in described(architecture, 64).params {
                let name = &param.name;
                let known = ["stem", "stages", "head", "attention"].map(|role| matches(role, name));
                assert!(known.contains(&true), "{network}: {name}");
                let added = ["cbam", "se", "eca"].iter().any(|kind| {
                    name.starts_with(&format!("{kind}_layer")) || name.contains(&format!(".{kind}."))
                });
                assert_eq!(known[3], added, "{network}: {name}");
                assert_eq!(
                    known[2],
                    network.head_weight().contains(name.rsplit_once('.').unwrap().0),
                    "{name}"
                );
            }
        }
    }
}

/// Matches a pattern in which `*` is any characters.
fn glob(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            (0..=name.len()).any(|at| name.is_char_boundary(at) && glob(rest, &name[at..]))
        }),
    }
}

#[test]
fn weights_tell_their_network() {
    for network in Network::ALL {
        for attention in [None].into_iter().chain(attention().into_iter().map(Some)) {
            let architecture = Architecture { classes: 7, ..architecture(network, attention) };
            let params = described(architecture, 64).params;
            let weights: Weights =
                params.into_iter().map(|param| (param.name, ndarray::ArrayD::zeros(param.shape))).collect();
            let found = Architecture::of(&weights).unwrap();
            assert!(found.same_shapes(&architecture), "{architecture} and not {found}");
            let json = serde_json::to_string(&architecture).unwrap();
            assert_eq!(serde_json::from_str::<Architecture>(&json).unwrap(), architecture, "{json}");
        }
    }
}

/// Saves weights under other names, and finds the network in the file.
fn found(weights: &Weights, rename: impl Fn(&str) -> String) -> Result<(Architecture, Weights), FindError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    let renamed = weights.iter().map(|(name, values)| (rename(name), values.clone())).collect();
    checkpoint::save(&renamed, &path).unwrap();
    find(&Checkpoint::open(&path).unwrap(), |_| false).map(|found| (found.architecture, found.weights))
}

#[test]
fn checkpoints_are_found_with_their_prefix_and_without() {
    for network in Network::ALL {
        let architecture = architecture(network, None);
        let module = Classifier::new(&architecture).unwrap();
        let weights = testing::weights(&module, &[1, 3, 64, 64]).unwrap();
        for rename in [
            |name: &str| name.to_owned(),
            |name: &str| name.replacen("backbone.", "", 1),
            |name: &str| name.replacen("backbone.", "state_dict.model.", 1),
        ] {
            assert_eq!(found(&weights, rename).unwrap(), (architecture, weights.clone()), "{network}");
        }
        let mut broken = weights.clone();
        let last = broken.keys().rfind(|name| name.ends_with("running_var")).unwrap().clone();
        broken.shift_remove(&last);
        assert!(
            matches!(found(&broken, str::to_owned), Err(FindError::Other { .. })),
            "{network} without {last}"
        );
    }
}

/// Files of the code at github.com/luuuyi/CBAM.PyTorch: attention in the blocks, 1x1 convolutions as MLP.
#[test]
fn cbam_of_other_programs_is_found_in_blocks() {
    let at = "blocks".parse().unwrap();
    let kind = AttentionKind::Cbam(Attention::default());
    for network in [Network::Resnet18, Network::Resnet50] {
        let architecture = architecture(network, Some(PlacedAttention { kind, at }));
        let module = Classifier::new(&architecture).unwrap();
        let weights = testing::weights(&module, &[1, 3, 64, 64]).unwrap();
        let theirs: Weights = weights
            .iter()
            .map(|(name, values)| {
                let name = name
                    .replace("backbone.", "")
                    .replace("cbam.channel_attn.fc.0", "ca.fc1")
                    .replace("cbam.channel_attn.fc.2", "ca.fc2")
                    .replace("cbam.spatial_attn.conv", "sa.conv1");
                match values.shape() {
                    &[outputs, inputs] if name.contains(".ca.") => {
                        let shape = vec![outputs, inputs, 1, 1];
                        (name, values.clone().into_shape_with_order(shape).unwrap())
                    }
                    _ => (name, values.clone()),
                }
            })
            .collect();
        assert_eq!(found(&theirs, str::to_owned).unwrap(), (architecture, weights.clone()));
        // Biases are another network's.
        let mut with_bias = theirs.clone();
        with_bias.insert("layer1.0.ca.fc1.bias".into(), ndarray::ArrayD::zeros(vec![4]));
        assert!(found(&with_bias, str::to_owned).is_err());
        // So is attention that one block lacks.
        let mut partly = theirs.clone();
        for end in ["ca.fc1", "ca.fc2", "sa.conv1"] {
            partly.shift_remove(&format!("layer2.1.{end}.weight")).unwrap();
        }
        assert!(found(&partly, str::to_owned).is_err());
    }
}

/// Every kind at every place is fused, and MobileNetV3's own squeeze-and-excitation beside it.
#[test]
fn attention_is_recognised_wherever_it_stands() {
    for network in [Network::Resnet18, Network::Resnet50, Network::MobilenetV3Small] {
        for attention in attention() {
            let architecture = architecture(network, Some(attention));
            let module = Classifier::new(&architecture).unwrap();
            let weights = testing::weights(&module, &[1, 3, 64, 64]).unwrap();
            let mut graph =
                onnx::trace(&module, &weights, &Interface::new([3, 64, 64]), Opset::default()).unwrap();
            let fusion = onnx::fuse::attention(&mut graph, &Kind::ALL, 16);
            assert!(fusion.rejected.is_empty(), "{architecture}: {:?}", fusion.rejected);
            let kind = match attention.kind {
                AttentionKind::Cbam(_) => Kind::Cbam,
                AttentionKind::Se { .. } => Kind::Se,
                AttentionKind::Eca { .. } => Kind::Eca,
            };
            let own = if network == Network::MobilenetV3Small { 9 } else { 0 };
            let blocks = match network {
                Network::Resnet18 => 8,
                Network::Resnet50 => 16,
                _ => 11,
            };
            let added = match attention.at.to_string().as_str() {
                "blocks" => blocks,
                "stages" => 4,
                "stages:4" => 1,
                _ => 2,
            };
            let count = |kind| fusion.fused.iter().filter(|fused| fused.kind == kind).count();
            let expected = added + if kind == Kind::Se { own } else { 0 };
            assert_eq!(count(kind), expected, "{architecture}");
            assert_eq!(fusion.fused.len(), added + own, "{architecture}");
            // No operator of attention is left.
            let operators = graph.graph.nodes.iter().map(|node| node.standard());
            assert_eq!(operators.filter(|op| op.ends_with("Sigmoid")).count(), 0, "{architecture}");
        }
    }
}
