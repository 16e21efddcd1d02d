//! Licence texts of all components, in one file.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use spdx::{Expression, ParseMode};

use super::components::Component;

/// Beginnings of the names of licence files, in lower case.
const NAMES: [&str; 6] = ["licen", "copying", "copyright", "notice", "unlicense", "authors"];

/// Line between the parts of the file.
const RULE: &str = "================================================================================\n";

/// Writes names, versions, licences, authors and texts of `components` to `path`.
///
/// A text that several components have is written once.
///
/// # Errors
/// When a component has no text, or a file cannot be read or written.
pub fn write(components: &[Component], path: &Path) -> Result<()> {
    super::write(path, listing(components)?)
}

fn listing(components: &[Component]) -> Result<String> {
    let mut list = String::from(
        "Software that was made by others and is in this archive or was part of its build, with its licences. Texts follow \
         below.\n\n",
    );
    let mut numbers = BTreeMap::new();
    let mut texts = Vec::new();
    for component in components {
        let Component { name, version, licence, authors, repository, .. } = component;
        writeln!(list, "{name} {version}: {}", licence.as_deref().unwrap_or("see the text"))?;
        if !authors.is_empty() {
            writeln!(list, "  by {}", authors.join(", "))?;
        }
        if let Some(repository) = repository {
            writeln!(list, "  {repository}")?;
        }
        if component.kind == "pypi" {
            writeln!(list, "  texts in licenses/{name}/")?;
            continue;
        }
        for (source, text) in texts_of(component).with_context(|| format!("licence of {name} {version}"))? {
            let number = *numbers.entry(text.clone()).or_insert_with(|| {
                texts.push(text);
                texts.len()
            });
            writeln!(list, "  text {number}: {source}")?;
        }
    }
    for (number, text) in (1..).zip(texts) {
        write!(list, "\n{RULE}Text {number}\n{RULE}\n{}\n", text.trim_end())?;
    }
    Ok(list)
}

/// Licence texts of a component, each with its source: its own files, else those of its licence expression.
fn texts_of(component: &Component) -> Result<Vec<(String, String)>> {
    let mut files = component.folder.as_deref().map(licence_files).transpose()?.unwrap_or_default();
    files.extend(component.licence_file.clone().filter(|file| !files.contains(file)));
    let own: Result<Vec<_>> = files.iter().map(|file| read(file)).collect();
    let own = own?;
    if !own.is_empty() {
        return Ok(own);
    }
    let Some(licence) = &component.licence else {
        bail!("it has neither a licence expression nor a licence file")
    };
    let texts = standard_texts(licence)?.into_iter();
    let holder = holder(component);
    Ok(texts.map(|(source, text)| (source, signed(text, &holder))).collect())
}

/// Holder of the copyright, for a standard text that has a place for one.
fn holder(component: &Component) -> String {
    match component.authors.is_empty() {
        true => format!("the authors of {}", component.name),
        false => component.authors.join(", "),
    }
}

/// Puts the holder into a standard text.
fn signed(text: String, holder: &str) -> String {
    text.replace("<year> <copyright holders>", holder).replace("<year> <owner>", holder)
}

/// Files in `folder` that are named like licences.
fn licence_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let is_licence = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        path.is_file() && NAMES.iter().any(|start| name.starts_with(start)) && !name.ends_with(".rs")
    };
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(is_licence).collect();
    files.sort();
    Ok(files)
}

fn read(file: &Path) -> Result<(String, String)> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok((name, String::from_utf8_lossy(&bytes).replace("\r\n", "\n")))
}

/// Texts of the licences and exceptions in an SPDX expression.
fn standard_texts(licence: &str) -> Result<Vec<(String, String)>> {
    let expression = Expression::parse_mode(licence, ParseMode::LAX)
        .map_err(|error| anyhow::anyhow!("`{licence}` is no licence expression: {}", error.reason))?;
    let mut texts = Vec::new();
    for requirement in expression.requirements() {
        let license =
            requirement.req.license.id().with_context(|| format!("`{licence}` has no standard text"))?;
        texts.push((format!("standard text of {}", license.name), license.text().to_owned()));
        if let Some(exception) = requirement.req.addition.as_ref().and_then(spdx::AdditionItem::id) {
            texts.push((format!("standard text of {}", exception.name), exception.text().to_owned()));
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(name: &str, licence: Option<&str>, folder: &Path) -> Component {
        Component {
            name: name.into(),
            version: "1.0.0".into(),
            kind: "cargo",
            licence: licence.map(Into::into),
            authors: vec!["Ann <ann@example.org>".into()],
            repository: None,
            folder: Some(folder.into()),
            licence_file: None,
            sha256: None,
            needs: Vec::new(),
        }
    }

    #[test]
    fn a_crate_without_a_file_gets_the_standard_text() {
        let folder = tempfile::tempdir().unwrap();
        let licence = Some("MIT OR Apache-2.0 WITH LLVM-exception");
        let text = listing(&[component("bare", licence, folder.path())]).unwrap();
        for part in [
            "bare 1.0.0: MIT OR Apache-2.0 WITH LLVM-exception\n  by Ann <ann@example.org>\n",
            "standard text of MIT",
            "Copyright (c) Ann <ann@example.org>",
            "Permission is hereby granted, free of charge",
            "Apache License",
            "LLVM Exceptions",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        for (licence, reason) in [
            (None, "neither a licence expression nor a licence file"),
            (Some("Anything goes"), "is no licence expression"),
            (Some("LicenseRef-own"), "has no standard text"),
        ] {
            let error = format!("{:#}", listing(&[component("bare", licence, folder.path())]).unwrap_err());
            assert!(error.starts_with("licence of bare 1.0.0: ") && error.contains(reason), "{error}");
        }
    }

    #[test]
    fn files_of_a_crate_come_first_and_equal_texts_once() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("LICENSE-MIT"), "do what you like\r\n").unwrap();
        fs::write(folder.path().join("license.rs"), "fn main() {}").unwrap();
        let all = ["one", "two"].map(|name| component(name, Some("MIT"), folder.path()));
        let text = listing(&all).unwrap();
        assert_eq!(text.matches("do what you like\n").count(), 1, "{text}");
        assert_eq!(text.matches("  text 1: LICENSE-MIT\n").count(), 2, "{text}");
        assert!(!text.contains("standard text") && !text.contains("fn main"), "{text}");
    }
}
