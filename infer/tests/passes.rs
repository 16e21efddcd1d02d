//! Passes over files of PyTorch: ONNX Runtime gives the logits that PyTorch gave, see `passes/generate.py`.

#![allow(clippy::unwrap_used)] // a test fails by panicking

#[path = "cli/support.rs"]
#[allow(dead_code)] // the rest is for the program's tests
mod support;

use std::fs;
use std::io::Read;
use std::path::Path;

use ferronnx_infer::Session;

use ferronnx_models::onnx::{Element, Model, passes};
use flate2::read::GzDecoder;
use ndarray::{Array4, ArrayD};
use support::options;

/// Content of a file that `generate.py` packed.
fn unpacked(name: &str) -> Vec<u8> {
    let packed = fs::File::open(folder().join(format!("{name}.gz"))).unwrap();
    let mut bytes = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
    bytes
}

fn floats(name: &str) -> Vec<f32> {
    unpacked(name).as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

fn folder() -> std::path::PathBuf {
    // The script for the whole network names another.
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/passes");
    std::env::var_os("FERRONNX_PASSES").map_or(default, Into::into)
}

/// The file that one of PyTorch's exporters wrote.
fn model(exporter: &str) -> Model {
    Model::decode(unpacked(&format!("{exporter}.onnx"))).unwrap()
}

fn count(model: &Model, op: &str) -> usize {
    model.graph.nodes.iter().filter(|node| node.is(op)).count()
}

/// The largest difference of what the model gives to PyTorch's logits, relative to the largest of these.
fn difference(model: &Model) -> f32 {
    let input = floats("input.f32");
    let side = (input.len() / 6).isqrt();
    let x = Array4::from_shape_vec([2, 3, side, side], input).unwrap();
    let expected = floats("logits.f32");
    let expected = ArrayD::from_shape_vec(vec![2, expected.len() / 2], expected).unwrap();
    let session = Session::from_bytes(&model.clone().encode(), &options()).unwrap();
    let found = session.run(x.view()).unwrap();
    let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    found.iter().zip(&expected).fold(0.0_f32, |worst, (a, b)| worst.max((a - b).abs())) / largest
}

#[test]
fn passes_keep_the_logits_of_pytorchs_resnet() {
    for exporter in ["torchscript", "dynamo"] {
        let mut model = model(exporter);
        let within = |model: &Model, tolerance: f32, pass: &str| {
            let found = difference(model);
            println!("{exporter}, {pass}: {found:.1e}");
            assert!(found < tolerance, "{exporter}, {pass}: {found}");
        };
        within(&model, 1e-5, "as it was");

        passes::eliminate_dead_nodes(&mut model);
        within(&model, 1e-5, "dead nodes removed");
        assert_eq!((count(&model, "Conv"), count(&model, "BatchNormalization")), (20, 20));

        let mut unfolded = model.clone();
        passes::half_precision(&mut unfolded).unwrap();
        within(&unfolded, 1e-2, "half precision with its batch norm");

        passes::fold_batch_norm(&mut model);
        within(&model, 1e-5, "batch norm folded");
        assert_eq!((count(&model, "Conv"), count(&model, "BatchNormalization")), (20, 0));
        assert_eq!(count(&model, "Expand"), 0, "nothing is left of what gave the biases");

        passes::deduplicate_initializers(&mut model, |_| false);
        within(&model, 1e-5, "equal initializers shared");

        let mut half = model.clone();
        passes::half_precision(&mut half).unwrap();
        let halves = half.graph.initializers.values().filter(|tensor| tensor.element() == Element::Float16);
        assert_eq!(halves.count(), 40, "weights and biases of all convolutions");
        within(&half, 1e-2, "half precision");
    }
}

#[test]
fn a_quantised_network_without_its_rounding_gives_the_logits_of_its_weights() {
    let mut model = model("dynamo");
    passes::fold_batch_norm(&mut model);
    let wide = passes::quantized_values(&model).into_iter().map(|name| (name, (-40.0, 40.0))).collect();
    passes::quantize(&mut model, &wide).unwrap();
    let rounded = difference(&model);
    assert!(passes::remove_quantization(&mut model) > 20);
    assert_eq!(count(&model, "QuantizeLinear") + count(&model, "DequantizeLinear"), 0);
    let weights = difference(&model);
    passes::half_precision(&mut model).unwrap();
    let halves = difference(&model);
    println!("8 bits {rounded:.1e}, weights of 8 bits {weights:.1e}, in half precision {halves:.1e}");
    assert!(weights > 1e-4 && weights < 0.05 && weights < 0.5 * rounded, "{weights} of {rounded}");
    assert!((halves - weights).abs() < 1e-2);
}
