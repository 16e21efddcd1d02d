//! Files of known tools: what they say about a model in its metadata, or in files beside it.
//!
//! | tool | place | read |
//! |---|---|---|
//! | Ultralytics | metadata | `task`, `imgsz`, `names`, `channels`, `version` |
//! | WinML, Custom Vision | metadata | `Image.BitmapPixelFormat`, `Image.NominalPixelRange` |
//! | timm | `config.json` | `pretrained_cfg`, `label_names` |
//! | Hugging Face | `preprocessor_config.json` | resizing, crop, normalisation |
//! | Hugging Face | `config.json` | `id2label`, `problem_type`, `image_size`, `num_channels` |
//! | any | metadata | labels in `names`, `class_names`, `classes`, `labels`, `id2label`, `character` |
//! | any | `labels.txt` and the like | labels |
//!
//! For a model in a folder `onnx`, the files of Hugging Face are also looked for in the folder around it, where its hub
//! keeps them.

mod huggingface;
mod timm;
mod ultralytics;
mod winml;

use std::io;
use std::path::{Path, PathBuf};

use super::label_file::{self, LabelFile, LabelFileError};
use super::{Facts, Stated, Unusable, names};
use crate::error::{Error, Result};

/// Largest configuration that is read, in bytes.
const LARGEST: u64 = 16 << 20;

/// Reason why a model, or a file beside it, cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SidecarError {
    /// The file is not the JSON that the tool writes.
    #[error("not the JSON that {tool} writes")]
    Json {
        /// Tool that writes such files.
        tool: &'static str,
        /// Place and reason.
        source: serde_json::Error,
    },
    /// The file is too large for a configuration.
    #[error("larger than {} MB, which is no configuration", LARGEST >> 20)]
    TooLarge,
    /// The model is made for something other than classification.
    #[error("a model for `{task}` ({tool}), and only classification is supported")]
    Task {
        /// Tool that made the model.
        tool: &'static str,
        /// Purpose of the model, in the tool's words.
        task: String,
    },
}

/// Reads what the `metadata` of a model, and the files beside the file `model`, state.
///
/// Entries of the file come before files beside it.
///
/// # Errors
/// [`Sidecar`](crate::ErrorKind::Sidecar) when the model is not made for classification, or a file beside it is damaged;
/// [`Io`](crate::ErrorKind::Io) when such a file cannot be read.
pub fn facts(model: Option<&Path>, metadata: impl Fn(&str) -> Option<String>) -> Result<Facts> {
    let inside = ultralytics::facts(&metadata).map_err(|error| match model {
        Some(model) => Error::from(error).at(model),
        None => error.into(),
    })?;
    let inside = inside.or(winml::facts(&metadata)).or(labels_in_metadata(&metadata));
    let facts = match model {
        Some(model) => inside.or(beside(model)?),
        None => inside,
    };
    Ok(bounded(facts))
}

/// Makes sizes of nothing, and sizes larger than any input, unusable.
fn bounded(mut facts: Facts) -> Facts {
    const LONGEST: u32 = 1 << 14;
    let fits = |side: u32| (1..=LONGEST).contains(&side);
    for (what, stated) in [("image-size", &mut facts.size), ("fit", &mut facts.resize)] {
        if let Some(wrong) = stated.take_if(|stated| !fits(stated.value.height) || !fits(stated.value.width))
        {
            facts.unusable.push(Unusable::new(what, wrong.value, &wrong.source));
        }
    }
    facts
}

