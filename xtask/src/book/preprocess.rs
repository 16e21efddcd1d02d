//! Preprocessor of mdBook: links that leave `docs/` lead to the repository's site.
//!
//! On GitHub such links are relative. The book has only the pages of `docs/`.

use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::links::{is_elsewhere, resolve};
use super::pages;

/// Answers mdBook: `supports RENDERER`, or the book on standard input with its links replaced.
///
/// # Errors
/// When standard input is not a book of mdBook.
pub fn run(args: &[String]) -> Result<()> {
    if args.first().is_some_and(|first| first == "supports") {
        return Ok(());
    }
    let mut input = String::new();
    io::stdin().read_to_string(&mut input).context("cannot read the book from standard input")?;
    let (context, mut book): (Value, Value) =
        serde_json::from_str(&input).context("standard input is not a book of mdBook")?;
    let repository = context.pointer("/config/output/html/git-repository-url").and_then(Value::as_str);
    let repository = repository.context("book.toml: output.html.git-repository-url is not set")?;
    replace_in(&mut book, repository);
    println!("{book}");
    Ok(())
}

fn replace_in(value: &mut Value, repository: &str) {
    if let (Some(content), Some(path)) = (value["content"].as_str(), value["path"].as_str()) {
        value["content"] = replaced(content, &Path::new("docs").join(path), repository).into();
    }
    match value {
        Value::Object(fields) => fields.values_mut().for_each(|field| replace_in(field, repository)),
        Value::Array(items) => items.iter_mut().for_each(|item| replace_in(item, repository)),
        _ => {}
    }
}

fn replaced(content: &str, path: &Path, repository: &str) -> String {
    let mut text = content.to_owned();
    for link in pages::parse(path, content).links.iter().rev().filter(|link| !is_elsewhere(&link.target)) {
        let (file, anchor) = resolve(path, &link.target);
        if !file.starts_with("docs") {
            let anchor = anchor.map(|anchor| format!("#{anchor}")).unwrap_or_default();
            let site = format!("]({repository}/blob/main/{}{anchor})", file.display());
            let whole = content[link.range.clone()].replace(&format!("]({})", link.target), &site);
            text.replace_range(link.range.clone(), &whole);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_out_of_the_book_change() {
        let mut book = serde_json::json!({"items": [{"Chapter": {
            "path": "a/b.md",
            "content": "[x](../../README.md#top) [y](../c.md) [z](#d) [w](https://e.org)",
            "sub_items": [{"Chapter": {"path": "c.md", "content": "[x](../models/l.rs)"}}],
        }}]});
        replace_in(&mut book, "https://site.org/us");
        let chapter = &book["items"][0]["Chapter"];
        let outer =
            "[x](https://site.org/us/blob/main/README.md#top) [y](../c.md) [z](#d) [w](https://e.org)";
        assert_eq!(chapter["content"], outer);
        let inner = &chapter["sub_items"][0]["Chapter"];
        assert_eq!(inner["content"], "[x](https://site.org/us/blob/main/models/l.rs)");
    }
}
