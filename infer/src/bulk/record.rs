//! Records of a job, in the folder `_job` of its output: the job, the inputs of each part, and what is done.
//!
//! Readers of data sets skip names that begin with `_`, so the records lie beside the parts.
//!
//! | record | says | written |
//! |---|---|---|
//! | `job.json` | model, settings, format, number of shards | by the first job, if there is none |
//! | `part-00003.inputs.jsonl` | the inputs of a part | before the part is begun, if there is none |
//! | `part-00003.done.json` | number of its rows, and their digest | after its rows are in place |
//! | `shard-00003.listed.json` | number of inputs of a shard | when all inputs have their parts |

use std::path::Path;
use std::{fmt, fs};

use ferronnx_models::onnx::external_data::Loaded;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::feed::Hidden;
use super::rows::RowFormat;
use super::shard::{Key, number};
use super::tally::Tally;
use crate::error::{Error, Result};
use crate::places::{Place, Unit, UnitKind};

/// Folder of the records, below the output.
pub(super) const FOLDER: &str = "_job";

/// Name of the record of the job.
pub(super) const JOB: &str = "_job/job.json";

/// Version of the records.
const VERSION: u32 = 1;

/// Model, settings and division of a job: results of jobs that differ in them are not mixed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Version of the records.
    version: u32,
    /// File name of the model, for people.
    pub model: String,
    /// SHA-256 digest of the model file, in hexadecimal.
    pub model_sha256: String,
    /// Settings that change the results, by name.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// Format of the parts.
    pub format: RowFormat,
    /// Number of shards.
    pub shards: u64,
}

/// Identity of a job: a digest of everything in its [`JobRecord`] but the model's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct JobId(String);

impl JobRecord {
    /// Describes a job.
    pub fn new(
        model: String,
        model_sha256: String,
        settings: serde_json::Map<String, serde_json::Value>,
        format: RowFormat,
        shards: u64,
    ) -> Self {
        Self { version: VERSION, model, model_sha256, settings, format, shards }
    }

    pub(super) fn id(&self) -> JobId {
        let nameless = Self { model: String::new(), ..self.clone() };
        let json = serde_json::to_vec(&nameless).expect("a record is JSON");
        JobId(hex(&Sha256::digest(json)[..8]))
    }

    /// Lists what differs from `other`, in words; empty for the same job.
    pub(super) fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |what: &str, [ours, theirs]: [String; 2]| {
            if ours != theirs {
                found.push(format!("{what} {}, now {}", short(&theirs), short(&ours)));
            }
        };
        let both = [self, other];
        compare("version", both.map(|record| record.version.to_string()));
        compare("model", both.map(|record| record.model_sha256.clone()));
        compare("format", both.map(|record| record.format.extension().into()));
        compare("shards", both.map(|record| record.shards.to_string()));
        let more = other.settings.keys().filter(|name| !self.settings.contains_key(*name));
        for name in self.settings.keys().chain(more) {
            let text = |record: &Self| record.settings.get(name).map_or("none".into(), ToString::to_string);
            compare(name, both.map(text));
        }
        found
    }
}

/// Text of at most 40 characters.
fn short(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some(_) => format!("{}...", text.chars().take(12).collect::<String>()),
        None => text.into(),
    }
}

/// Hexadecimal digits of bytes.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 digest of the model file at `path`, and of the file of its weights if it has one, in hexadecimal.
///
/// # Errors
/// [`NotFound`](crate::ErrorKind::NotFound) or [`Io`](crate::ErrorKind::Io), naming the file.
pub fn model_digest(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    let content = fs::read(path).map_err(|error| Error::io(path, error))?;
    let mut digest = Sha256::new_with_prefix(&content);
    // What is no ONNX file has no weights beside it.
    let _ = Loaded::read(content, |name| {
        let weights = fs::read(path.with_file_name(name)).ok()?;
        digest.update(&weights);
        Some(weights)
    });
    Ok(hex(&digest.finalize()))
}

/// First line of the record of a part's inputs; a line for each [`InputRecord`] follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PlanHeader {
    pub(super) job: JobId,
    pub(super) inputs: usize,
}

/// Input of a part: a file or object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct InputRecord {
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
    pub(super) kind: UnitKind,
    /// True if the name does not tell the whole place: see [`Hidden`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_hidden: bool,
}

impl InputRecord {
    /// Describes a unit; its place goes into `hidden` if the name does not tell it.
    pub(super) fn of(unit: Unit, hidden: &Hidden) -> Self {
        let Unit { name, place, kind, size, version, .. } = unit;
        let is_hidden = Place::parse(&name).ok().as_ref() != Some(&place);
        if is_hidden {
            hidden.add(name.clone(), place);
        }
        Self { name, size, version, kind, is_hidden }
    }

