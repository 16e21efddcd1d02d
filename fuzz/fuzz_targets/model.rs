//! Fuzzes ONNX files: reading, the passes over what was read, and the meaning of the outputs.
#![no_main]

use ferronnx_models::onnx::external_data::Loaded;
use ferronnx_models::onnx::{self, Model, Summary, WeightsDigest, fuse, passes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let summary = Summary::of_file(bytes);
    let _ = WeightsDigest::of_file(bytes);
    let _ = onnx::metadata(bytes, "ferronnx.card");
    if let Ok(mut loaded) = Loaded::read(bytes.to_vec(), |_| Some(bytes.to_vec())) {
        summary.expect("a graph that can be separated can be summarised");
        fuse::attention(&mut loaded.model, &fuse::Kind::ALL, 16);
        let _ = loaded.separate();
    }
    let Ok(mut model) = Model::from_slice(bytes) else { return };
    for output in &model.graph.outputs {
        let _ = onnx::output_values(&model, &output.name);
    }
    let _ = onnx::output_values::class_labels(&model);
    let again = Model::decode(model.clone().encode()).expect("what was written can be read");
    assert_eq!(again.encode(), model.clone().encode());
    passes::fold_batch_norm(&mut model);
    passes::deduplicate_initializers(&mut model, |_| false);
    let _ = passes::embed_preprocessing(&mut model, &[0.5; 3], &[0.5; 3]);
    let ranges = passes::quantized_values(&model).into_iter().map(|name| (name, (-1.0, 1.0))).collect();
    let _ = passes::quantize(&mut model.clone(), &ranges);
    let _ = passes::half_precision(&mut model);
    passes::eliminate_dead_nodes(&mut model);
});
