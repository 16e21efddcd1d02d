use super::*;
use ferronnx_models::checkpoint;
use ferronnx_models::layers::{Attention, Param};
use ferronnx_models::networks::{Architecture, AttentionKind, Classifier, Network, PlacedAttention, Stem};
use ferronnx_models::{Module, Weights, shapes, testing};
use ndarray::ArrayD;
use tch::{Device, Kind};

const BACKBONE: &str = "backbone.";
const STEM: &str = "backbone.conv1.weight";

/// Roles of the network, which do not depend on its configuration.
fn roles() -> Roles {
    Classifier::new(&Architecture::default()).unwrap().roles()
}

fn load(params: &Params, weights: &Weights, stem: StemInit) -> Result<Loaded, PretrainedError> {
    load_with(&roles(), params, weights, stem)
}

fn load_with(
    roles: &Roles,
    params: &Params,
    weights: &Weights,
    stem: StemInit,
) -> Result<Loaded, PretrainedError> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("weights.safetensors");
    checkpoint::save(weights, &file).unwrap();
    super::load(params, &Checkpoint::open(file).unwrap(), stem, roles)
}

/// All names behind another prefix; `None` takes torchvision's.
fn renamed(weights: &Weights, prefix: Option<&str>) -> Weights {
    let name = |name: &String| match (prefix, name.strip_prefix(BACKBONE)) {
        (Some(prefix), _) => format!("{prefix}{name}"),
        (None, bare) => bare.unwrap_or(name).to_owned(),
    };
    weights.iter().map(|(key, values)| (name(key), values.clone())).collect()
}

fn network(architecture: Architecture) -> (Vec<Param>, Weights) {
    let network = Classifier::new(&architecture).unwrap();
    let params = shapes::describe(&network, &[1, 3, 64, 64]).unwrap().params;
    (params, testing::weights(&network, &[1, 3, 64, 64]).unwrap())
}

fn fresh(architecture: Architecture) -> Params {
    Params::initialise(&network(architecture).0, 1, Device::Cpu).unwrap()
}

fn cifar(classes: usize) -> Params {
    fresh(Architecture { classes, ..Architecture::default() })
}

/// As torchvision's file: no prefix, no attention, a 7x7 stem.
fn torchvision(classes: usize) -> Weights {
    let (_, weights) =
        network(Architecture { classes, stem: Stem::Imagenet, attention: None, ..Architecture::default() });
    renamed(&weights, None)
}

fn sorted(names: &HashSet<String>) -> Vec<&str> {
    let mut names: Vec<_> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    names
}

/// The network does not take these, says why, and is as before.
fn refused(params: &Params, weights: &Weights) -> String {
    let before = params.to_weights().unwrap();
    let error = load(params, weights, StemInit::Centre).unwrap_err();
    let error = crate::error::chain(&error);
    assert_eq!(params.to_weights().unwrap(), before, "{error}");
    error
}

#[test]
fn the_names_of_torchvision_and_of_the_reference_are_the_same_weights() {
    let bare = torchvision(10);
    let prefixed = renamed(&bare, Some(BACKBONE));
    let lightning = renamed(&prefixed, Some("model."));
    let [(loaded, values), second, third] = [&bare, &prefixed, &lightning].map(|weights| {
        let params = fresh(Architecture { stem: Stem::Imagenet, ..Architecture::default() });
        let loaded = load(&params, weights, StemInit::Centre).unwrap();
        (loaded, params.to_weights().unwrap())
    });
    assert!(values == second.1 && values == third.1);
    assert_eq!([&*loaded.prefix, &*third.0.prefix], ["", "model."]);
    assert_eq!((&loaded.loaded, &loaded.new), (&third.0.loaded, &third.0.new));
    assert_eq!(loaded.loaded.len(), 102, "all of them");
    assert_eq!((loaded.ignored, loaded.adapted), (vec![], vec![]));
    assert!(loaded.new.iter().all(|name| name.starts_with("cbam_layer")), "{:?}", loaded.new);
    assert_eq!(loaded.new.len(), 12);
    assert_eq!(values["backbone.layer3.0.conv1.weight"], bare["layer3.0.conv1.weight"]);
}

#[test]
fn attention_is_loaded_with_bare_names_around_it() {
    let (_, weights) = network(Architecture::default());
    let bare = renamed(&weights, None);
    assert!(bare.contains_key("conv1.weight") && bare.contains_key("cbam_layer1.channel_attn.fc.0.weight"));
    assert!(load(&cifar(10), &bare, StemInit::Centre).unwrap().new.is_empty());
}

#[test]
fn a_head_of_other_classes_is_new() {
    let params =
        fresh(Architecture { classes: 5, stem: Stem::Imagenet, attention: None, ..Architecture::default() });
    let before = params.to_weights().unwrap();
    let loaded = load(&params, &torchvision(1000), StemInit::Centre).unwrap();
    assert_eq!(loaded.ignored, ["fc.bias", "fc.weight"]);
    assert_eq!(sorted(&loaded.new), ["backbone.fc.bias", "backbone.fc.weight"]);
    assert_eq!(params.to_weights().unwrap()["backbone.fc.weight"], before["backbone.fc.weight"]);
}