    /// Unit to read.
    pub(super) fn unit(self, place: Place) -> Unit {
        let Self { name, size, version, kind, .. } = self;
        Unit { name, place, kind, size, version, labels: None, split: None }
    }

    /// Digest of size and version, by which a changed input is known.
    pub(super) fn stamp(&self) -> u32 {
        (Key::of(&format!("{:?} {:?}", self.size, self.version)).0 >> 96) as u32
    }
}

/// Record of a part that is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DoneRecord {
    pub(super) job: JobId,
    #[serde(flatten)]
    pub(super) tally: Tally,
}

/// Record of a shard whose inputs all have their parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ListedRecord {
    pub(super) job: JobId,
    /// Number of inputs of the shard.
    pub(super) inputs: u64,
}

/// Number of a part; those of shard I of N are I, I + N, I + 2 N and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PartNumber(pub(super) u64);

impl PartNumber {
    /// File of the rows.
    pub(super) fn file(self, format: RowFormat) -> String {
        format!("{self}.{}", format.extension())
    }

    /// Record of the inputs.
    pub(super) fn inputs(self) -> String {
        format!("{FOLDER}/{self}{INPUTS}")
    }

    /// Record of what is done.
    pub(super) fn done(self) -> String {
        format!("{FOLDER}/{self}{DONE}")
    }

    /// Parses the name of a file of rows: the part, and the extension.
    pub(super) fn of_file(name: &str) -> Option<(Self, &str)> {
        let (stem, extension) = name.split_once('.')?;
        Some((Self::parse(stem)?, extension))
    }

    /// Parses the name of a record of inputs, without its folder.
    pub(super) fn of_inputs(name: &str) -> Option<Self> {
        name.strip_suffix(INPUTS).and_then(Self::parse)
    }

    /// Parses the name of a record of what is done, without its folder.
    pub(super) fn of_done(name: &str) -> Option<Self> {
        name.strip_suffix(DONE).and_then(Self::parse)
    }

    fn parse(stem: &str) -> Option<Self> {
        let part = Self(number(stem.strip_prefix("part-")?)?);
        // One number has one name.
        (part.to_string() == stem).then_some(part)
    }
}

impl fmt::Display for PartNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "part-{:05}", self.0)
    }
}

const INPUTS: &str = ".inputs.jsonl";
const DONE: &str = ".done.json";

/// Name of the record that a shard is listed.
pub(super) fn listed(shard: u64) -> String {
    format!("{FOLDER}/shard-{shard:05}.listed.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> JobRecord {
        let settings = serde_json::json!({ "top_k": 5, "threshold": null });
        let serde_json::Value::Object(settings) = settings else { unreachable!() };
        JobRecord::new("a.onnx".into(), "00ff".into(), settings, RowFormat::Jsonl, 4)
    }

    #[test]
    fn jobs_differ_in_what_changes_results() {
        let first = job();
        let renamed = JobRecord { model: "b.onnx".into(), ..first.clone() };
        assert_eq!(renamed.id(), first.id());
        assert!(renamed.differences(&first).is_empty());
        let mut other = JobRecord { shards: 8, model_sha256: "0".repeat(64), ..first.clone() };
        other.settings.insert("top_k".into(), 1.into());
        other.settings.insert("more".into(), "x".into());
        assert_ne!(other.id(), first.id());
        let expected =
            ["model 00ff, now 000000000000...", "shards 4, now 8", "more none, now \"x\"", "top_k 5, now 1"];
        assert_eq!(other.differences(&first), expected);
    }

    #[test]
    fn parts_have_one_name() {
        let part = PartNumber(3);
        assert_eq!(part.file(RowFormat::Csv), "part-00003.csv");
        assert_eq!(PartNumber::of_file("part-00003.csv"), Some((part, "csv")));
        assert_eq!(PartNumber::of_inputs("part-00003.inputs.jsonl"), Some(part));
        assert_eq!(PartNumber::of_done("part-123456.done.json"), Some(PartNumber(123_456)));
        for wrong in ["part-3.csv", "part-000003.csv", "part-0000x.csv", "part-.csv", "part-00003", "x.csv"] {
            assert_eq!(PartNumber::of_file(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_changed_input_has_another_stamp() {
        let input = |size, version: Option<&str>| InputRecord {
            name: "a".into(),
            size,
            version: version.map(Into::into),
            kind: UnitKind::Image,
            is_hidden: false,
        };
        let stamp = input(Some(1), Some("x")).stamp();
        assert_eq!(input(Some(1), Some("x")).stamp(), stamp);
        assert_ne!(input(Some(2), Some("x")).stamp(), stamp);
        assert_ne!(input(Some(1), Some("y")).stamp(), stamp);
        assert_ne!(input(None, None).stamp(), stamp);
    }
}
