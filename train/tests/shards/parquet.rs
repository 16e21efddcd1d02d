//! Parquet files as Hugging Face writes them: the images of the tar shards, and the same runs on them.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::WriterProperties;
use arrow_array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, StructArray};
use arrow_schema::{DataType, Field};
use ferronnx_train::data::Sample;
use ferronnx_train::data::folder::ImageFolder;
use ferronnx_train::run::Outcome;

use super::{data, is_the_run_on_files, outcome, resumes_to_the_bit, task};

/// Names of the classes by their numbers in the files, which are not those of training.
const NAMES: [&str; 3] = ["red", "blue", "green"];

/// Writes the images of `colours` in `dir` into parquet files of 50 at most, as [`task::pack`] does into tar archives.
pub fn pack(dir: &Path) {
    let found = ImageFolder::scan(dir.join("colours")).unwrap();
    fs::create_dir_all(dir.join("parquet")).unwrap();
    for (part, samples) in [("train", found.train), ("test", found.test.unwrap())] {
        let count = samples.len().div_ceil(50);
        for (number, samples) in samples.chunks(50).enumerate() {
            let path = dir.join(format!("parquet/{part}-{number:05}-of-{count:05}.parquet"));
            write(&path, samples, &found.classes);
        }
    }
}

/// Writes a file with the columns `image`, a struct of bytes and path, and `label`, with Hugging Face's metadata.
fn write(path: &Path, samples: &[Sample], classes: &[String]) {
    let bytes: Vec<_> = samples.iter().map(|sample| fs::read(&sample.path).unwrap()).collect();
    let paths = samples.iter().map(|sample| sample.path.file_name().unwrap().to_str());
    let labels = samples.iter().map(|sample| &classes[sample.label()]);
    let labels = labels.map(|class| NAMES.iter().position(|name| name == class).unwrap() as i64);
    let field = |name: &str, kind| Arc::new(Field::new(name, kind, true));
    let bytes: ArrayRef = Arc::new(BinaryArray::from_iter_values(&bytes));
    let paths: ArrayRef = Arc::new(StringArray::from(paths.collect::<Vec<_>>()));
    let image = StructArray::from(vec![
        (field("bytes", DataType::Binary), bytes),
        (field("path", DataType::Utf8), paths),
    ]);
    let columns: [(&str, ArrayRef); 2] =
        [("image", Arc::new(image)), ("label", Arc::new(Int64Array::from_iter_values(labels)))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let features = serde_json::json!({
        "image": {"_type": "Image"},
        "label": {"names": NAMES, "_type": "ClassLabel"},
    });
    let metadata = serde_json::json!({"info": {"features": features}}).to_string();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(20))
        .set_key_value_metadata(Some(vec![KeyValue::new("huggingface".into(), metadata)]))
        .build();
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn a_run_in_memory_is_that_on_the_files() {
    let dir = data();
    pack(dir.path());
    is_the_run_on_files(dir.path(), "packed-parquet");
    let images = fs::read_to_string(dir.path().join("packed-parquet/images.csv")).unwrap();
    assert!(images.contains("train-00000-of-00003.parquet#0,train,blue,"), "{images}");
}

#[test]
fn a_streamed_run_resumes_to_the_bit_and_is_that_on_tar_shards() {
    let dir = data();
    pack(dir.path());
    resumes_to_the_bit(
        dir.path(),
        "streamed-parquet",
        "parquet/train-00001-of-00003.parquet",
        "the parquet shard is damaged",
    );
    assert!(matches!(task::begun(dir.path(), "streamed").train(&mut ()).unwrap(), Outcome::Finished(_)));
    assert!(outcome(&dir.path().join("streamed")) == outcome(&dir.path().join("streamed-parquet")));
}

#[test]
fn a_file_that_is_cut_off_is_named_at_the_start() {
    let dir = data();
    pack(dir.path());
    let path = dir.path().join("parquet/train-00001-of-00003.parquet");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = ferronnx_train::error::chain(&ImageFolder::scan(dir.path().join("parquet")).unwrap_err());
    assert!(error.contains("train-00001-of-00003.parquet: the parquet shard is damaged"), "{error}");
}
