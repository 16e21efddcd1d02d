//! Peak of heap memory while a file is written: at most four times the weights, which are counted too.

#![allow(clippy::unwrap_used)] // a test fails by panicking

use ferronnx_models::networks::{Architecture, Classifier};
use ferronnx_models::onnx::{self, Interface, Opset, WeightsDigest, passes};
use ferronnx_models::testing;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Runs all checks in one test, because there is one heap.
#[test]
fn at_most_four_times_the_weights() {
    let network = Classifier::new(&Architecture::default()).unwrap();
    let weights = testing::weights(&network, &[1, 3, 32, 32]).unwrap();
    let weights_bytes: usize = weights.values().map(|values| 4 * values.len()).sum();
    let interface = Interface::new([3, 32, 32]).output("logits");
    for form in ["fp32", "fp16", "int8"] {
        let profiler = dhat::Profiler::builder().testing().build();
        let mut graph = onnx::trace(&network, &weights, &interface, Opset::default()).unwrap();
        passes::fold_batch_norm(&mut graph);
        match form {
            "fp16" => passes::half_precision(&mut graph).unwrap(),
            "int8" => {
                let values = passes::quantized_values(&graph).into_iter();
                let ranges = values.map(|name| (name, (-1.0, 2.0))).collect();
                passes::quantize(&mut graph, &ranges).unwrap();
            }
            _ => {}
        }
        WeightsDigest::of_graph(&graph.graph).unwrap();
        let file = onnx::encode(graph, &[("key", "value")]);
        let peak = weights_bytes + dhat::HeapStats::get().max_bytes;
        drop(profiler);
        let fp32 = file.len().max(weights_bytes); // others start from the same weights
        println!("{form}: {peak} bytes, {:.2} times the fp32 file", peak as f64 / fp32 as f64);
        assert!(peak <= 4 * fp32, "{form}: {peak} bytes for a file of {}", file.len());
    }
}
