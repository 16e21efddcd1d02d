use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::Compression;
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::WriterProperties;
use arrow_array::builder::{Int64Builder, ListBuilder};
use arrow_array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, StructArray};
use arrow_schema::{DataType, Field};

use super::*;
use crate::places::{Item, Label};

/// Column `struct<bytes, path>`, with bytes that are missing where a value is none.
fn image(bytes: &[Option<&[u8]>]) -> ArrayRef {
    let field = |name: &str, kind| Arc::new(Field::new(name, kind, true));
    let paths: Vec<_> = (0..bytes.len()).map(|index| format!("{index}.png")).collect();
    Arc::new(StructArray::from(vec![
        (field("bytes", DataType::Binary), Arc::new(BinaryArray::from(bytes.to_vec())) as ArrayRef),
        (field("path", DataType::Utf8), Arc::new(StringArray::from(paths)) as ArrayRef),
    ]))
}

/// File of columns, with Hugging Face's metadata.
fn file(columns: Vec<(&str, ArrayRef)>, metadata: Option<&str>, compression: Compression) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let pairs = metadata.map(|text| vec![KeyValue::new("huggingface".into(), text.to_owned())]);
    let properties =
        WriterProperties::builder().set_compression(compression).set_max_row_group_row_count(Some(30));
    let mut bytes = Vec::new();
    let properties = properties.set_key_value_metadata(pairs).build();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn read(content: Vec<u8>) -> (Vec<Item>, Result<()>) {
    let unit = Arc::new(Unit::new("p.parquet".parse().unwrap(), UnitKind::Parquet));
    let mut items = Vec::new();
    let read = crate::decode::guard(|| {
        rows(&unit, bytes::Bytes::from(content), &mut |item| {
            items.push(item);
            Ok(())
        })
    });
    (items, read)
}

const NAMES: &str = r#"{"info": {"features": {
    "photo": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"},
    "labels": {"feature": {"names": ["cat", "dog"], "_type": "ClassLabel"}, "_type": "Sequence"}}}}"#;

#[test]
fn images_and_names_of_labels_are_found() {
    let count = 100;
    let content: Vec<_> = (0..count).map(|index| vec![index as u8; 50]).collect();
    let images = image(&content.iter().map(|bytes| Some(&bytes[..])).collect::<Vec<_>>());
    let labels: ArrayRef = Arc::new(Int64Array::from_iter_values((0..count).map(|index| index % 4 - 1)));
    for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(Default::default())]
    {
        let columns = vec![("other", labels.clone()), ("photo", images.clone()), ("label", labels.clone())];
        let (items, result) = read(file(columns, Some(NAMES), compression));
        result.unwrap();
        let found: Vec<_> = items.iter().map(|item| item.content.as_ref().unwrap().clone()).collect();
        assert_eq!(found, content.iter().cloned().map(Content::Bytes).collect::<Vec<_>>(), "{compression:?}");
        assert_eq!((&*items[0].name, &*items[99].name), ("p.parquet#0", "p.parquet#99"));
        let labels: Vec<_> = items[..4].iter().map(|item| item.labels.clone()).collect();
        let named = |name| Some(vec![Label::named(name)]);
        assert_eq!(labels, [None, named("cat"), named("dog"), Some(vec![Label::Index(2)])]);
    }
}

#[test]
fn labels_may_be_words_or_lists() {
    let images = || image(&[Some(b"0"), Some(b"1"), None]);
    let words: ArrayRef = Arc::new(StringArray::from(vec![Some("cafe\u{301}"), None, Some("x")]));
    let (items, result) = read(file(vec![("img", images()), ("class", words)], None, Compression::SNAPPY));
    result.unwrap();
    assert_eq!(
        (items[0].labels.clone(), items[1].labels.clone()),
        (Some(vec![Label::Name("caf\u{e9}".into())]), None)
    );
    let error = items[2].content.as_ref().unwrap_err().to_string();
    assert_eq!(error, "p.parquet#2: the row has no bytes of an image: it names the file 2.png");
    let mut lists = ListBuilder::new(Int64Builder::new());
    for list in [vec![Some(1), Some(0)], vec![], vec![Some(-1)]] {
        lists.append_value(list);
    }
    let columns = vec![("photo", images()), ("labels", Arc::new(lists.finish()) as ArrayRef)];
    let (items, result) = read(file(columns, Some(NAMES), Compression::SNAPPY));
    result.unwrap();
    let labels: Vec<_> = items.into_iter().map(|item| item.labels).collect();
    assert_eq!(labels, [Some(vec![Label::named("dog"), Label::named("cat")]), Some(vec![]), None]);
}

#[test]
fn a_file_without_images_names_its_columns() {
    let words: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let (_, result) = read(file(vec![("image", words.clone()), ("text", words)], None, Compression::SNAPPY));
    assert!(result.unwrap_err().to_string().ends_with("found image, text"));
    let (_, result) = read(file(vec![("image", image(&[]))], None, Compression::SNAPPY));
    assert_eq!(result.unwrap_err().to_string(), "the parquet shard holds no images");
}

#[test]
fn damage_is_an_error_and_no_end() {
    let content: Vec<_> = (0..60).map(|index| vec![index as u8; 200]).collect();
    let images = image(&content.iter().map(|bytes| Some(&bytes[..])).collect::<Vec<_>>());
    let whole = file(vec![("image", images)], None, Compression::SNAPPY);
    for length in (0..whole.len()).step_by(97) {
        assert!(read(whole[..length].to_vec()).1.is_err(), "a cut at {length} passed");
    }
    // Flipped bytes: an error or other bytes, but neither a panic nor fewer rows.
    for position in (4..whole.len()).step_by(13) {
        let mut damaged = whole.clone();
        damaged[position] ^= 0x41;
        let (items, result) = read(damaged);
        assert!(result.is_err() || items.len() == 60, "{position}: {} rows", items.len());
    }
}
