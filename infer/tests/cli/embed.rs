//! Tests of `infer embed` and `infer similar`: the features against the image's mean colours, files, and errors.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, io, thread};

use ferronnx_infer::embed::table::Embeddings;
use ferronnx_models::card::{InputForm, Precision};
use serde_json::Value;

use crate::support::{self, BLUE, GREEN, Model, RED, Said, Workplace};

/// Features that the tiny network has for an image of one colour: eight channels, of which channel c looks at colour c mod 3.
fn features(color: [u8; 3]) -> Vec<f32> {
    let [red, green, blue] = color.map(|value| f32::from(value) / 255.0);
    let sum = |own: f32| (2.5 * own - 0.5 * (red + green + blue)).max(0.0);
    (0..8).map(|channel| sum([red, green, blue][channel % 3])).collect()
}

#[track_caller]
fn is_close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    let difference = found.iter().zip(expected).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(difference < 2e-3, "{found:?} instead of {expected:?}");
}

fn photos(place: &Workplace) {
    for (name, color) in [("blue", BLUE), ("green", GREEN), ("red", RED)] {
        place.image(&format!("photos/{name}.png"), color);
    }
    fs::write(place.path("photos/wrong.png"), "no image").unwrap();
}

#[test]
fn every_form_of_a_file_gives_the_features() {
    let place = Workplace::without_model();
    photos(&place);
    let forms = [
        (Model::default(), true),
        (Model::of(InputForm::Uint8, Precision::Fp32), true),
        (Model::of(InputForm::Float, Precision::Fp16), true),
        (Model::with_features(), false),
    ];
    for (model, is_added) in forms {
        fs::write(place.path("model.onnx"), model.encoded_with(&[])).unwrap();
        let said = Said::by(place.infer().args(["embed", "photos", "--out", "all.npy", "--batch", "2"]));
        said.fails(1, &["photos/wrong.png"]);
        assert!(said.stderr.contains("3 embedded, 1 failed"), "{}", said.stderr);
        assert_eq!(said.stderr.contains("the file has no output of them"), is_added, "{}", said.stderr);
        let names = fs::read_to_string(place.path("all.names.txt")).unwrap();
        assert_eq!(names, "photos/blue.png\nphotos/green.png\nphotos/red.png\n");
        let found = Embeddings::read(place.path("all.npy")).unwrap();
        for (row, color) in found.values.outer_iter().zip([BLUE, GREEN, RED]) {
            is_close(&row.to_vec(), &features(color));
        }
    }
}

#[test]
fn lines_and_unit_length() {
    let place = Workplace::new();
    photos(&place);
    place.image("black.png", [0; 3]);
    let said = Said::by(place.infer().args([
        "embed",
        "photos/red.png",
        "black.png",
        "-o",
        "a.jsonl",
        "--normalize",
    ]));
    said.fails(1, &["black.png", "features of the image are all 0"]);
    let line: Value = serde_json::from_str(&fs::read_to_string(place.path("a.jsonl")).unwrap()).unwrap();
    assert_eq!(line["path"], "photos/red.png");
    let found = Embeddings::read(place.path("a.jsonl")).unwrap().values.row(0).to_vec();
    let expected = features(RED);
    let length = expected.iter().map(|value| value * value).sum::<f32>().sqrt();
    is_close(&found, &expected.iter().map(|value| value / length).collect::<Vec<_>>());

    for (arguments, code, parts) in [
        (&["embed", "photos", "-o", "a.csv"][..], 2, &["--out a.csv", ".npy or .jsonl"][..]),
        (&["embed", "photos/wrong.png", "-o", "b.npy"], 2, &["photos/wrong.png"]),
        (&["embed", "photos", "-o", "nowhere/b.npy"], 2, &["cannot write nowhere/b.npy"]),
    ] {
        let said = Said::by(place.infer().args(arguments));
        assert_eq!(said.code, code, "{arguments:?}: {}", said.stderr);
        parts.iter().for_each(|part| assert!(said.stderr.contains(part), "{}", said.stderr));
        assert!(!place.path("b.npy").exists() && !place.path("b.names.txt").exists());
    }
}

