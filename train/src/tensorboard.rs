//! Event files for TensorBoard: records of protobuf messages with checksums.
//!
//! A record is length (u64), checksum of the length (u32), message, checksum of the message (u32), all little endian.
//! The checksum is CRC-32C, masked. The messages have the few fields of TensorFlow's `event.proto` and `summary.proto`
//! that are used here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use crate::run::{Observer, RunError};
use crate::trainer::{Epoch, EpochMetrics};

/// Error of writing an event file.
#[derive(Debug, thiserror::Error)]
#[error("cannot write TensorBoard's events to {path}")]
pub struct EventError {
    /// The file or folder.
    path: PathBuf,
    /// The reason.
    source: io::Error,
}

/// Writes the metrics of a run's epochs to an event file.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: File,
}

impl EventWriter {
    /// Creates a file in `dir` for the epochs from `from_epoch` (counted from 1) on.
    ///
    /// TensorBoard then drops that epoch and later ones of earlier files, which a resumed run trains again.
    ///
    /// # Errors
    /// [`EventError`] when the file cannot be written.
    pub fn create(dir: impl AsRef<Path>, from_epoch: usize) -> Result<Self, EventError> {
        let dir = dir.as_ref();
        let path = dir.join(file_name(dir));
        let failed = |source| EventError { path: path.clone(), source };
        fs::create_dir_all(dir).map_err(failed)?;
        let file = OpenOptions::new().append(true).create_new(true).open(&path).map_err(failed)?;
        let mut writer = Self { path, file };
        writer.append(0, What::FileVersion("brain.Event:2".into()))?;
        // The first start is written as well: one of TensorBoard's two readers drops nothing at the first start it sees.
        writer.append(from_epoch, What::SessionLog(SessionLog { status: SESSION_START }))?;
        Ok(writer)
    }

    /// Appends an epoch; it is in the file when this returns.
    ///
    /// # Errors
    /// [`EventError`] when the file cannot be written.
    pub fn record(&mut self, metrics: &EpochMetrics) -> Result<(), EventError> {
        let scalars = metrics.scalars().into_iter().map(|(tag, value)| Value::new(tag, value));
        self.append(metrics.epoch, What::Summary(Summary { value: scalars.collect() }))
    }

    /// Appends a record in one write, so that a kill cuts at most the last one short.
    fn append(&mut self, step: usize, what: What) -> Result<(), EventError> {
        let event = Event { wall_time: now(), step: step as i64, what: Some(what) };
        let failed = |source| EventError { path: self.path.clone(), source };
        self.file.write_all(&framed(&event.encode_to_vec())).map_err(failed)
    }
}

impl Observer for EventWriter {
    fn epoch(&mut self, epoch: &Epoch) -> Result<(), RunError> {
        Ok(self.record(&epoch.metrics)?)
    }
}

/// Names a new file `events.out.tfevents.SECONDS.HOST.PID`, after all that are there.
///
/// TensorBoard reads the files of a folder in the order of their names, and the clock may have been set back.
fn file_name(dir: &Path) -> String {
    const PREFIX: &str = "events.out.tfevents.";
    let seconds = |name: String| name.strip_prefix(PREFIX)?.split('.').next()?.parse::<u64>().ok();
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    let latest = files.filter_map(|file| seconds(file.file_name().to_string_lossy().into_owned())).max();
    let seconds = latest.map_or(0, |latest| latest.saturating_add(1)).max(now() as u64);
    let host = gethostname::gethostname().to_string_lossy().replace('/', "-");
    format!("{PREFIX}{seconds:010}.{host}.{}", std::process::id())
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(masked(&length).to_le_bytes());
    record.extend(message);
    record.extend(masked(message).to_le_bytes());
    record
}

/// Masked CRC-32C, as TensorFlow stores it.
fn masked(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, tag = "2")]
    simple_value: f32,
}

impl Value {
    fn new(tag: impl Into<String>, value: f64) -> Self {
        Self { tag: tag.into(), simple_value: value as f32 }
    }
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `SessionLog.START`.
const SESSION_START: i32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(epoch: usize) -> EpochMetrics {
        EpochMetrics {
            epoch,
            phase: "learn".into(),
            learning_rates: [("new".into(), 1e-3), ("loaded".into(), 1e-5)].into_iter().collect(),
            train_loss: 1.5,
            train_accuracy: 0.25,
            validation_loss: 1.75,
            validation_accuracy: 0.5,
            validation_macro_f1: None,
            validation_map: None,
            images_per_second: 20.0,
            seconds: 2.0,
        }
    }

    /// Reads the events of all files in `dir`, in TensorBoard's order.
    fn read(dir: &Path) -> Vec<Event> {
        let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        files.iter().flat_map(|file| records(&fs::read(file).unwrap())).collect()
    }

    fn records(mut bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        while !bytes.is_empty() {
            let (length, rest) = bytes.split_at(8);
            let (length_checksum, rest) = rest.split_at(4);
            assert_eq!(masked(length).to_le_bytes(), length_checksum);
            let (message, rest) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
            let (checksum, rest) = rest.split_at(4);
            assert_eq!(masked(message).to_le_bytes(), checksum);
            events.push(Event::decode(message).unwrap());
            bytes = rest;
        }
        events
    }

    #[test]
    fn checksums_are_those_of_tensorflow() {
        // The first record of every event file, as tensorboard 2.21 writes it for this message.
        let message = b"\x09\x00\x00\x00\x00\x00\x00\xf0\x3f\x1a\x0dbrain.Event:2";
        let record = framed(message);
        assert_eq!(record[..12], [24, 0, 0, 0, 0, 0, 0, 0, 163, 127, 75, 34]);
        assert_eq!(record[record.len() - 4..], [134, 191, 87, 122]);
    }

    #[test]
    fn an_epoch_is_in_the_file_as_soon_as_it_is_recorded() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(dir.path(), 1).unwrap();
        writer.record(&epoch(1)).unwrap();
        let events = read(dir.path());
        assert_eq!(events[0].what, Some(What::FileVersion("brain.Event:2".into())));
        assert_eq!((events.len(), events[2].step), (3, 1));
        let Some(What::Summary(summary)) = &events[2].what else { panic!("{events:?}") };
        let scalars: Vec<_> =
            summary.value.iter().map(|value| (value.tag.as_str(), value.simple_value)).collect();
        assert_eq!(
            scalars,
            [
                ("loss/train", 1.5),
                ("loss/validation", 1.75),
                ("accuracy/train", 0.25),
                ("accuracy/validation", 0.5),
                ("images_per_second", 20.0),
                ("learning_rate/new", 1e-3),
                ("learning_rate/loaded", 1e-5),
            ]
        );
    }

    #[test]
    fn a_resumed_run_begins_a_later_file_that_says_from_where() {
        let dir = tempfile::tempdir().unwrap();
        for from_epoch in [1, 3, 2] {
            EventWriter::create(dir.path(), from_epoch).unwrap().record(&epoch(from_epoch)).unwrap();
        }
        let events = read(dir.path());
        let steps: Vec<i64> = events.iter().map(|event| event.step).collect();
        assert_eq!(steps, [0, 1, 1, 0, 3, 3, 0, 2, 2]);
        for start in [1, 4, 7] {
            assert_eq!(events[start].what, Some(What::SessionLog(SessionLog { status: SESSION_START })));
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = crate::error::chain(&EventWriter::create(&file, 1).unwrap_err());
        assert!(
            error.starts_with("cannot write TensorBoard's events to ") && error.contains("/file/"),
            "{error}"
        );
    }
}
