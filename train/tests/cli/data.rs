//! `train fit --data`: data sets as other tools lay them out, and lists.

use std::fs;
use std::path::Path;

use predicates::prelude::*;
use predicates::str::contains;

use crate::common::{COLOURS, colours};
use crate::{fit, stderr, train};

/// Starts one epoch on `data`, which lies in `dir`.
fn begin(dir: &Path, data: &str) -> assert_cmd::Command {
    let mut command = fit(dir);
    command.args(["--data", data, "--epochs", "1"]);
    command
}

#[test]
fn splits_have_the_names_of_common_tools_and_are_said() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("photos");
    colours(&data, "Train", &COLOURS, 6);
    colours(&data, "Valid", &COLOURS[..2], 3);
    colours(&data, "Testing", &COLOURS, 2);
    fs::create_dir(data.join("seg_pred")).unwrap();
    fs::copy(data.join("Train/red/000.png"), data.join("seg_pred/1.png")).unwrap();
    let said = begin(dir.path(), "photos").output().unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(text.contains("images      18 train, 6 validation, 6 test, at 8x8"), "{text}");
    assert!(text.contains("data        no validation images of red\n"), "{text}");
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let parts = [
        "data training images in Train, validation images in Valid, test images in Testing",
        "left out no split of class folders: 1 (",
    ];
    for part in parts {
        assert!(flat.contains(part), "`{part}` is not in: {flat}");
    }
    // A run from before, which used no validation images beside test images, holds out some of its own.
    let config = dir.path().join("run/config.toml");
    fs::remove_file(dir.path().join("run/result.json")).unwrap();
    fs::rename(data.join("Valid"), dir.path().join("Valid")).unwrap();
    begin(dir.path(), "photos").args(["--out", "old"]).assert().success();
    let digest = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        text.lines().find(|line| line.starts_with("data_digest")).unwrap().to_owned()
    };
    let old = digest(&dir.path().join("old/config.toml"));
    let text = fs::read_to_string(&config).unwrap();
    assert_ne!(digest(&config), old);
    fs::write(&config, text.replace(&digest(&config), &old)).unwrap();
    let plan = dir.path().join("run/plan.json");
    let mut noted: serde_json::Value = serde_json::from_slice(&fs::read(&plan).unwrap()).unwrap();
    noted.as_object_mut().unwrap().remove("validation_digest").unwrap();
    fs::write(&plan, noted.to_string()).unwrap();
    fs::rename(dir.path().join("Valid"), data.join("Valid")).unwrap();
    train(dir.path())
        .args(["fit", "--resume", "run"])
        .assert()
        .success()
        .stdout(contains("15 train, 3 validation, 6 test"));
}

#[test]
fn validation_images_without_test_images_are_the_test_images() {
    let dir = tempfile::tempdir().unwrap();
    colours(&dir.path().join("photos"), "training", &COLOURS, 10);
    colours(&dir.path().join("photos"), "val", &COLOURS, 2);
    let said =
        contains("27 train, 3 validation, 6 test").and(contains("there are no test images: the validation"));
    begin(dir.path(), "photos").assert().success().stdout(said);
}

#[test]
fn a_class_may_be_called_train_and_folders_of_one_meaning_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (class, colour) in [("train", [0, 0, 180]), ("plane", [0, 180, 0]), ("car", [180, 0, 0])] {
        colours(dir.path(), "vehicles", &[(class, colour)], 5);
    }
    let said =
        contains("train is a class, for it holds no class folders").and(contains("12 train, 3 validation"));
    begin(dir.path(), "vehicles").args(["--out", "vehicles-run"]).assert().success().stdout(said);
    for split in ["one", "two"] {
        colours(&dir.path().join("parts"), split, &COLOURS, 2);
    }
    let error = stderr(&mut begin(dir.path(), "parts"));
    assert!(error.contains("(one, two) all hold the same folders (blue, green, red)"), "{error}");
    colours(&dir.path().join("flat"), "", &[("train", [0, 0, 0]), ("test", [1, 1, 1])], 2);
    let error = stderr(&mut begin(dir.path(), "flat"));
    assert!(
        error.contains("has the split folders test, train, which hold images in no class folders"),
        "{error}"
    );
}

/// The run folder lies among the class folders.
#[test]
fn a_run_among_the_classes_is_no_class() {
    let dir = tempfile::tempdir().unwrap();
    colours(dir.path(), "", &COLOURS, 10);
    let here = |out: &str| {
        let mut command = begin(dir.path(), ".");
        command.args(["--out", out]);
        command
    };
    here("runs/one").assert().success();
    fs::remove_file(dir.path().join("runs/one/result.json")).unwrap();
    train(dir.path()).args(["fit", "--resume", "runs/one"]).assert().success();
    let said = contains("3 classes").and(contains("left out    run folder: 1 ("));
    here("runs/two").assert().success().stdout(said);
    train(dir.path()).args(["export", "runs/one"]).assert().success().stdout(contains("validation images"));
}

