//! `train explain`: LayerCAM of runs and of bare checkpoints.

use std::fs;

use predicates::prelude::*;
use predicates::str::{contains, is_match};

use crate::common::colour_set;
use crate::{fit, stderr, train};

#[test]
fn any_layer_of_a_run_and_of_its_checkpoint_is_explained() {
    let (dir, _) = colour_set();
    let at = |name: &str| dir.path().join(name);
    fit(dir.path()).args(["--epochs", "1", "--image-size", "16"]).assert().success();
    let explain = |source: &str| {
        let mut command = train(dir.path());
        command.args(["explain", source, "colours/test/red/000.png"]);
        command
    };

    explain("run").assert().success().stdout(
        is_match(r"class    (blue|green|red), logit -?\d+\.\d{3}\n")
            .unwrap()
            .and(is_match(r"layer    @stages:4: \S+, 2x2, greatest \d+\.\d{3}\n").unwrap())
            .and(contains("written  overlay.png")),
    );
    let overlay = image::open(at("overlay.png")).unwrap();
    assert!(overlay.width() > 2 * 256 && overlay.height() > 256, "{}x{}", overlay.width(), overlay.height());

    // The best weights of the run, as a checkpoint without a word about classes and images.
    fs::write(at("labels.txt"), "blue\ngreen\nred\n").unwrap();
    let best = "run/best.safetensors";
    let of_layer = ["--layer", "backbone.layer1", "--class", "red"];
    let by_run = explain("run").args(of_layer).args(["-o", "run.png"]).output().unwrap();
    let bare = ["--labels", "labels.txt", "--image-size", "16"];
    let by_weights = explain(best).args(of_layer).args(bare).args(["-o", "run.png"]).output().unwrap();
    let [by_run, by_weights] = [by_run, by_weights].map(|output| String::from_utf8(output.stdout).unwrap());
    assert!(by_run.contains("class    red, ") && by_run.contains(", 16x16, "), "{by_run}");
    let (assumed, rest) = by_weights.split_once('\n').unwrap();
    assert!(assumed.starts_with("assumed  images of 16 pixels, mean ["), "{by_weights}");
    assert_eq!(rest, by_run, "the same map, whatever says the classes");
    explain(best).args(["--image-size", "16", "--class", "1"]).assert().success().stdout(contains("class 1"));

    let refused: [(&str, &[&str], &str); 7] = [
        ("run", &bare, "--labels is for bare checkpoints: a run knows it already"),
        ("run", &["--mean", "0.5,0.5,0.5"], "--mean is for bare checkpoints"),
        ("run", &["--class", "pink"], "--class pink: no label of the network, and no index from 0 to 2"),
        ("run", &["--layer", "@stages:7"], "--layer @stages:7: the network declares no such stage"),
        (
            "run",
            &["--layer", "backbone.layer9"],
            "no feature maps in backbone.layer9: it has them in backbone.",
        ),
        ("run", &["-o", "overlay.txt"], "overlay.txt: the name has to end in .png or .jpg"),
        (best, &["--labels", "colours/test/red/000.png"], "--labels"),
    ];
    for (source, flags, reason) in refused {
        let error = stderr(explain(source).args(flags));
        assert!(error.contains(reason), "{flags:?}: {error}");
    }
}
