//! Makes the gRPC types of the server from the protocol's definition, without needing `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/open_inference_grpc.proto");
    #[cfg(feature = "serve")]
    tonic_prost_build::configure()
        .build_client(false)
        .build_transport(false)
        .disable_comments(["."])
        .bytes(".") // tensors are slices of the request, not copies
        .codec_path("crate::serve::grpc::codec::Bounded")
        .compile_fds(protox::compile(["proto/open_inference_grpc.proto"], ["proto"])?)?;
    Ok(())
}
