//! Tests of layouts: splits by many names, classes with the names of splits, and folders that are no classes.

use std::fs;

use super::*;

/// Reads a folder with these files, named as images; a folder's name ends with `/`.
fn read_tree(files: &[&str]) -> (tempfile::TempDir, Result<DataSet, FolderError>) {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        let path = dir.path().join(file);
        if file.ends_with('/') {
            fs::create_dir_all(path).unwrap();
            continue;
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    let found = read(dir.path());
    (dir, found)
}

fn refusal(files: &[&str]) -> String {
    let (dir, found) = read_tree(files);
    found.unwrap_err().to_string().replace(dir.path().to_str().unwrap(), "DIR")
}

/// Numbers of training, validation and test images, and of those in no split.
fn counts(files: &[&str]) -> [usize; 4] {
    let (_dir, found) = read_tree(files);
    let found = found.unwrap();
    [Some(Split::Train), Some(Split::Validation), Some(Split::Test), None]
        .map(|split| found.part(split).len())
}

#[test]
fn split_folders_have_many_names() {
    for (train, val, test) in [
        ("train", "val", "test"),
        ("Train", "Valid", "Test"),
        ("Training", "Validation", "Testing"),
        ("seg_train", "seg_val", "seg_test"),
        ("seg_train/seg_train", "dev/dev", "seg_test/seg_test"),
        ("training_set", "validation_set", "test_set"),
        ("train2017", "val2017", "test2017"),
    ] {
        let files = [
            format!("{train}/a/1.png"),
            format!("{train}/a/2.png"),
            format!("{train}/b/deep/3.png"),
            format!("{val}/a/4.png"),
            format!("{val}/b/5.png"),
            format!("{test}/b/6.png"),
        ];
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        assert_eq!(counts(&files), [3, 2, 1, 0], "{train}");
        assert_eq!(counts(&files[..3]), [3, 0, 0, 0], "{train} alone");
        assert_eq!(counts(&files[5..]), [0, 0, 1, 0], "{test} alone");
    }
}

#[test]
fn a_class_may_have_the_name_of_a_split() {
    let files = ["train/1.png", "plane/2.png", "car/3.png", "plane/jet/4.png"];
    let (dir, found) = read_tree(&files);
    let found = found.unwrap();
    assert_eq!(DataSet::classes(&found.images), ["car", "plane", "train"]);
    assert_eq!(found.description(), "train is a class, for it holds no class folders");
    drop(dir);
    // A class with folders of its own, as its neighbour has them.
    assert_eq!(counts(&["train/1.png", "train/old/2.png", "train/new/3.png", "plane/4.png"]), [0, 0, 0, 4]);
    assert_eq!(counts(&["valid/1.png", "invalid/2.png"]), [0, 0, 0, 2]);
    // As a class of a training set.
    assert_eq!(
        counts(&["train/train/1.png", "train/car/2.png", "test/train/3.png", "test/car/4.png"]),
        [2, 0, 2, 0]
    );
}

#[test]
fn layouts_that_leave_a_doubt_are_refused() {
    let error = refusal(&["train/1.png", "test/2.png"]);
    assert!(
        error.starts_with("DIR has the split folders test, train, which hold images in no class"),
        "{error}"
    );
    let error = refusal(&["train/old/1.png", "train/new/2.png", "plane/3.png"]);
    assert!(
        error.starts_with("DIR/train is either the train set or a class, for plane lie beside it"),
        "{error}"
    );
    let error = refusal(&["val/a/1.png", "train/a/1.png", "Validation/a/1.png"]);
    assert_eq!(error, "DIR/Validation and DIR/val are both validation folders: merge them or remove one");
    let error = refusal(&["cat/left/1.png", "cat/right/2.png", "dog/left/3.png", "dog/right/4.png"]);
    assert!(
        error.starts_with("the folders of DIR (cat, dog) all hold the same folders (left, right)"),
        "{error}"
    );
    let error = refusal(&["cat/train/1.png", "cat/test/2.png", "dog/train/3.png", "dog/test/4.png"]);
    assert!(error.contains("(test, train)"), "{error}");
    let error =
        refusal(&["Lernen/a/1.png", "Lernen/b/2.png", "Probe/a/3.png", "Probe/b/4.png", "Probe/c/5.png"]);
    assert!(error.contains("(Lernen, Probe) all hold the same folders (a, b)"), "{error}");
}

/// tiny-imagenet has `train/CLASS/images/*.jpg`, and `val/images/*.jpg` with the classes in a text.
#[test]
fn one_folder_in_every_class_is_read() {
    let files = ["train/n01/images/1.png", "train/n02/images/2.png", "val/images/3.png", "test/images/4.png"];
    let (dir, found) = read_tree(&files);
    let found = found.unwrap();
    assert_eq!(found.part(Some(Split::Train)).len(), 2);
    assert_eq!(found.images.len(), 2);
    let left_out: Vec<_> = found.left_out.entries().iter().map(|entry| (&entry.path, entry.reason)).collect();
    let [test, val] = ["test", "val"].map(|name| dir.path().join(name));
    assert_eq!(left_out, [(&test, LeftOutReason::NoSplit), (&val, LeftOutReason::NoSplit)]);
    assert_eq!(counts(&["cat/images/1.png", "dog/images/2.png"]), [0, 0, 0, 2]);
    // A class of that name.
    assert_eq!(counts(&["train/photos/1.png", "train/drawings/2.png", "test/photos/3.png"]), [2, 0, 1, 0]);
}

#[test]
fn folders_beside_the_splits_and_strays_are_named() {
    let files = [
        "seg_train/a/1.png",
        "seg_train/2.png",
        "seg_train/b/3.png",
        "seg_test/a/4.png",
        "seg_pred/5.png",
        "6.png",
    ];
    let (dir, found) = read_tree(&files);
    let found = found.unwrap();
    assert_eq!(found.images.len(), 3);
    let left_out: Vec<_> = found.left_out.entries().iter().map(|entry| (&entry.path, entry.reason)).collect();
    let [pred, stray, top] = ["seg_pred", "seg_train/2.png", "6.png"].map(|name| dir.path().join(name));
    let expected =
        [(&pred, LeftOutReason::NoSplit), (&top, LeftOutReason::NoClass), (&stray, LeftOutReason::NoClass)];
    assert_eq!(left_out, expected);
    // Without images they are no one's business.
    assert_eq!(counts(&["train/a/1.png", "train/b/1.png", "annotations/a.xml"]), [2, 0, 0, 0]);
}

#[test]
fn folders_of_systems_and_runs_are_no_classes() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["cat/1.png", "dog/2.png", "@eaDir/cat/1.png", "__MACOSX/cat/._1.png", ".git/x.png"] {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    for run in ["runs/one", "ten"] {
        fs::create_dir_all(dir.path().join(run)).unwrap();
        fs::write(dir.path().join(run).join("config.toml"), "data_digest = \"00\"\n").unwrap();
        fs::write(dir.path().join(run).join("overlay.png"), "x").unwrap();
    }
    let found = read(dir.path()).unwrap();
    assert_eq!(DataSet::classes(&found.images), ["cat", "dog"]);
    assert_eq!(found.left_out.len(), 5, "{}", found.left_out);
    let alone = tempfile::tempdir().unwrap();
    fs::create_dir_all(alone.path().join("runs/one")).unwrap();
    fs::write(alone.path().join("runs/one/config.toml"), "data_digest = \"00\"\n").unwrap();
    assert!(matches!(read(alone.path()), Err(FolderError::NoClasses(_))));
}

#[test]
fn empty_folders_are_refused() {
    assert!(refusal(&[]).starts_with("DIR has no class folders"));
    assert!(refusal(&["1.png"]).starts_with("DIR has no class folders"));
    assert_eq!(refusal(&["a/", "b/"]), "DIR holds no images in any class folder");
    assert_eq!(
        refusal(&["a/1.png", "b/"]),
        "class folder DIR/b holds no images: add some or remove the folder"
    );
    assert_eq!(refusal(&["train/a/1.png", "test/"]), "DIR/test holds no images in any class folder");
}

#[test]
fn names_are_one_in_both_unicode_forms() {
    let (_dir, found) = read_tree(&["cafe\u{301}/1.png", "zoo/2.png"]);
    assert_eq!(DataSet::classes(&found.unwrap().images), ["caf\u{e9}", "zoo"]);
    let (_dir, found) = read_tree(&["cafe\u{301}/1.png", "caf\u{e9}/2.png"]);
    // Some file systems hold one of the two only.
    assert!(matches!(found, Err(FolderError::SameName { .. })) || cfg!(not(target_os = "linux")));
}

#[cfg(target_os = "linux")]
#[test]
fn a_class_that_is_not_utf8_is_refused_by_name_and_its_images_are_not() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let folder = |bytes: &[u8]| dir.path().join(std::ffi::OsStr::from_bytes(bytes));
    for class in [&b"bird"[..], b"caf\xe9"] {
        fs::create_dir(folder(class)).unwrap();
        fs::write(folder(class).join("1.png"), "x").unwrap();
    }
    let error = read(dir.path()).unwrap_err();
    assert!(error.to_string().ends_with("caf\\xE9 has a name that is not UTF-8: rename it"), "{error}");
    fs::rename(folder(b"caf\xe9"), folder(b"cafe")).unwrap();
    fs::rename(folder(b"cafe/1.png"), folder(b"cafe/\xe9.png")).unwrap();
    assert_eq!(read(dir.path()).unwrap().images.len(), 2);
}
