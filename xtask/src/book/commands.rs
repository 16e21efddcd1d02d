//! Command blocks of the documentation, run by bash in a folder that has what they name.
//!
//! Blocks of `sh` are scripts; in blocks of `console`, lines with `$ ` are commands and the others their output. A comment
//! before the block says when it is not run: `<!-- flags only: REASON -->` has the programs read the flags and values, and
//! `<!-- not run: REASON -->` leaves the block out.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use super::fixture::{self, Programs};
use super::pages::{Block, Page};
use crate::workspace;

/// Programs that this machine lacks, and all but ours where only flags are checked.
const PRELUDE: &str = r#"set -euo pipefail
PATH=$DOCS_BLOCK_PATH
command_not_found_handle() { echo "not run: $*" >>"$DOCS_LOG"; [ ! -p /dev/stdin ] || while read -r; do :; done; }
"#;
/// Address of the server in the documentation; the check takes a free port.
const ADDRESS: &str = "127.0.0.1:8000";
/// Printed after each command of a `console` block.
const END: char = '\u{1}';

/// The way a block is checked.
#[derive(Debug, PartialEq)]
enum Way<'a> {
    Run,
    FlagsOnly,
    NotRun(&'a str),
}

/// Runs the command blocks of `pages` and prints how each command was checked.
///
/// # Errors
/// When a command fails, a program refuses a flag, or output of today lacks a line of the documented one; all are listed.
pub fn check(pages: &[Page]) -> Result<()> {
    let programs = Programs::find()?;
    let folder = fixture::make(&programs)?;
    let server = Server::start(&programs, &folder)?;
    let runner = Runner { folder, programs, address: server.address.clone() };
    let mut wrong = Vec::new();
    for page in pages {
        for block in page.blocks.iter().filter(|block| ["sh", "console"].contains(&block.language.as_str())) {
            let place = format!("{}:{}", page.path.display(), block.line);
            match way(page, block) {
                Way::NotRun(reason) => runner.note(&format!("not run: {place}: {reason}"))?,
                way => wrong.extend(runner.check(block, &way).err().map(|why| format!("{place}: {why:#}"))),
            }
        }
    }
    drop(server);
    runner.summary()?;
    if !wrong.is_empty() {
        bail!("{} command blocks to mend:\n{}", wrong.len(), wrong.join("\n"));
    }
    Ok(())
}

fn way<'a>(page: &Page, block: &'a Block) -> Way<'a> {
    let comment = block.comment.as_deref().unwrap_or_default();
    if page.path.starts_with("docs/measurements") {
        return Way::NotRun("a dated record");
    }
    match comment.split_once(": ") {
        Some(("not run", reason)) => Way::NotRun(reason),
        Some(("flags only", _)) => Way::FlagsOnly,
        _ => Way::Run,
    }
}

/// A folder and programs to run blocks with.
struct Runner {
    folder: PathBuf,
    programs: Programs,
    address: String,
}

impl Runner {
    fn check(&self, block: &Block, way: &Way) -> Result<()> {
        let text = block.text.replace(ADDRESS, &self.address);
        if block.language == "sh" {
            return self.bash(&text, way).map(|_| ());
        }
        let commands = console(&text);
        let script: String = commands.iter().map(|command| command.script(way)).collect();
        let printed = self.bash(&format!("exec 2>&1\n{script}"), way)?;
        if *way == Way::Run {
            for (command, printed) in commands.iter().zip(printed.split(END)) {
                command.compare(printed)?;
            }
        }
        Ok(())
    }

    fn bash(&self, script: &str, way: &Way) -> Result<String> {
        let release = self.folder.join("target/release");
        let usual = std::env::var("PATH").unwrap_or_default();
        let (flags_only, path) = match way {
            Way::FlagsOnly => ("1", release.display().to_string()),
            _ => ("0", format!("{}:{usual}", release.display())),
        };
        let output = Command::new("timeout")
            .args(["300", "/bin/bash", "-c", &format!("{PRELUDE}{script}")])
            .current_dir(&self.folder)
            .env("DOCS_BLOCK_PATH", path)
            .env("DOCS_PATH", usual)
            .env("OMP_WAIT_POLICY", "PASSIVE")
            .env("DOCS_FLAGS_ONLY", flags_only)
            .env("DOCS_LOG", self.log())
            .env("DOCS_ROOT", workspace::root())
            .env("DOCS_PROGRAMS", &self.programs.folder)
            .stdin(Stdio::null())
            .output()
            .context("bash: cannot start")?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!("{}\n{}{}", output.status, indented(&printed), indented(&errors));
        }
        Ok(printed)
    }

    fn log(&self) -> PathBuf {
        self.folder.join("commands.log")
    }

    fn note(&self, line: &str) -> Result<()> {
        use std::io::Write;
        let mut log = fs::OpenOptions::new().append(true).create(true).open(self.log())?;
        writeln!(log, "{line}").context("cannot write commands.log")
    }

    /// Prints the number of commands by the way they were checked, and those that were not run.
    fn summary(&self) -> Result<()> {
        let log = fs::read_to_string(self.log()).context("cannot read commands.log")?;
        let mut counts = BTreeMap::new();
        for line in log.lines() {
            *counts.entry(line.split(':').next().unwrap_or_default()).or_insert(0) += 1;
        }
        for line in log.lines().filter(|line| !line.starts_with("ran:") && !line.contains("a dated record")) {
            println!("  {line}");
        }
        println!("commands: {counts:?}; all are in {}", workspace::short(&self.log()));
        Ok(())
    }
}

