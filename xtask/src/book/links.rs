//! Links between pages, to headings and to files of the repository.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use anyhow::{Result, bail};

use super::pages::Page;

/// Checks that all links of `pages` lead to a file or a heading, and that `docs/SUMMARY.md` names every page of the book.
///
/// Addresses of other sites are not asked for: the check needs no network.
///
/// # Errors
/// When a link leads nowhere, or a page is missing in the summary; all of them are listed.
pub fn check(root: &Path, pages: &[Page]) -> Result<usize> {
    let by_path: HashMap<&Path, &Page> = pages.iter().map(|page| (page.path.as_path(), page)).collect();
    let mut wrong = Vec::new();
    let mut checked = 0;
    for page in pages {
        for link in page.links.iter().filter(|link| !is_elsewhere(&link.target)) {
            checked += 1;
            if let Some(reason) = broken(root, page, &link.target, &by_path) {
                wrong.push(format!("{}:{}: {}: {reason}", page.path.display(), link.line, link.target));
            }
        }
    }
    wrong.extend(unlisted(pages, by_path.get(Path::new("docs/SUMMARY.md")).copied()));
    if !wrong.is_empty() {
        bail!("{} links to mend:\n{}", wrong.len(), wrong.join("\n"));
    }
    Ok(checked)
}

/// Tells whether `target` is an address of another site.
pub fn is_elsewhere(target: &str) -> bool {
    target.contains("://") || target.starts_with("mailto:")
}

/// Splits a target into the path from the root folder and the anchor; an empty path is the page itself.
pub fn resolve<'a>(page: &Path, target: &'a str) -> (PathBuf, Option<&'a str>) {
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    if path.is_empty() {
        return (page.to_owned(), anchor);
    }
    let mut resolved = PathBuf::new();
    for part in page.parent().unwrap_or(Path::new("")).join(path).components() {
        match part {
            Component::ParentDir => {
                resolved.pop();
            }
            Component::CurDir => {}
            part => resolved.push(part),
        }
    }
    (resolved, anchor)
}

fn broken(root: &Path, page: &Page, target: &str, pages: &HashMap<&Path, &Page>) -> Option<String> {
    let (path, anchor) = resolve(&page.path, target);
    if !root.join(&path).exists() {
        return Some(format!("there is no {}", path.display()));
    }
    let anchor = anchor?;
    match pages.get(path.as_path()) {
        None => Some(format!("{} has no headings", path.display())),
        Some(page) if page.anchors.contains(anchor) => None,
        Some(_) => Some(format!("{} has no heading `#{anchor}`", path.display())),
    }
}

fn unlisted(pages: &[Page], summary: Option<&Page>) -> Vec<String> {
    let Some(summary) = summary else { return vec!["docs/SUMMARY.md: not found".to_owned()] };
    let listed: Vec<_> = summary.links.iter().map(|link| resolve(&summary.path, &link.target).0).collect();
    let in_book = pages.iter().filter(|page| page.path.starts_with("docs") && page.path != summary.path);
    in_book
        .filter(|page| !listed.contains(&page.path))
        .map(|page| format!("docs/SUMMARY.md: does not name {}", page.path.display()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::pages::parse;
    use super::*;

    fn wrong(text: &str) -> String {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("docs")).unwrap();
        for name in ["README.md", "docs/a.md", "docs/SUMMARY.md", "docs/x.rs"] {
            std::fs::write(root.path().join(name), "").unwrap();
        }
        let pages = [
            parse(Path::new("README.md"), "# Top"),
            parse(Path::new("docs/a.md"), text),
            parse(Path::new("docs/SUMMARY.md"), "- [a](a.md)"),
        ];
        check(root.path(), &pages)
            .map_or_else(|error| error.to_string(), |checked| format!("{checked} right"))
    }

    #[test]
    fn only_links_that_lead_somewhere_pass() {
        assert_eq!(wrong("# Here\n[a](#here) [b](../README.md#top) [c](x.rs) [d](https://e.org)"), "4 right");
        for (link, reason) in [
            ("gone.md", "docs/a.md:1: gone.md: there is no docs/gone.md"),
            ("../README.md#gone", "README.md has no heading `#gone`"),
            ("#gone", "docs/a.md has no heading `#gone`"),
            ("x.rs#L1", "docs/x.rs has no headings"),
        ] {
            let found = wrong(&format!("[a]({link})"));
            assert!(found.contains("1 links to mend") && found.contains(reason), "{found}");
        }
    }

    #[test]
    fn the_summary_names_every_page() {
        let pages = [parse(Path::new("docs/a.md"), ""), parse(Path::new("docs/SUMMARY.md"), "")];
        assert_eq!(unlisted(&pages, pages.last()), ["docs/SUMMARY.md: does not name docs/a.md"]);
    }
}
