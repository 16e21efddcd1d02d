//! Builds a program whose bytes do not depend on the machine's folders.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::origin::Origin;
use super::{Program, Release};
use crate::pip;
use crate::setup::Platform;
use crate::workspace::{cargo, executable, output, root, short};

/// Builds the program of `release` and returns the file.
///
/// On Linux, `infer` is linked by Zig, which has the symbols of older versions of glibc. `train` is C++ in part and needs
/// the compiler of libtorch's own C++ library.
///
/// # Errors
/// When a tool cannot be installed, or the build fails.
pub fn program(release: &Release, profile: &str, origin: &Origin) -> Result<PathBuf> {
    let triple = release.platform.triple();
    let with_zig = release.program == Program::Infer && release.platform != Platform::MacArm64;
    let mut build = cargo(&[if with_zig { "zigbuild" } else { "build" }, "--profile", profile, "--locked"]);
    if with_zig {
        let tools = root().join("target/dist-tools");
        pip::install(&root().join("xtask/src/dist/requirements.txt"), &tools)?;
        let path = env::var_os("PATH").unwrap_or_default();
        let path = [tools.join("bin")].into_iter().chain(env::split_paths(&path));
        build.env("PATH", env::join_paths(path).context("PATH")?);
        // Zig's C compiler is another one: in one folder, each program would rebuild what is C for the other.
        build.arg("--target-dir").arg(origin.target.join("zig"));
        build.env("CARGO_ZIGBUILD_ZIG_PATH", tools.join("ziglang/zig"));
        let [major, minor, _] = super::GLIBC.0;
        build.args(["--target", &format!("{triple}.{major}.{minor}")]);
    } else {
        build.args(["--target", triple]);
    }
    build.args(["--package", release.program.package(), "--bin", &release.program.to_string()]);
    build.args(["--features", super::FEATURE]);
    build.arg("--message-format=json-render-diagnostics");
    // Paths reach the programs by panics (rustc) and by assertions (C and C++).
    let renamed = |flag: &str| {
        let one = |(folder, name): &(PathBuf, String)| format!("{flag}={}={name}", folder.display());
        origin.folders.iter().map(one).collect::<Vec<_>>()
    };
    build.env("CARGO_ENCODED_RUSTFLAGS", renamed("--remap-path-prefix").join("\x1f"));
    build.env("CFLAGS", renamed("-ffile-prefix-map").join(" "));
    build.env("CXXFLAGS", renamed("-ffile-prefix-map").join(" "));
    build
        .env("FERRONNX_RELOCATABLE", "1")
        .env("CARGO_INCREMENTAL", "0")
        .env("SOURCE_DATE_EPOCH", origin.date.to_string());
    for name in ["RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS"].map(OsString::from) {
        build.env_remove(name);
    }
    println!("building {} for {triple}, which takes minutes", release.program);
    let built = executable(&output(&mut build)?, &release.program.to_string())?;
    println!("built {}", short(&built));
    Ok(built)
}
