//! Files with every feature of the format, read, changed and written: `onnx_files/generate.py` made them.

#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::fs;
use std::path::{Path, PathBuf};

use ferronnx_models::onnx::external_data::Loaded;
use ferronnx_models::onnx::{Element, Model, Node, Summary, Tensor, Value, WeightsDigest, fuse, passes};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/onnx_files");

fn files(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "onnx")).collect()
}

fn bytes(name: &str) -> Vec<u8> {
    fs::read(format!("{FOLDER}/{name}.onnx")).unwrap()
}

fn model(name: &str) -> Model {
    Model::decode(bytes(name)).unwrap()
}

fn operators(model: &Model) -> Vec<&str> {
    model.graph.nodes.iter().map(|node| &*node.op).collect()
}

/// The unit test of `read.rs` compares the messages; here nothing but bytes, which Python wrote in the same order.
#[test]
fn what_was_read_is_written_again() {
    let files = files(FOLDER.as_ref());
    assert_eq!(files.len(), 6);
    for file in files {
        let bytes = fs::read(&file).unwrap();
        let model = Model::decode(bytes.clone()).unwrap();
        assert_eq!(Model::decode(model.clone().encode()).unwrap(), model, "{file:?}");
        assert!(model.encode() == bytes, "{file:?}");
        Summary::of_file(&bytes).unwrap();
    }
}

#[test]
fn every_kind_of_attribute_is_typed() {
    let model = model("attributes");
    let node = model.graph.node("all").unwrap();
    assert_eq!((node.standard(), &*node.domain, &*node.overload), ("", "com.example", "second"));
    assert_eq!((node.input(0), node.input(1), node.output(2)), (Some("x"), None, Some("z")));
    assert_eq!((node.float("float", 0.0), node.int("int", 0)), (Some(1.5), Some(-3)));
    assert_eq!(node.text("text", ""), Some("grüße"));
    assert_eq!(node.ints("ints", &[]), Some(&[1, i64::MIN][..]));
    assert_eq!((node.int("float", 7), node.int("absent", 7)), (None, Some(7)), "another kind is no default");
    assert_eq!(node.graphs().count(), 3);
    let Some(Value::Tensor(tensor)) = node.attribute("tensor") else { panic!("{node:?}") };
    assert_eq!(tensor.to_array::<f32>().unwrap()[[1, 0]], 2.0);
    let Some(Value::SparseTensor(sparse)) = node.attribute("sparse") else { panic!("{node:?}") };
    assert_eq!((sparse.name(), &sparse.dims[..]), ("values", &[3, 3][..]));
    let Some(Value::Types(types)) = node.attribute("types") else { panic!("{node:?}") };
    assert_eq!((types[0].element(), types[0].shape().unwrap().len()), (Some(Element::Int64), 3));
}

#[test]
fn functions_refer_to_their_attributes() {
    let functions = model("functions").functions;
    let reference = Value::Reference { name: "alpha".into(), kind: 1 };
    for function in &functions {
        assert_eq!(function.nodes[0].attribute("alpha"), Some(&reference));
    }
    assert_eq!(functions[0].attributes, ["alpha"]);
    assert_eq!(functions[1].defaults[0].value, Value::Float(0.25));
    assert_eq!(&*functions[1].overload, "default");
}

/// Values that a branch inside a branch reads are kept; one that it hides is not what is outside.
#[test]
fn dead_nodes_go_and_captured_values_stay() {
    let mut model = model("subgraphs");
    assert_eq!(
        model.graph.nodes[2].reads(),
        ["condition", "condition", "captured", "weight", "captured", "weight"]
    );
    passes::eliminate_dead_nodes(&mut model);
    assert_eq!(operators(&model), ["Relu", "If", "Loop"]);
    assert_eq!(model.graph.initializers.keys().collect::<Vec<_>>(), ["weight"]);
    let info: Vec<_> = model.graph.value_info.iter().map(|info| info.name.as_str()).collect();
    assert_eq!(info, ["captured"]);
}

#[test]
fn tensors_are_read_from_every_field_and_from_other_files() {
    let whole = model("tensors").graph.initializers;
    assert_eq!(whole["typed_FLOAT"].to_vec::<f32>().unwrap(), [1.0, -0.0]);
    assert_eq!(whole["typed_INT8"].to_vec::<i8>().unwrap(), [1, 0]);
    assert_eq!(whole["typed_UINT32"].bytes().unwrap().len(), 8);
    assert!(whole["typed_STRING"].bytes().is_err());
    assert!(whole["scalar"].dims().is_empty() && whole["empty"].is_empty());
    for (name, tensor) in
        whole.iter().filter(|(name, _)| name.starts_with("typed_") && *name != "typed_STRING")
    {
        let expected = tensor.element().bytes(tensor.len());
        // One number of four bits is a byte of two of them.
        let found = if tensor.element().bits() == 4 { 2 * expected } else { expected };
        assert_eq!(tensor.bytes().unwrap().len(), found, "{name}");
    }
    let open = |name: &str| fs::read(format!("{FOLDER}/{name}")).ok();
    let loaded = Loaded::read(bytes("tensors"), open).unwrap();
    let external = &loaded.model.graph.initializers["external"];
    assert_eq!(external.to_vec::<f32>().unwrap(), [0.0, 1.0, 2.0, 3.0]);
    let error = WeightsDigest::of_file(&bytes("tensors")).unwrap_err().to_string();
    assert_eq!(error, "the weights of typed_STRING cannot be read");
}

