//! A file of any program through passes: `rewrite IN.onnx OUT.onnx PASS...`
//!
//! `cargo run -p ferronnx-models --example rewrite -- in.onnx out.onnx fold-batch-norm half-precision`

use std::error::Error;
use std::fs;

use ferronnx_models::onnx::{Model, passes};

fn apply(pass: &str, model: &mut Model) -> Result<(), Box<dyn Error>> {
    match pass {
        "fold-batch-norm" => passes::fold_batch_norm(model),
        "eliminate-dead-nodes" => passes::eliminate_dead_nodes(model),
        "deduplicate-initializers" => passes::deduplicate_initializers(model, |_| false),
        "half-precision" => passes::half_precision(model)?,
        other => return Err(format!("there is no pass {other}").into()),
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, to, passes @ ..] = &arguments[..] else {
        return Err("usage: rewrite IN.onnx OUT.onnx PASS...".into());
    };
    let mut model = Model::decode(fs::read(from)?)?;
    passes.iter().try_for_each(|pass| apply(pass, &mut model))?;
    fs::write(to, model.encode())?;
    Ok(())
}