/// Labels in the entries that tools use for them.
fn labels_in_metadata(metadata: &dyn Fn(&str) -> Option<String>) -> Facts {
    let mut facts = Facts::default();
    for key in ["names", "class_names", "classes", "labels", "id2label", "label_names"] {
        let Some(text) = metadata(key) else { continue };
        let place = format!("`{key}` in the metadata");
        match names::labels(&text) {
            Ok(labels) => {
                facts.labels = Some(Stated::new(labels, &place));
                return facts;
            }
            // `classes` may also be the number of classes, or text of another kind.
            Err(error)
                if matches!(key, "names" | "class_names")
                    || text.trim_start().starts_with(['[', '{', '(']) =>
            {
                let reason = Some(Box::new(error.into()));
                facts.unusable.push(Unusable { reason, ..Unusable::new("labels", &text, &place) });
            }
            Err(_) => {}
        }
    }
    let characters = metadata("character").map(|text| names::characters(&text));
    facts.labels = characters
        .filter(|all| all.len() > 1)
        .map(|all| Stated::new(all, "`character` in the metadata (PaddleOCR)"));
    facts
}

/// Reads the facts that the files beside `model` state.
fn beside(model: &Path) -> Result<Facts> {
    let folder = model.parent().map_or_else(PathBuf::new, Path::to_owned);
    let around = folder.parent().filter(|_| folder.file_name().is_some_and(|name| name == "onnx"));
    let mut facts = Facts::default();
    for folder in [Some(&*folder), around].into_iter().flatten() {
        let stem = model.file_stem().unwrap_or_default();
        facts = facts.or(configurations(folder)?);
        if facts.labels.is_none() {
            facts = facts.or(labels_beside(folder, &stem.to_string_lossy())?);
        }
    }
    Ok(facts)
}

fn configurations(folder: &Path) -> Result<Facts> {
    type Reader = fn(&[u8]) -> std::result::Result<Facts, SidecarError>;
    let readers: [(&str, Reader); 3] = [
        ("preprocessor_config.json", huggingface::processor),
        ("config.json", timm::config),
        ("config.json", huggingface::config),
    ];
    let mut facts = Facts::default();
    for (name, reader) in readers {
        let path = folder.join(name);
        let Some(bytes) = read(&path, LARGEST)? else { continue };
        let too_large = bytes.len() as u64 > LARGEST;
        let found = if too_large { Err(SidecarError::TooLarge) } else { reader(&bytes) };
        facts = facts.or(found.map_err(|error| Error::from(error).at(&path))?);
    }
    Ok(facts)
}

fn labels_beside(folder: &Path, stem: &str) -> Result<Facts> {
    let own = [".labels.txt", ".labels", ".names"].map(|ending| format!("{stem}{ending}"));
    let shared = [
        "labels.txt",
        "classes.txt",
        "class_names.txt",
        "synset.txt",
        "labels.json",
        "classes.json",
        "class_indices.json",
        "id2label.json",
        "imagenet_class_index.json",
    ];
    let mut facts = Facts::default();
    for name in own.iter().map(String::as_str).chain(shared) {
        let Some(bytes) = read(&folder.join(name), label_file::LARGEST)? else { continue };
        let place = format!("{name} beside the file");
        match LabelFile::parse(&bytes) {
            Ok(file) => {
                facts.labels = Some(Stated::new(file.labels, &place));
                break;
            }
            Err(reason) => facts.unusable.push(unusable_labels(name, reason)),
        }
    }
    Ok(facts)
}

fn unusable_labels(name: &str, reason: LabelFileError) -> Unusable {
    Unusable { reason: Some(reason.into()), ..Unusable::new("labels", name, "the folder of the file") }
}

/// Content of a file up to one byte more than `largest`; none where there is no such file.
fn read(path: &Path, largest: u64) -> Result<Option<Vec<u8>>> {
    match path.metadata() {
        Ok(metadata) if metadata.is_file() => label_file::read_limited(path, largest).map(Some),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(path, error)),
    }
}

/// JSON of a tool's file.
fn json<T: serde::de::DeserializeOwned>(
    bytes: &[u8],
    tool: &'static str,
) -> std::result::Result<T, SidecarError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    serde_json::from_slice(bytes).map_err(|source| SidecarError::Json { tool, source })
}

#[cfg(test)]
mod tests;
