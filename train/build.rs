//! Compiles the C++ files for functions that tch lacks, and sets the run path to libtorch: where it was built, or
//! beside an installed binary.
//!
//! With `FERRONNX_RELOCATABLE` set, as `cargo xtask dist` does, only the second: no path of this machine stays in the binary.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo:rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
    println!("cargo:rerun-if-env-changed=FERRONNX_RELOCATABLE");
    println!("cargo:rerun-if-changed=src/native");
    let Some(lib) = std::env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from) else { return };
    compile(&lib);
    if std::env::var_os("FERRONNX_RELOCATABLE").is_none() {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
    }
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../libtorch/torch/lib");
}

fn compile(lib: &Path) {
    // As torch-sys: headers lie beside the libraries unless they are named.
    let root =
        std::env::var_os("LIBTORCH_INCLUDE").map_or_else(|| lib.join(".."), PathBuf::from).join("include");
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        // Declarations of Gloo, which libtorch has without its headers.
        .includes([root.join("torch/csrc/api/include"), root, "src/native".into()])
        .define("USE_C10D_GLOO", None)
        .warnings(false)
        .files(["src/native/native.cpp", "src/native/c10d.cpp", "src/native/data_parallel.cpp"])
        .compile("ferronnx_native");
}
