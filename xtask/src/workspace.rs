//! Where the workspace lies, and cargo as its user would call it there.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The folder of the root `Cargo.toml`.
pub fn root() -> &'static Path {
    let member = Path::new(env!("CARGO_MANIFEST_DIR"));
    member.parent().unwrap_or(member)
}

/// The folder of the native libraries.
pub fn native() -> PathBuf {
    // Not for users: `.cargo/config.toml` names `.native` too. Tests bring libraries elsewhere with it.
    env::var_os("FERRONNX_NATIVE_DIR").map_or_else(|| root().join(".native"), PathBuf::from)
}

/// A path as one would type it in the root folder.
pub fn short(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The cargo that runs us, in the root folder.
///
/// What cargo said about *this* crate is taken out of its environment: build scripts that watch such a
/// variable would run again, and torch-sys takes minutes.
pub fn cargo(args: &[&str]) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(args).current_dir(root());
    for (name, _) in env::vars_os().filter(|(name, _)| is_about_this_crate(name)) {
        cargo.env_remove(name);
    }
    cargo
}

fn is_about_this_crate(name: &OsString) -> bool {
    let name = name.to_string_lossy();
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// Runs `command` to its end, showing what it prints.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// Runs `command` to its end and returns what it prints on stdout; stderr stays visible.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` failed ({})", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{shown}` printed something that is no text"))
}

/// The command as one would type it in the root folder.
pub fn show(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program =
        if program.file_stem().is_some_and(|stem| stem == "cargo") { Path::new("cargo") } else { program };
    let args = command.get_args().map(|arg| arg.to_string_lossy().into_owned());
    std::iter::once(short(program)).chain(args).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_typed() {
        assert_eq!(show(Command::new("/toolchain/bin/cargo").args(["fmt", "--all"])), "cargo fmt --all");
        assert_eq!(show(&Command::new(root().join("target/release/infer"))), "target/release/infer");
    }

    #[test]
    fn cargo_does_not_hear_about_this_crate() {
        let cargo = cargo(&["--version"]);
        let removed: Vec<_> =
            cargo.get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect();
        assert!(removed.iter().any(|name| *name == "CARGO_MANIFEST_DIR"), "{removed:?}");
        assert!(!removed.iter().any(|name| *name == "CARGO_TARGET_DIR"), "{removed:?}");
    }
}
