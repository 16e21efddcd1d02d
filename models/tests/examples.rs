//! The examples do what they say.

#![allow(clippy::unwrap_used)] // a test fails by panicking

#[path = "../examples/layer.rs"]
mod layer;

#[test]
fn a_layer_is_exported_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let summary = layer::run(&folder.path().join("layer.onnx")).unwrap();
    let operators: Vec<_> = summary.operators.keys().map(String::as_str).collect();
    assert_eq!(operators, ["Conv", "Add", "Relu"], "batch norm is folded");
    assert_eq!(summary.inputs[0].shape, ["batch", "8", "16", "16"]);
    assert_eq!(summary.metadata["author"], 2);
}
