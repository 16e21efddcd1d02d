//! Paths of the workspace, and commands run in its root folder.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Root folder of the workspace.
pub fn root() -> &'static Path {
    let member = Path::new(env!("CARGO_MANIFEST_DIR"));
    member.parent().unwrap_or(member)
}

/// Folder of the native libraries, `.native/`.
pub fn native() -> PathBuf {
    // The variable is for tests only, since `.cargo/config.toml` names `.native` too.
    env::var_os("FERRONNX_NATIVE_DIR").map_or_else(|| root().join(".native"), PathBuf::from)
}

/// Path relative to the root folder, for messages.
pub fn short(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// A cargo command that runs in the root folder.
///
/// The variables that cargo sets for *this* crate are removed: build scripts that watch one of them would run
/// again, and torch-sys takes minutes.
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

/// Runs `command` and shows its output.
///
/// # Errors
/// When it does not start or fails.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// Runs `command` and returns its standard output; standard error stays visible.
///
/// # Errors
/// When it does not start, fails, or prints something that is not UTF-8.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` failed ({})", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{shown}` printed something that is not UTF-8"))
}

/// File of the program `name` among cargo's messages in JSON.
///
/// The target folder can be configured in many ways, so cargo is asked for the paths.
///
/// # Errors
/// When cargo built no such program.
pub fn executable(messages: &str, name: &str) -> Result<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo built no binary `{name}`"))
}

/// Command line for messages, with paths relative to the root folder.
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

    #[test]
    fn the_binary_is_found_among_cargos_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"train\"},\"executable\":null}\n\
                        {\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"train\"},\"executable\":\"/t/train\"}\n\
                        {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executable(messages, "train").unwrap(), Path::new("/t/train"));
        assert_eq!(executable(messages, "infer").unwrap_err().to_string(), "cargo built no binary `infer`");
    }
}
