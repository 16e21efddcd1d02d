//! Makes the ONNX message types from the format's own definition, without needing `protoc`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto/onnx.proto");
    let files = protox::compile(["proto/onnx.proto"], ["proto"])?;
    // Weights are slices of the file's bytes, not copies of them.
    prost_build::Config::new().disable_comments(["."]).bytes(["."]).compile_fds(files)?;
    Ok(())
}