#[cfg(unix)]
#[test]
fn a_name_that_is_no_line_is_refused_before_any_work() {
    let place = Workplace::new();
    photos(&place);
    place.image("photos/z\nz.png", RED);
    let embed = |out| Said::by(place.infer().args(["embed", "photos", "-o", out]));
    let said = embed("a.npy");
    said.fails(2, &[r"photos/z\nz.png: the name cannot be a line of text", ".jsonl"]);
    assert!(!said.stderr.contains("wrong.png"), "nothing was decoded: {}", said.stderr);
    assert_eq!(embed("a.jsonl").code, 1);
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_no_file() {
    let place = Workplace::new();
    place.image("photos/0.png", RED);
    for index in 1..6_000 {
        fs::hard_link(place.path("photos/0.png"), place.path(&format!("photos/{index}.png"))).unwrap();
    }
    let entries = || fs::read_dir(place.path("out")).unwrap().count();
    fs::create_dir(place.path("out")).unwrap();
    let mut embed = place.startable();
    embed.args(["embed", "photos", "-o", "out/all.npy", "--batch", "1"]).stderr(Stdio::piped());
    let job = embed.spawn().unwrap();
    while entries() == 0 {
        thread::sleep(Duration::from_millis(5));
    }
    let killed = Command::new("kill").args(["-INT", &job.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = job.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("stopped after") && said.contains("nothing was written"), "{said}");
    assert_eq!(entries(), 0);
}

fn neighbours(said: &Said) -> Vec<(String, f64)> {
    let found: Value = serde_json::from_str(&said.stdout).expect(&said.stderr);
    let one = |one: &Value| (one["path"].as_str().unwrap().into(), one["similarity"].as_f64().unwrap());
    found["neighbours"].as_array().unwrap().iter().map(one).collect()
}

#[test]
fn the_nearest_are_those_of_the_smallest_angle() {
    let place = Workplace::new();
    photos(&place);
    place.image("orange.png", [250, 120, 10]);
    let folder = Said::by(place.infer().args(["similar", "orange.png", "--in", "photos", "--json"]));
    folder.fails(1, &["photos/wrong.png"]);
    let found = neighbours(&folder);
    let cosine = |a: &[f32], b: &[f32]| -> f32 {
        let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        product(a, b) / (product(a, a) * product(b, b)).sqrt()
    };
    let orange = features([250, 120, 10]);
    let mut expected = [("blue", BLUE), ("green", GREEN), ("red", RED)]
        .map(|(name, color)| (format!("photos/{name}.png"), f64::from(cosine(&orange, &features(color)))));
    expected.sort_by(|a, b| b.1.total_cmp(&a.1));
    for (found, expected) in found.iter().zip(&expected) {
        assert!(found.0 == expected.0 && (found.1 - expected.1).abs() < 1e-3, "{found:?} {expected:?}");
    }
    assert_eq!((found.len(), &*found[0].0), (3, "photos/red.png"));

    for file in ["all.npy", "all.jsonl"] {
        Said::by(place.infer().args(["embed", "photos", "--out", file]));
        let kept = Said::by(place.infer().args(["similar", "orange.png", "--in", file, "--json"]));
        let difference = |(a, b): (&(String, f64), &(String, f64))| a.0 == b.0 && (a.1 - b.1).abs() < 1e-6;
        assert!(kept.code == 0 && neighbours(&kept).iter().zip(&found).all(difference), "{}", kept.stdout);
    }
    let said = Said::by(place.infer().args(["similar", "orange.png", "--in", "all.npy", "--top", "1"]));
    assert!(said.stdout.contains("photos/red.png") && !said.stdout.contains("green"), "{}", said.stdout);
}

#[test]
fn embeddings_of_another_model_are_refused() {
    let place = Workplace::new();
    photos(&place);
    Said::by(place.infer().args(["embed", "photos", "--out", "all.npy"]));
    let similar = |file: &str| Said::by(place.infer().args(["similar", "photos/red.png", "--in", file]));
    assert_eq!(similar("all.npy").code, 0);
    // The first image is another one now, as if another network had embedded it.
    place.image("photos/blue.png", RED);
    similar("all.npy").fails(2, &["all.npy", "photos/blue.png has another embedding now"]);
    fs::write(place.path("all.names.txt"), "photos/blue.png\n").unwrap();
    similar("all.npy").fails(2, &["all.npy", "has 3 rows", "1 names"]);
    fs::write(place.path("short.jsonl"), "{\"path\":\"a\",\"embedding\":[1]}\n").unwrap();
    similar("short.jsonl").fails(2, &["short.jsonl", "rows of 1 values, but the model has 8"]);
    fs::write(place.path("bad.jsonl"), "{}\n").unwrap();
    similar("bad.jsonl").fails(2, &["bad.jsonl", "line 1"]);
    similar("photos/red.png").fails(2, &["photos/red.png", "no .npy file"]);
    similar("none.npy").fails(2, &["none.npy", "no such file"]);
}

#[test]
fn networks_of_other_tools_have_features_or_say_why_not() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/passes");
    let place = Workplace::without_model();
    photos(&place);
    fs::write(place.path("labels.txt"), (0..5).map(|at| format!("{at}\n")).collect::<String>()).unwrap();
    for model in ["torchscript.onnx", "dynamo.onnx"] {
        let packed = fs::File::open(folder.join(model).with_extension("onnx.gz")).unwrap();
        let mut unpacked = fs::File::create(place.path(model)).unwrap();
        io::copy(&mut flate2::read::GzDecoder::new(packed), &mut unpacked).unwrap();
        let mut command = place.infer();
        command.args([
            "embed",
            "photos/red.png",
            "-o",
            "all.npy",
            "--mean",
            "0,0,0",
            "--std",
            "1,1,1",
            "--model",
        ]);
        let said = Said::by(command.arg(model).args(["--labels", "labels.txt"]));
        assert_eq!(said.code, 0, "{model}: {}", said.stderr);
        assert!(said.stderr.contains("what its last linear layer reads"), "{}", said.stderr);
        assert_eq!(Embeddings::read(place.path("all.npy")).unwrap().values.nrows(), 1);
    }
    let foreign = support::foreign();
    let mut command = place.infer();
    let said = Said::by(
        command
            .args(["embed", "photos", "-o", "b.npy", "--mean", "0,0,0", "--std", "1,1,1", "--model"])
            .arg(foreign.path().join("output_4d.onnx")),
    );
    said.fails(2, &["output_4d.onnx", "gives no features of images", "train export --features"]);
}