#[test]
fn a_head_behind_other_features_is_of_another_architecture() {
    let mut weights = torchvision(1000);
    weights["fc.weight"] = ArrayD::zeros(vec![1000, 2048]);
    assert!(refused(&cifar(5), &weights).starts_with("fc.weight has shape [1000, 2048]"));
}

#[test]
fn a_7x7_stem_leaves_a_3x3_one_random() {
    let params = cifar(10);
    let before = params.to_weights().unwrap();
    let loaded = load(&params, &torchvision(10), StemInit::Random).unwrap();
    assert_eq!((loaded.ignored, loaded.adapted), (vec!["conv1.weight".to_owned()], vec![]));
    assert!(loaded.new.contains(STEM));
    assert_eq!(params.to_weights().unwrap()[STEM], before[STEM]);
}

#[test]
fn the_centre_of_a_7x7_stem_makes_a_3x3_one_which_is_new_all_the_same() {
    let (params, weights) = (cifar(10), torchvision(10));
    let loaded = load(&params, &weights, StemInit::Centre).unwrap();
    assert_eq!((loaded.ignored, loaded.adapted), (vec![], vec![STEM.to_owned()]));
    assert!(loaded.new.contains(STEM) && !loaded.loaded.iter().any(|name| name == STEM));
    let (kernel, seven) = (&params.to_weights().unwrap()[STEM], &weights["conv1.weight"]);
    assert_eq!(kernel.shape(), [64, 3, 3, 3]);
    for (filter, channel, y, x) in [(0, 0, 0, 0), (63, 2, 1, 1), (5, 1, 2, 0), (7, 0, 0, 2)] {
        assert_eq!(kernel[[filter, channel, y, x]], seven[[filter, channel, y + 2, x + 2]]);
    }
}

#[test]
fn a_3x3_stem_does_not_fit_a_7x7_one() {
    let (_, weights) = network(Architecture::default());
    let params = fresh(Architecture { stem: Stem::Imagenet, ..Architecture::default() });
    let error = refused(&params, &weights);
    assert!(error.starts_with("backbone.conv1.weight has shape [64, 3, 3, 3]"), "{error}");
    let mut weights = torchvision(10);
    for stem in [[64, 3, 5, 5], [32, 3, 7, 7], [64, 1, 7, 7]] {
        weights["conv1.weight"] = ArrayD::zeros(stem.to_vec());
        assert!(refused(&cifar(10), &weights).starts_with("conv1.weight has shape"), "{stem:?}");
    }
}

#[test]
fn another_architecture_changes_nothing() {
    let (_, mut weights) = network(Architecture::default());
    weights["backbone.layer2.0.conv1.weight"] = ArrayD::zeros(vec![128, 64, 1, 1]);
    let error = refused(&cifar(10), &weights);
    assert!(error.starts_with("backbone.layer2.0.conv1.weight has shape [128, 64, 1, 1]"), "{error}");
    let strange: Weights = [("encoder.weight".to_owned(), ArrayD::zeros(vec![2]))].into();
    assert!(refused(&cifar(10), &strange).contains("none of its 1 tensors"));
    weights["backbone.layer2.0.conv1.weight"] = torchvision(10)["layer2.0.conv1.weight"].clone();
    weights.shift_remove("backbone.layer2.1.bn2.running_mean");
    let error = refused(&cifar(10), &weights);
    assert!(
        error.contains(
            "113 of the network's 114 tensors are there, backbone.layer2.1.bn2.running_mean is not"
        ),
        "{error}"
    );
    let (_, mut twice) = network(Architecture::default());
    twice.insert("bn1.bias".into(), ArrayD::zeros(vec![64]));
    let error = refused(&cifar(10), &twice);
    assert!(error.starts_with("backbone.bn1.bias is there twice, as "), "{error}");
}

