//! `train fit --resume` after the images have changed.

use std::fs;
use std::path::Path;

use crate::common::colour_set;
use crate::{fit, stderr, train};

fn resume(dir: &Path) -> assert_cmd::Command {
    let mut command = train(dir);
    command.args(["fit", "--resume", "run"]);
    command
}

/// A run that can be resumed, on the images of [`colour_set`].
fn begun() -> tempfile::TempDir {
    let (dir, _) = colour_set();
    fit(dir.path()).args(["--epochs", "1", "--limit", "15"]).assert().success();
    fs::remove_file(dir.path().join("run/result.json")).unwrap();
    dir
}

#[test]
fn images_that_were_added_removed_and_moved_are_named() {
    let dir = begun();
    let train = dir.path().join("colours/train");
    fs::remove_file(train.join("red/000.png")).unwrap();
    fs::copy(train.join("red/001.png"), train.join("red/new.png")).unwrap();
    fs::rename(train.join("green/013.png"), train.join("blue/was-green.png")).unwrap();
    fs::rename(train.join("green/012.png"), train.join("blue/zz.png")).unwrap();
    fs::rename(train.join("blue/zz.png"), train.join("red/012-green.png")).unwrap();
    let error = stderr(&mut resume(dir.path()));
    for part in [
        "colours are not those that run was begun with: 3 gone (",
        "train/red/000.png",
        "3 added (",
        "train/red/new.png",
        "bring them back, or start a new run",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    // The same name in another class is the same image.
    let dir = begun();
    let train = dir.path().join("colours/train");
    fs::remove_file(train.join("blue/003.png")).unwrap();
    fs::rename(train.join("red/003.png"), train.join("blue/003.png")).unwrap();
    let error = stderr(&mut resume(dir.path()));
    assert!(error.contains("1 gone (train/red/003.png)"), "{error}");
    let dir = begun();
    let train = dir.path().join("colours/train");
    fs::create_dir(train.join("blue/deep")).unwrap();
    fs::rename(train.join("red/003.png"), train.join("blue/deep/003.png")).unwrap();
    let error = stderr(&mut resume(dir.path()));
    assert!(
        error.contains("with: 1 in another class or part (train/blue/deep/003.png: blue, was red):"),
        "{error}"
    );
}

#[test]
fn images_of_other_content_are_named() {
    let dir = begun();
    let manifest = fs::read_to_string(dir.path().join("run/images.csv")).unwrap();
    assert!(
        manifest.starts_with("path,part,class,bytes,sha256\ntrain/blue/000.png,train,blue,"),
        "{manifest}"
    );
    assert_eq!(manifest.lines().count(), 1 + 3 * 18);
    // As long as before: only the digest tells, of an image that the limit chose.
    let used = manifest.lines().skip(1).find(|line| !line.ends_with(',')).unwrap();
    let path = dir.path().join("colours").join(used.split(',').next().unwrap());
    let good = fs::read(&path).unwrap();
    let other = manifest.lines().skip(1).map(|line| line.split(',').next().unwrap()).find_map(|name| {
        let bytes = fs::read(dir.path().join("colours").join(name)).unwrap();
        (bytes.len() == good.len() && bytes != good).then_some(bytes)
    });
    if let Some(other) = other {
        fs::write(&path, other).unwrap();
        let error = stderr(&mut resume(dir.path()));
        assert!(
            error.contains("with: 1 with other content (") && error.contains(used.split(',').next().unwrap())
        );
    }
    fs::write(&path, [&good[..], b"more"].concat()).unwrap();
    let error = stderr(&mut resume(dir.path()));
    assert!(error.contains("with: 1 with other content ("), "{error}");
    fs::write(&path, good).unwrap();
    resume(dir.path()).assert().success();
}

#[test]
fn a_run_without_a_list_of_images_is_checked_as_before() {
    let dir = begun();
    fs::remove_file(dir.path().join("run/images.csv")).unwrap();
    let image = dir.path().join("colours/train/red/000.png");
    let bytes = fs::read(&image).unwrap();
    fs::remove_file(&image).unwrap();
    let error = stderr(&mut resume(dir.path()));
    assert!(error.contains("are not those that run was begun with: bring them back"), "{error}");
    fs::write(&image, bytes).unwrap();
    resume(dir.path()).assert().success();
    assert!(!dir.path().join("run/images.csv").exists());
}