/// The last lines of what a command printed, for a list of errors.
fn indented(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].iter().map(|line| format!("    {line}\n")).collect()
}

/// A command of a `console` block with its documented output.
#[derive(Debug, Default, PartialEq)]
struct Documented {
    command: String,
    output: String,
}

fn console(text: &str) -> Vec<Documented> {
    let mut commands: Vec<Documented> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => {
                commands.push(Documented { command: command.to_owned(), ..Documented::default() });
            }
            (None, Some(last)) if last.command.ends_with('\\') => {
                last.command = format!("{}\n{line}", last.command);
            }
            (None, Some(last)) => last.output = format!("{}{line}\n", last.output),
            (None, None) => {}
        }
    }
    commands
}

impl Documented {
    /// The command followed by [`END`]; one that is documented with an error has to fail.
    fn script(&self, way: &Way) -> String {
        let command = &self.command;
        if *way == Way::Run && self.output.lines().any(|line| line.starts_with("error: ")) {
            return format!("if {command}; then echo 'it did not fail'; exit 1; fi\nprintf '{END}'\n");
        }
        format!("{command}\nprintf '{END}'\n")
    }

    /// Compares the words with which lines begin: figures and names of files differ from machine to machine.
    fn compare(&self, printed: &str) -> Result<()> {
        let printed: Vec<_> = printed.lines().filter_map(begins).collect();
        for word in self.output.lines().filter_map(begins) {
            if !printed.contains(&word) {
                bail!("`{}` prints no line that begins with `{word}`, but {printed:?}", self.command);
            }
        }
        Ok(())
    }
}

/// Word at the begin of a line that is not indented.
fn begins(line: &str) -> Option<&str> {
    let word = line.split([' ', ':']).next()?;
    (!word.is_empty() && word.chars().all(|c| c.is_alphabetic() || c == '-')).then_some(word)
}

/// A running `infer serve` for blocks that ask it.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(programs: &Programs, folder: &Path) -> Result<Self> {
        let mut command = Command::new(programs.folder.join("infer"));
        command.args(["serve", "model.onnx", "photos.onnx", "--listen", "127.0.0.1:0"]).current_dir(folder);
        let mut process = command.stderr(Stdio::piped()).spawn().context("infer serve: cannot start")?;
        let output = BufReader::new(process.stderr.take().context("infer serve: no output")?);
        let mut lines = output.lines().map_while(Result::ok);
        let address = lines.find_map(|line| {
            line.split_once("listening on http://")
                .and_then(|(_, rest)| rest.split(' ').next().map(str::to_owned))
        });
        std::thread::spawn(move || lines.for_each(drop));
        let Some(address) = address else {
            let _ = process.kill();
            bail!("infer serve: did not say where it listens");
        };
        Ok(Self { process, address })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The check is over: how the server ends is a matter of its own tests.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::super::pages::parse;
    use super::*;

    const TEXT: &str = "<!-- not run: needs a GPU -->\n```sh\na\n```\n<!-- flags only: slow -->\n```sh\na\n```\n```sh\na\n```\n";

    #[test]
    fn comments_say_how_a_block_is_checked() {
        let page = parse(Path::new("docs/a.md"), TEXT);
        let ways: Vec<_> = page.blocks.iter().map(|block| way(&page, block)).collect();
        assert_eq!(ways, [Way::NotRun("needs a GPU"), Way::FlagsOnly, Way::Run]);
    }

    #[test]
    fn consoles_are_taken_apart_and_compared() {
        let commands = console("$ infer a \\\n  b\nmodel  x\n  1\n$ infer c\nerror: no\n");
        assert_eq!(commands[0].command, "infer a \\\n  b");
        assert_eq!(commands[0].output, "model  x\n  1\n");
        commands[0].compare("start 1\nmodel  y\n").unwrap();
        let error = commands[0].compare("models  y\n").unwrap_err().to_string();
        assert!(error.contains("no line that begins with `model`"), "{error}");
        assert!(commands[1].script(&Way::Run).starts_with("if infer c; then"));
        assert!(commands[1].script(&Way::FlagsOnly).starts_with("infer c"));
    }

    #[test]
    fn a_flag_that_is_gone_fails() {
        let folder = tempfile::tempdir().unwrap();
        let programs = Programs { folder: folder.path().join("programs") };
        fs::create_dir(&programs.folder).unwrap();
        fixture::commands(folder.path()).unwrap();
        let infer = programs.folder.join("infer");
        fs::write(
            &infer,
            "#!/bin/sh\ncase \"$*\" in *--gone*) echo no >&2; exit 2 ;; *--help) ;; *) exit 3 ;; esac\n",
        )
        .unwrap();
        fs::set_permissions(&infer, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let runner = Runner { folder: folder.path().to_owned(), programs, address: ADDRESS.to_owned() };
        let check = |text: &str, way| {
            let page = parse(Path::new("docs/a.md"), &format!("```sh\n{text}\n```\n"));
            runner.check(&page.blocks[0], &way).map_err(|error| error.to_string())
        };
        check("infer x --here | jq .; curl -x", Way::FlagsOnly).unwrap();
        let refused = check("infer x \\\n  --gone", Way::FlagsOnly).unwrap_err();
        assert!(refused.contains("exit status: 2\n    no"), "{refused}");
        assert!(check("target/release/infer x", Way::Run).unwrap_err().contains("exit status: 3"));
    }
}