#[test]
fn a_resnet34_has_all_tensors_of_a_resnet18_and_is_refused() {
    let mut weights = torchvision(1000);
    let block: Vec<_> = weights
        .iter()
        .filter_map(|(name, values)| {
            Some((format!("layer1.2.{}", name.strip_prefix("layer1.1.")?), values.clone()))
        })
        .collect();
    weights.extend(block);
    let error = refused(&cifar(10), &weights);
    for part in [
        "another architecture: it seems to be a ResNet with [3, 2, 2, 2] blocks",
        "no place for 10 of",
        "layer1.2.",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_head_of_several_layers_is_none_of_this_network() {
    let mut weights = torchvision(10);
    for name in ["fc.weight", "fc.bias"] {
        weights.shift_remove(name);
    }
    for (layer, out, inner) in [(0, 64, 512), (3, 10, 64)] {
        weights.insert(format!("fc.{layer}.weight"), ArrayD::zeros(vec![out, inner]));
        weights.insert(format!("fc.{layer}.bias"), ArrayD::zeros(vec![out]));
    }
    let loaded = load(&cifar(10), &weights, StemInit::Centre).unwrap();
    assert!(loaded.new.contains("backbone.fc.weight"), "{:?}", loaded.new);
    assert_eq!(loaded.ignored, ["fc.0.bias", "fc.0.weight", "fc.3.bias", "fc.3.weight"]);
    // Behind dropout there is one layer, which is the head.
    let mut weights = torchvision(10);
    for part in ["weight", "bias"] {
        let values = weights.shift_remove(&format!("fc.{part}")).unwrap();
        weights.insert(format!("fc.1.{part}"), values);
    }
    let loaded = load(&cifar(10), &weights, StemInit::Centre).unwrap();
    assert!(loaded.loaded.contains(&"backbone.fc.weight".to_owned()) && loaded.ignored.is_empty());
}

#[test]
fn what_the_network_does_not_have_is_ignored_by_name() {
    let mut weights = torchvision(10);
    weights.insert("layer5.weight".into(), ArrayD::zeros(vec![1]));
    let loaded = load(&cifar(10), &weights, StemInit::Centre).unwrap();
    assert_eq!(loaded.ignored, ["layer5.weight"]);
}

#[test]
fn half_precision_becomes_single() {
    let weights = torchvision(10);
    let halves: Vec<(String, Vec<usize>, Vec<u8>)> = weights
        .iter()
        .map(|(name, values)| {
            let bytes = values.iter().flat_map(|&value| half::f16::from_f32(value).to_le_bytes()).collect();
            (name.clone(), values.shape().to_vec(), bytes)
        })
        .collect();
    let view = |shape: &Vec<usize>, bytes| {
        safetensors::tensor::TensorView::new(safetensors::Dtype::F16, shape.clone(), bytes).unwrap()
    };
    let views = halves.iter().map(|(name, shape, bytes)| (name, view(shape, bytes)));
    let file = safetensors::serialize(views, None).unwrap();
    let params = cifar(10);
    super::load(&params, &Checkpoint::from_bytes(&file).unwrap(), StemInit::Centre, &roles()).unwrap();
    let tensor = params.get("backbone.bn1.bias").unwrap();
    assert_eq!(tensor.kind(), Kind::Float);
    let expected = half::f16::from_f32(weights["bn1.bias"][[63]]).to_f32();
    assert_eq!(tensor.double_value(&[63]), f64::from(expected));
}

#[test]
fn both_ways_to_begin_a_stem_are_named_alike_everywhere() {
    for (name, stem) in [("centre", StemInit::Centre), ("random", StemInit::Random)] {
        assert_eq!(name.parse(), Ok(stem));
        assert_eq!(serde_json::to_value(stem).unwrap(), name);
    }
    assert!("center".parse::<StemInit>().unwrap_err().to_string().contains("use centre or random"));
}

#[test]
fn every_network_takes_torchvisions_weights_and_those_of_no_other() {
    let plain = |network: Network| Architecture {
        network,
        stem: Stem::Imagenet,
        attention: None,
        ..Architecture::default()
    };
    let files = Network::ALL.map(|network| renamed(&self::network(plain(network)).1, None));
    for (network, file) in Network::ALL.into_iter().zip(&files) {
        let architecture = Architecture { classes: 4, ..plain(network) };
        let roles = Classifier::new(&architecture).unwrap().roles();
        let params = fresh(architecture);
        let loaded = load_with(&roles, &params, file, StemInit::Centre).unwrap();
        let head = network.head_weight();
        assert_eq!(sorted(&loaded.new), [&head.replace("weight", "bias"), head], "{network}");
        for other in Network::ALL.into_iter().zip(&files).filter(|(other, _)| *other != network) {
            let result = load_with(&roles, &params, other.1, StemInit::Centre);
            assert!(result.is_err(), "{network} takes weights of {}", other.0);
        }
    }
}

#[test]
fn attention_of_other_programs_is_loaded_into_blocks() {
    let at = "blocks".parse().unwrap();
    let kind = AttentionKind::Cbam(Attention::default());
    let architecture =
        Architecture { attention: Some(PlacedAttention { kind, at }), ..Architecture::default() };
    let (_, weights) = network(architecture);
    let theirs: Weights = renamed(&weights, None)
        .into_iter()
        .map(|(name, values)| {
            let ours = ["cbam.channel_attn.fc.0", "cbam.channel_attn.fc.2", "cbam.spatial_attn.conv"];
            let theirs = ["ca.fc1", "ca.fc2", "sa.conv1"];
            let name = ours.iter().zip(theirs).fold(name, |name, (ours, theirs)| name.replace(ours, theirs));
            match values.shape() {
                &[outputs, inputs] if name.contains(".ca.") => {
                    (name, values.into_shape_with_order(vec![outputs, inputs, 1, 1]).unwrap())
                }
                _ => (name, values),
            }
        })
        .collect();
    assert!(theirs.contains_key("layer4.1.ca.fc2.weight") && theirs.contains_key("layer1.0.sa.conv1.weight"));
    let params = fresh(architecture);
    let roles = Classifier::new(&architecture).unwrap().roles();
    assert!(load_with(&roles, &params, &theirs, StemInit::Centre).unwrap().new.is_empty());
    assert!(params.to_weights().unwrap() == weights);
}
