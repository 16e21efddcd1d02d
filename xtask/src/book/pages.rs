//! Markdown pages of the repository: their headings, links and command blocks.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use walkdir::{DirEntry, WalkDir};

/// Folders without pages of ours.
const LEFT_OUT: [&str; 6] = [".git", ".native", "target", "demo", "runs", "node_modules"];

/// A Markdown page.
#[derive(Debug, Default)]
pub struct Page {
    /// Path relative to the root folder.
    pub path: PathBuf,
    /// Anchors of the headings, as GitHub and mdBook make them.
    pub anchors: HashSet<String>,
    /// Links and images.
    pub links: Vec<Link>,
    /// Fenced blocks.
    pub blocks: Vec<Block>,
}

/// A link or an image.
#[derive(Debug)]
pub struct Link {
    /// Line, from 1.
    pub line: usize,
    /// Target as written.
    pub target: String,
    /// Bytes of the whole link in the page.
    pub range: Range<usize>,
}

/// A fenced block.
#[derive(Debug)]
pub struct Block {
    /// Line of its first content, from 1.
    pub line: usize,
    /// Info string: `sh`, `console`, `rust,no_run`.
    pub language: String,
    /// Content.
    pub text: String,
    /// Comment directly before the block, without `<!--` and `-->`.
    pub comment: Option<String>,
}

/// Reads all pages of the repository, sorted by path.
///
/// # Errors
/// When a page cannot be read.
pub fn read_all(root: &Path) -> Result<Vec<Page>> {
    let ours = |entry: &DirEntry| !LEFT_OUT.iter().any(|name| entry.file_name() == *name);
    let mut pages = Vec::new();
    for entry in WalkDir::new(root).sort_by_file_name().into_iter().filter_entry(ours) {
        let entry = entry.context("cannot look for Markdown pages")?;
        if entry.path().extension().is_some_and(|extension| extension == "md") {
            let text = fs::read_to_string(entry.path());
            let text = text.with_context(|| format!("cannot read {}", entry.path().display()))?;
            pages.push(parse(entry.path().strip_prefix(root)?, &text));
        }
    }
    Ok(pages)
}

/// Parses one page with the extensions that mdBook and GitHub share.
pub fn parse(path: &Path, text: &str) -> Page {
    let mut page = Page { path: path.to_owned(), ..Page::default() };
    let mut used = HashMap::new();
    let mut heading: Option<String> = None;
    let mut block: Option<Block> = None;
    let mut comment = None;
    let line = |offset: usize| text[..offset].matches('\n').count() + 1;
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                page.anchors.extend(heading.take().map(|title| unique(&anchor(&title), &mut used)));
            }
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                page.links.push(Link { line: line(range.start), target: dest_url.to_string(), range });
            }
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                let (line, language) = (line(range.start) + 1, info.to_string());
                block = Some(Block { line, language, text: String::new(), comment: comment.take() });
            }
            Event::End(TagEnd::CodeBlock) => page.blocks.extend(block.take()),
            Event::Html(html) => comment = comment_in(&html).or(comment),
            Event::End(TagEnd::HtmlBlock) | Event::Start(Tag::HtmlBlock) => {}
            Event::Text(part) | Event::Code(part) => {
                if let Some(text) = block.as_mut().map(|block| &mut block.text).or(heading.as_mut()) {
                    text.push_str(&part);
                }
                comment = None;
            }
            _ => comment = None,
        }
    }
    page
}

fn comment_in(html: &str) -> Option<String> {
    let inside = html.trim().strip_prefix("<!--")?.strip_suffix("-->")?;
    Some(inside.trim().to_owned())
}

/// Anchor of a heading: lower case, words joined by `-`, without punctuation.
fn anchor(title: &str) -> String {
    let kept = title.trim().chars().filter_map(|c| match c {
        c if c.is_alphanumeric() || c == '_' || c == '-' => Some(c),
        c if c.is_whitespace() => Some('-'),
        _ => None,
    });
    kept.flat_map(char::to_lowercase).collect()
}

fn unique(anchor: &str, used: &mut HashMap<String, usize>) -> String {
    let count = used.entry(anchor.to_owned()).or_insert(0);
    *count += 1;
    if *count == 1 { anchor.to_owned() } else { format!("{anchor}-{}", *count - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# `infer`, the program\n\n[a](b.md#c) ![d](e.png)\n\n<!-- not run: no network -->\n```sh\ncurl x\n```\n\n\
                        ## Again\n## Again\n\n```console\n$ ls\n```\n";

    #[test]
    fn headings_links_and_blocks_are_found() {
        let page = parse(Path::new("a.md"), TEXT);
        for name in ["infer-the-program", "again", "again-1"] {
            assert!(page.anchors.contains(name), "{name}: {:?}", page.anchors);
        }
        let links: Vec<_> = page.links.iter().map(|link| (link.line, link.target.as_str())).collect();
        assert_eq!(links, [(3, "b.md#c"), (3, "e.png")]);
        let blocks: Vec<_> = page.blocks.iter().map(|block| (block.line, block.comment.as_deref())).collect();
        assert_eq!(blocks, [(7, Some("not run: no network")), (14, None)]);
        assert_eq!(page.blocks[1].text, "$ ls\n");
    }
}