/// Scales of what is alive are alive, and so is what training reads.
#[test]
fn annotations_and_training_keep_their_tensors() {
    let mut model = model("surroundings");
    let before = model.clone();
    passes::eliminate_dead_nodes(&mut model);
    assert_eq!(model.graph.initializers, before.graph.initializers);
    assert_eq!(model.graph.quantization, before.graph.quantization);
    model.training.clear();
    model.graph.quantization.clear();
    passes::eliminate_dead_nodes(&mut model);
    assert_eq!(model.graph.initializers.keys().collect::<Vec<_>>(), ["w"]);
}

/// Before IR version 4 initializers are inputs; what becomes of them is listed in their place.
#[test]
fn old_files_are_folded_and_halved() {
    let mut model = model("old");
    passes::fold_batch_norm(&mut model);
    assert_eq!(operators(&model), ["Conv"]);
    let names =
        |model: &Model| model.graph.inputs.iter().map(|input| input.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&model), ["w", "x", "w.bias"]);
    passes::half_precision(&mut model).unwrap();
    assert_eq!(names(&model), ["w", "x", "w.bias"]);
    let elements: Vec<_> = model.graph.inputs.iter().map(|input| input.element().unwrap()).collect();
    assert_eq!(elements, [Element::Float16, Element::Float, Element::Float16]);
}

type Pass = fn(&mut Model);

/// All passes, by name.
const PASSES: [(&str, Pass); 6] = [
    ("fold", passes::fold_batch_norm),
    ("dead", passes::eliminate_dead_nodes),
    ("half", |model| _ = passes::half_precision(model)),
    ("deduplicate", |model| passes::deduplicate_initializers(model, |_| false)),
    ("embed", |model| _ = passes::embed_preprocessing(model, &[0.5; 3], &[0.5; 3])),
    ("quantize", |model| {
        let ranges = passes::quantized_values(model).into_iter().map(|name| (name, (-1.0, 1.0))).collect();
        _ = passes::quantize(model, &ranges);
    }),
];

/// No pass panics, loses what it does not know, or makes a file that cannot be read.
#[test]
fn every_pass_takes_every_file() {
    for file in files(FOLDER.as_ref()) {
        for (name, pass) in PASSES {
            let before = Model::decode(fs::read(&file).unwrap()).unwrap();
            let mut model = before.clone();
            pass(&mut model);
            assert_eq!(Model::decode(model.clone().encode()).unwrap(), model, "{name} of {file:?}");
            let Model { functions, metadata, training, .. } = model;
            assert_eq!((functions, metadata, training), (before.functions, before.metadata, before.training));
        }
    }
}

#[test]
fn what_is_no_model_is_an_error_with_its_name() {
    let text = |model: Model| Model::decode(model.encode()).unwrap_err().to_string();
    let mut unnamed = Model::default();
    unnamed.graph.initializers.insert(String::new(), Tensor::scalar(1.0_f32));
    assert_eq!(text(unnamed), "an initializer has no name");
    let reference = Value::Reference { name: "a".into(), kind: 77 };
    let mut kindless = Model::default();
    kindless.graph.nodes.push(Node::new("Relu", ["x"], ["y"]).with("a", reference));
    assert!(Model::decode(kindless.encode()).is_ok(), "a reference is of any kind");
    assert_eq!(Model::from_slice(b"text").unwrap_err().to_string(), "not an ONNX file");
}

/// Damaged files are refused or changed; nothing panics, and what comes of them can be read.
#[test]
fn damaged_files_do_no_harm() {
    for file in files(FOLDER.as_ref()) {
        let whole = fs::read(&file).unwrap();
        for (at, bit) in (0..whole.len()).map(|at| (at, at % 8)) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            let _ = WeightsDigest::of_file(&bytes);
            if let Ok(mut loaded) = Loaded::read(bytes.clone(), |_| Some(vec![0; 32])) {
                fuse::attention(&mut loaded.model, &fuse::Kind::ALL, 16);
                let _ = loaded.separate();
            }
            let Ok(mut model) = Model::decode(bytes) else { continue };
            for (_, pass) in PASSES {
                pass(&mut model);
            }
            assert!(Model::decode(model.encode()).is_ok(), "{file:?}, bit {bit} of byte {at}");
        }
    }
}
