//! First lines of doc comments say plainly what a thing is.
//!
//! The one rule that a program can check: none begins with a word that opens a riddle ("What the network sees").

#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::fs;
use std::path::{Path, PathBuf};

/// Words that no first line begins with.
const RIDDLES: [&str; 7] = ["What", "How", "Where", "Its", "Of", "That", "Whether"];

/// First lines of the doc comments in `source`, each with its line number from 1.
fn first_lines(source: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut before = None;
    source.lines().enumerate().filter_map(move |(index, line)| {
        let line = line.trim_start();
        let marker = ["///", "//!"].into_iter().find(|marker| line.starts_with(marker));
        let begins = marker.is_some() && marker != before;
        before = marker;
        let text = line.get(3..)?.trim();
        (begins && !text.starts_with('/')).then_some((index + 1, text))
    })
}

/// Tells whether the first word, behind quotes or brackets, is one of [`RIDDLES`].
fn is_riddle(text: &str) -> bool {
    let word = text.split(|c: char| !c.is_alphanumeric()).find(|word| !word.is_empty());
    word.is_some_and(|word| RIDDLES.contains(&word))
}

/// Rust files of the crates, of their tests and of the fuzz targets.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let visible = entries.filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.'));
    visible
        .flat_map(|path| match path.is_dir() {
            true if path.ends_with("target") => Vec::new(),
            true => rust_files(&path),
            false if path.extension().is_some_and(|extension| extension == "rs") => vec![path],
            false => Vec::new(),
        })
        .collect()
}

#[test]
fn no_first_line_is_a_riddle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let files = rust_files(root);
    assert!(files.len() > 100, "{} files are not the whole repository", files.len());
    let mut found = Vec::new();
    for file in &files {
        let source = fs::read_to_string(file).unwrap();
        let name = file.strip_prefix(root).unwrap().display();
        let riddles = first_lines(&source).filter(|(_, text)| is_riddle(text));
        found.extend(riddles.map(|(line, text)| format!("{name}:{line}: {text}")));
    }
    assert!(found.is_empty(), "{} first lines begin with {RIDDLES:?}:\n{}", found.len(), found.join("\n"));
}

#[test]
fn riddles_are_found() {
    let source = "//! Of a module.\n\n/// `Whether` it is.\n/// How it goes on.\nfn a() {}\n/// Plain: what it does.\nfn b() {}";
    let found: Vec<_> = first_lines(source).map(|(line, text)| (line, is_riddle(text))).collect();
    assert_eq!(found, [(1, true), (3, true), (6, false)]);
}
