//! `cargo xtask book`: builds the documentation as a book and checks its links and commands.

mod commands;
mod fixture;
mod links;
mod pages;
mod preprocess;

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::tools;
use crate::workspace::{root, run as run_command};

/// Options of `cargo xtask book`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask book                    writes target/book/index.html; runs the commands with the programs of the last
                                      `cargo build --workspace --all-targets` or `cargo xtask test`")]
pub struct BookArgs {
    /// Asked by mdBook: `mdbook`, then its arguments
    #[arg(hide = true)]
    mdbook: Vec<String>,
}

/// Runs `cargo xtask book`.
pub fn run(args: &BookArgs) -> Result<()> {
    match args.mdbook.split_first() {
        Some((_, rest)) => preprocess::run(rest),
        None => check(),
    }
}

/// Builds the book, then checks links and command blocks of all pages of the repository.
///
/// # Errors
/// When a page cannot be built, a link leads nowhere, or a command fails.
pub fn check() -> Result<()> {
    build()?;
    let pages = pages::read_all(root())?;
    println!("{} links lead to a file or a heading", links::check(root(), &pages)?);
    commands::check(&pages)
}

fn build() -> Result<()> {
    // By its name: the tests of the workspace may have replaced the file that runs here.
    let this = std::env::current_exe().context("cannot find this program")?.with_file_name("xtask");
    let mut mdbook = Command::new(tools::program(&tools::MDBOOK)?);
    mdbook.arg("build").current_dir(root());
    // The same as in book.toml, without asking cargo.
    run_command(
        mdbook.env("MDBOOK_PREPROCESSOR__REPOSITORY__COMMAND", format!("{} book mdbook", this.display())),
    )?;
    // mdBook leaves out a preprocessor that fails at its first question.
    let index =
        fs::read_to_string(root().join("target/book/index.html")).context("target/book/index.html")?;
    ensure!(
        !index.contains("href=\"../"),
        "target/book: links leave the book, because its preprocessor did not run"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_badges_are_true() {
        let readme = std::fs::read_to_string(crate::workspace::root().join("README.md")).unwrap();
        let rust = concat!("[![Rust ", env!("CARGO_PKG_RUST_VERSION"), " or newer]");
        let licence = format!("[![licence: {}]", env!("CARGO_PKG_LICENSE").replace("OR", "or"));
        assert!(readme.contains(rust) && readme.contains(&licence), "{rust} {licence}");
    }
}
