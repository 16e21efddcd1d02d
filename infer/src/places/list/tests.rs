use std::fs;
use std::path::Path;

use super::*;
use crate::error::chain;
use crate::image_folder::Split;

/// Names of units below `dir`, or errors.
fn names(dir: &Path, inputs: &[&str]) -> Vec<String> {
    let inputs = inputs.iter().map(|input| Place::Local(dir.join(input))).collect();
    let relative = |name: &str| name.replace(dir.to_str().unwrap(), "").trim_start_matches('/').to_owned();
    let unit = |unit: Result<Unit>| relative(&unit.map_or_else(|error| chain(&error), |unit| unit.name));
    units(inputs, &Options::default()).map(unit).collect()
}

fn folder(files: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    dir
}

#[test]
fn folders_give_images_and_shards_in_the_order_of_names() {
    let dir = folder(&["b/2.png", "b/1.JPG", "a.tar", "c-000.tar.gz", "notes.md", ".hidden.tar", "d.jpg"]);
    assert_eq!(names(dir.path(), &[""]), ["a.tar", "b/1.JPG", "b/2.png", "c-000.tar.gz", "d.jpg"]);
}

#[test]
fn folders_name_classes_and_splits() {
    let dir = folder(&["test/cat/1.png", "dog/2.png", "3.png"]);
    let units: Vec<_> =
        units(vec![Place::Local(dir.path().into())], &Options::default()).map(Result::unwrap).collect();
    let labels = |index: usize| units[index].labels.clone();
    assert_eq!((labels(0), labels(1)), (None, Some(vec![Label::named("dog")])));
    assert_eq!((labels(2), units[2].split), (Some(vec![Label::named("cat")]), Some(Split::Test)));
    assert_eq!(units[0].size, Some(1));
    assert!(units[0].version.is_some());
}

#[test]
fn braces_name_shards() {
    let dir = folder(&["s-0.tar", "s-1.tar", "odd{1..2}.tar"]);
    assert_eq!(names(dir.path(), &["s-{0..1}.tar"]), ["s-0.tar", "s-1.tar"]);
    assert_eq!(names(dir.path(), &["odd{1..2}.tar"]), ["odd{1..2}.tar"], "a file of this very name");
    let missing = names(dir.path(), &["s-{1..2}.tar"]);
    assert_eq!(missing, ["s-1.tar", "s-2.tar: no such file or folder"]);
}

#[test]
fn what_cannot_be_read_is_refused_by_its_kind() {
    let dir = folder(&["a.zip", "b.tar.zst", "empty/x.md"]);
    let texts = names(dir.path(), &["a.zip", "b.tar.zst", "empty", "none"]);
    assert!(
        texts[0].contains("`.zip` is not read") && texts[1].contains("`.tar.zst` is not read"),
        "{texts:?}"
    );
    assert!(texts[2].contains("no images in this folder") && texts[3].contains("no such file"), "{texts:?}");
}

#[cfg(not(feature = "cloud"))]
#[test]
fn places_of_other_builds_name_the_feature() {
    let dir = folder(&["x.parquet", "in/y.parquet"]);
    for text in names(dir.path(), &["x.parquet", "in"]) {
        assert!(text.contains("feature `cloud`"), "{text}");
    }
    let place = Place::parse("s3://bucket/x").unwrap();
    let error = units(vec![place], &Options::default()).next().unwrap().unwrap_err();
    assert!(
        error.to_string().starts_with("s3://bucket/x: ") && error.to_string().contains("feature `cloud`")
    );
}