#[test]
fn images_of_any_ending_are_trained_on_and_others_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("photos");
    colours(dir.path(), "photos", &COLOURS, 6);
    for (from, to) in
        [("red/000.png", "red/000.jfif"), ("red/001.png", "red/001"), ("blue/000.png", "blue/a.heic")]
    {
        fs::rename(data.join(from), data.join(to)).unwrap();
    }
    fs::write(data.join("red/notes\u{1b}.txt"), "text").unwrap();
    let said = begin(dir.path(), "photos").output().unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(text.contains("15 train, 3 validation"), "{text}");
    assert!(
        text.contains("left out    not an image: 1 (") && text.contains("red/notes\\u{1b}.txt)"),
        "{text}"
    );
}

#[test]
fn a_list_is_trained_on() {
    let dir = tempfile::tempdir().unwrap();
    colours(dir.path(), "p", &COLOURS, 6);
    let rows = |split: &str, range: std::ops::Range<usize>| -> String {
        let row =
            |index| COLOURS.map(|(class, _)| format!("p/{class}/{index:03}.png,{class},{split}\n")).concat();
        range.map(row).collect()
    };
    let list = dir.path().join("photos.csv");
    fs::write(
        &list,
        format!("path,label,split\n{}{}{}", rows("train", 0..3), rows("val", 3..4), rows("test", 4..6)),
    )
    .unwrap();
    let said = contains("9 training images, 3 validation images, 6 test images")
        .and(contains("images      9 train, 3 validation, 6 test"));
    begin(dir.path(), "photos.csv").assert().success().stdout(said);
    let predictions = fs::read_to_string(dir.path().join("run/predictions.csv")).unwrap();
    assert!(predictions.contains("\np/blue/004.png,blue,"), "{predictions}");
    fs::remove_file(dir.path().join("run/result.json")).unwrap();
    train(dir.path()).args(["fit", "--resume", "run"]).assert().success();

    let refused = |text: String| {
        fs::write(&list, text).unwrap();
        stderr(begin(dir.path(), "photos.csv").args(["--out", "refused"]))
    };
    let several =
        refused(format!("path,label\np/red/000.png,red;warm\n{}", rows("", 1..2).replace(",\n", "\n")));
    assert!(
        several.contains("photos.csv, line 2 has several labels (red, warm), and one is needed"),
        "{several}"
    );
    let gone = refused(format!("path,label,split\np/red/999.png,red,train\n{}", rows("train", 1..2)));
    assert!(gone.contains("photos.csv, line 2: no such file: ") && gone.contains("p/red/999.png"), "{gone}");
    assert!(!dir.path().join("refused").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_class_that_is_not_utf8_is_refused_by_name() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    colours(dir.path(), "p", &COLOURS, 2);
    fs::rename(dir.path().join("p/red"), dir.path().join(std::ffi::OsStr::from_bytes(b"p/caf\xe9"))).unwrap();
    let error = stderr(&mut begin(dir.path(), "p"));
    assert!(error.contains("p/caf\\xE9 has a name that is not UTF-8: rename it"), "{error}");
    fs::rename(dir.path().join("p"), dir.path().join(std::ffi::OsStr::from_bytes(b"p\xe9"))).unwrap();
    let mut command = fit(dir.path());
    let error = stderr(command.arg("--data").arg(std::ffi::OsStr::from_bytes(b"p\xe9")));
    assert!(error.contains("p\\xE9 is not UTF-8: rename its folders"), "{error}");
}

/// As a spreadsheet saves it: UTF-16 with a byte order mark, tabs, quotes around names with tabs or quotes, CRLF.
#[test]
fn a_list_of_a_spreadsheet_is_trained_on_resumed_and_exported() {
    let dir = tempfile::tempdir().unwrap();
    colours(dir.path(), "p", &COLOURS, 6);
    let odd = dir.path().join("p/red/a \"b\"\tc, d.png");
    fs::rename(dir.path().join("p/red/000.png"), &odd).unwrap();
    let mut text = "Label\tSPLIT\tpath\r\n".to_owned();
    for (class, _) in COLOURS {
        for (index, split) in ["train", "Training", "train", "valid", "test", "test"].iter().enumerate() {
            let path = match (class, index) {
                ("red", 0) => "\"p/red/a \"\"b\"\"\tc, d.png\"".to_owned(),
                _ => format!("p\\{class}\\{index:03}.png"),
            };
            text += &format!("\"Farbe, {class}\"\t{split}\t{path}\r\n");
        }
    }
    let bytes: Vec<u8> =
        "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    fs::write(dir.path().join("list.txt"), bytes).unwrap();
    let counts = "images      9 train, 3 validation, 6 test";
    begin(dir.path(), "list.txt").assert().success().stdout(contains(counts));
    let predictions = fs::read_to_string(dir.path().join("run/predictions.csv")).unwrap();
    assert!(predictions.contains("p/blue/004.png,\"Farbe, blue\","), "{predictions}");
    fs::remove_file(dir.path().join("run/result.json")).unwrap();
    train(dir.path()).args(["fit", "--resume", "run"]).assert().success().stdout(contains(counts));
    train(dir.path()).args(["export", "run"]).assert().success().stdout(contains("validation images"));
    // The list gives an image another class and another part.
    let line = |from: &str, to: &str| {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        fs::write(dir.path().join("list.txt"), changed).unwrap();
        fs::remove_file(dir.path().join("run/result.json")).ok();
        stderr(train(dir.path()).args(["fit", "--resume", "run"]))
    };
    let class = line("\"Farbe, blue\"\ttrain\tp\\blue\\000.png", "\"Farbe, red\"\ttrain\tp\\blue\\000.png");
    assert!(
        class.contains("1 in another class or part (p/blue/000.png: Farbe, red, was Farbe, blue)"),
        "{class}"
    );
    let part = line("valid\tp\\blue\\003.png", "test\tp\\blue\\003.png");
    assert!(part.contains("1 in another class or part (p/blue/003.png: test, was validation)"), "{part}");
    fs::write(dir.path().join("list.txt"), text.replace("\"Farbe, blue\"\ttest\tp\\blue\\004.png\r\n", ""))
        .unwrap();
    let gone = stderr(train(dir.path()).args(["fit", "--resume", "run"]));
    assert!(gone.contains("1 gone (p/blue/004.png)"), "{gone}");
}

/// Packs the class folders in `folder` into a tar archive.
fn pack(folder: &Path, archive: &Path) {
    fs::create_dir_all(archive.parent().unwrap()).unwrap();
    let mut archive = tar::Builder::new(fs::File::create(archive).unwrap());
    archive.append_dir_all("", folder).unwrap();
    archive.finish().unwrap();
}

/// Bytes of all files below a folder.
fn bytes_below(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries
        .map(
            |entry| {
                if entry.path().is_dir() {
                    bytes_below(&entry.path())
                } else {
                    entry.metadata().unwrap().len()
                }
            },
        )
        .sum()
}

#[test]
fn shards_are_trained_on_as_their_files_would_be() {
    let dir = tempfile::tempdir().unwrap();
    for (part, count) in [("train", 6), ("test", 2)] {
        colours(&dir.path().join("files"), part, &COLOURS, count);
        pack(&dir.path().join("files").join(part), &dir.path().join(format!("shards/{part}-0.tar")));
    }
    let output = begin(dir.path(), "shards/{train,test}-0.tar").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("data        24 images in 2 shards or objects, read once"), "{text}");
    assert!(text.contains("images      15 train, 3 validation, 6 test, at 8x8"), "{text}");
    let predictions = fs::read_to_string(dir.path().join("run/predictions.csv")).unwrap();
    assert!(predictions.contains("\ntest-0.tar#blue/000.png,blue,"), "{predictions}");
    let report = fs::read_to_string(dir.path().join("run/report.html")).unwrap();
    assert!(report.contains("<img"), "images of the test set are shown");
    train(dir.path()).args(["export", "run"]).assert().success();

    let mut look = train(dir.path());
    look.args(["fit", "--data", "shards", "--dry-run", "--shuffle-window", "8"]).assert().success().stdout(
        contains("images         15 train, 3 validation, 6 test").and(contains("pixels         24 RGB")),
    );
    let recipe = "name = \"r\"\nbatch_size = 4\n[augment]\ncrop = \"resized\"\n\n[[phase]]\nname = \"all\"\nepochs = 1\n\
                  learning_rate = 1e-3\ntrain = [\"*\"]\n";
    fs::write(dir.path().join("streamed.toml"), recipe).unwrap();
    let mut streamed = train(dir.path());
    streamed.args(["fit", "--data", "shards", "--recipe", "streamed.toml", "--image-size", "8", "--dry-run"]);
    let found = streamed.args(["--shuffle-window", "8", "--format", "json"]).output().unwrap().stdout;
    let found: serde_json::Value = serde_json::from_slice(&found).unwrap();
    let mean = bytes_below(&dir.path().join("files")) / 24;
    assert_eq!(found["memory"]["window"], (8 + 15) * mean, "the window, and all training images read ahead");
    let mut idle = train(dir.path());
    idle.args(["fit", "--data", "files", "--dry-run", "--shuffle-window", "8"]);
    idle.assert().success().stdout(contains("--shuffle-window does nothing"));

    fs::write(dir.path().join("shards/test-0.tar"), "no archive").unwrap();
    let error = stderr(begin(dir.path(), "shards").args(["--out", "other"]));
    assert!(error.contains("test-0.tar"), "{error}");
    if cfg!(not(feature = "cloud")) {
        fs::write(dir.path().join("train.parquet"), "").unwrap();
        for place in ["s3://bucket/photos/", "https://host/train.tar", "train.parquet"] {
            let error = stderr(begin(dir.path(), place).args(["--out", "other"]));
            assert!(error.contains(place) && error.contains("the feature `cloud`"), "{error}");
        }
    }
    let error = stderr(begin(dir.path(), "https://host/a.tar?sig=abcd").args(["--out", "other"]));
    assert!(error.contains("https://host/a.tar: the address holds a secret"), "{error}");
    assert!(!error.contains("abcd"), "{error}");
}
