//! List of a run's images with their contents, by which a changed data set is named.
//!
//! It is the file `images.csv` of the run folder, with `path,part,class,bytes,sha256`: paths below the data set's folder,
//! and the first 128 bits of the digest where the image was read when the run began.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::changes::{Changes, Moved};
use super::images::Sets;
use super::{RunConfig, RunError, RunFolder};
use crate::data::content::Digest;
use crate::data::folder::ImageFolder;
use crate::data::{Sample, Split};

const MANIFEST: &str = "images.csv";

/// Image of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    /// Path below the data set's folder.
    path: String,
    part: String,
    /// Names of its classes, separated by `;`.
    class: String,
    /// Size of the file; none if the system did not tell.
    bytes: Option<u64>,
    /// Digest of the file, if it was read.
    sha256: Option<String>,
}

/// Images of a data set, in the order in which it lists them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    root: PathBuf,
    entries: Vec<Entry>,
}

impl Manifest {
    /// Lists the images with the sizes of their files.
    pub fn new(folder: &ImageFolder, config: &RunConfig) -> Self {
        let parts = [
            (Split::Train, Some(&folder.train)),
            (Split::Validation, folder.validation.as_ref()),
            (Split::Test, folder.test.as_ref()),
        ];
        let entry = |part: Split, sample: &Sample| Entry {
            path: key(config, sample),
            part: part.to_string(),
            class: sample.labels.iter().map(|&class| &*folder.classes[class]).collect::<Vec<_>>().join(";"),
            bytes: folder.source.bytes(&sample.path),
            sha256: None,
        };
        let samples = parts.into_iter().filter_map(|(part, samples)| Some((part, samples?)));
        let entries = samples.flat_map(|(part, samples)| samples.iter().map(move |sample| (part, sample)));
        let root = if config.data.is_dir() {
            config.data.clone()
        } else {
            config.data.parent().map(Into::into).unwrap_or_default()
        };
        Self { root, entries: entries.map(|(part, sample)| entry(part, sample)).collect() }
    }

    /// Notes the digests of the images that were read.
    pub fn note_contents(&mut self, sets: &Sets, config: &RunConfig) {
        let found = contents(sets, config);
        for entry in &mut self.entries {
            entry.sha256 = found.get(&entry.path).map(ToString::to_string);
        }
    }

    /// Differences of the images `now` to these, by path, class, part and size.
    pub fn changes(&self, now: &Self) -> Changes {
        let mut changes = Changes::default();
        let mut others: HashMap<&str, &Entry> =
            now.entries.iter().map(|entry| (&*entry.path, entry)).collect();
        let mut gone = Vec::new();
        for entry in &self.entries {
            match others.remove(&*entry.path) {
                None => gone.push(entry),
                Some(other) => changes.add(entry, other),
            }
        }
        let mut candidates: HashMap<_, Vec<&Entry>> = HashMap::new();
        for entry in now.entries.iter().filter(|entry| others.contains_key(&*entry.path)) {
            candidates.entry(entry.file()).or_default().push(entry);
        }
        for entry in gone {
            // A file of the same name, size and content elsewhere is the same image.
            let places = candidates.entry(entry.file()).or_default();
            match places.iter().position(|other| entry.is_at(other, now)).map(|place| places.remove(place)) {
                Some(other) => {
                    others.remove(&*other.path);
                    changes.moved.push(Moved::new(entry.place(), other.place(), &other.path));
                }
                None => changes.gone.push(entry.path.clone()),
            }
        }
        let added = now.entries.iter().filter(|entry| others.contains_key(&*entry.path));
        changes.added = added.map(|entry| entry.path.clone()).collect();
        changes
    }

    /// Images whose contents differ from those noted here.
    pub fn changed_contents(&self, sets: &Sets, config: &RunConfig) -> Changes {
        let found = contents(sets, config);
        let is_changed = |entry: &&Entry| {
            let before = entry.sha256.as_ref();
            before.zip(found.get(&entry.path)).is_some_and(|(before, now)| *before != now.to_string())
        };
        let changed = self.entries.iter().filter(is_changed).map(|entry| entry.path.clone()).collect();
        Changes { changed, ..Changes::default() }
    }
}

impl Entry {
    /// Class and part, for comparisons and messages.
    fn place(&self) -> [&str; 2] {
        [&self.class, &self.part]
    }

    /// Name and size of the file.
    fn file(&self) -> (&str, Option<u64>) {
        (self.path.rsplit(['/', '\\']).next().unwrap_or_default(), self.bytes)
    }

    /// Tells whether a file of the same name and size has the content noted here, if one is.
    fn is_at(&self, other: &Self, now: &Manifest) -> bool {
        self.sha256.as_ref().is_none_or(|before| {
            let content = fs::read(now.root.join(&other.path)).map(|bytes| Digest::of_file(&bytes));
            content.is_ok_and(|content| *before == content.to_string())
        })
    }
}

impl Changes {
    fn add(&mut self, before: &Entry, now: &Entry) {
        if before.place() != now.place() {
            self.moved.push(Moved::new(before.place(), now.place(), &now.path));
        } else if before.bytes != now.bytes {
            self.changed.push(now.path.clone());
        }
    }
}

/// Path by which an image is known.
fn key(config: &RunConfig, sample: &Sample) -> String {
    config.short(&sample.path).to_string_lossy().into_owned()
}

/// Digests of all images in memory.
fn contents(sets: &Sets, config: &RunConfig) -> HashMap<String, Digest> {
    let sets = [Some(&sets.train), Some(&sets.validation), sets.test.as_ref()];
    let contents = sets.into_iter().flatten().flat_map(|set| set.contents());
    contents.map(|(sample, digest)| (key(config, sample), digest)).collect()
}

impl RunFolder {
    /// Creates the folder of a new run with the list of its images, or checks those of a resumed one.
    pub(super) fn keep_images(
        &self,
        sets: &Sets,
        config: &RunConfig,
        new: Option<Manifest>,
    ) -> Result<(), RunError> {
        if !self.exists() {
            self.create(config)?;
            let Some(mut manifest) = new else { return Ok(()) };
            manifest.note_contents(sets, config);
            return self.write_manifest(&manifest);
        }
        let changes = self.manifest()?.map(|manifest| manifest.changed_contents(sets, config));
        match changes.filter(|changes| !changes.is_empty()) {
            Some(changes) => Err(RunError::other_images(config, self, changes)),
            None => Ok(()),
        }
    }

    /// Writes `images.csv`.
    pub(super) fn write_manifest(&self, manifest: &Manifest) -> Result<(), RunError> {
        let table = || -> Result<Vec<u8>, csv::Error> {
            let mut writer = csv::Writer::from_writer(Vec::new());
            manifest.entries.iter().try_for_each(|entry| writer.serialize(entry))?;
            writer.flush()?;
            writer.into_inner().map_err(|error| error.into_error().into())
        };
        self.write(MANIFEST, &table().map_err(|error| self.encode(MANIFEST, error))?)
    }

    /// Reads `images.csv`; `None` for a run that began before there was one.
    pub(super) fn manifest(&self) -> Result<Option<Manifest>, RunError> {
        if !self.path(MANIFEST).exists() {
            return Ok(None);
        }
        let text = self.read(MANIFEST)?;
        let entries = csv::Reader::from_reader(text.as_bytes()).deserialize().collect::<Result<_, _>>();
        let entries = entries.map_err(|error| self.damaged(MANIFEST, error))?;
        Ok(Some(Manifest { root: PathBuf::new(), entries }))
    }
}
