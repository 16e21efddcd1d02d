//! `train fit` and `train summary`: output and refused arguments.

use std::fs;
use std::process::Command as Process;

use predicates::prelude::*;
use predicates::str::contains;

use crate::common::{COLOURS, colour_set, colours};
use crate::{fit, stderr, train};

#[test]
fn a_pretrained_start_says_what_is_new_and_freezes_the_rest() {
    let (dir, _) = colour_set();
    fit(dir.path()).args(["--attention", "none", "--out", "base", "--epochs", "1"]).assert().success();
    let pretrained = ["--pretrained", "base/best.safetensors"];
    fit(dir.path())
        .args(pretrained)
        .args(["--epochs", "1", "--out", "default"])
        .assert()
        .success()
        .stdout(contains("recipe      fine-tune, 1 epochs"));
    fit(dir.path()).args(pretrained).args(["--recipe", "three-phase"]).assert().success().stdout(
        contains("pretrained weights: 102 tensors loaded")
            .and(contains("recipe      three-phase, 3 epochs"))
            .and(contains("new: cbam_layer1.channel_attn.fc.0.weight,"))
            .and(contains("1 epoch at 1e-3\n  14 parameters learn: fc cbam_layer1"))
            .and(contains(
                "60 parameters are frozen: bn1 conv1 layer1 layer2 layer3 layer4\n  statistics of 20",
            )),
    );
}

#[test]
fn data_that_cannot_be_trained_on_is_named() {
    let (dir, data) = colour_set();
    let add = |path: &str, bytes: &[u8]| fs::write(data.join(path), bytes).unwrap();
    let good = fs::read(data.join("train/red/000.png")).unwrap();
    add("train/red/text.png", b"this is no image");
    add("train/blue/empty.png", b"");
    add("train/green/cut.png", &good[..good.len() / 2]);
    let error = stderr(&mut fit(dir.path()));
    assert!(error.contains("3 of the images cannot be used"), "{error}");
    for name in ["red/text.png", "blue/empty.png", "green/cut.png"] {
        assert!(error.contains(name), "{name}: {error}");
    }
    assert!(!dir.path().join("run").exists(), "nothing was begun");

    fs::create_dir(dir.path().join("nothing")).unwrap();
    let refused = |data: &str| stderr(fit(dir.path()).args(["--data", data]));
    assert!(refused("nothing").contains("no class folders"));
    assert!(refused("nowhere").contains("nowhere: No such file"));
    colours(dir.path(), "single", &COLOURS[..1], 3);
    assert!(refused("single").contains("only one class (blue)"));
    fs::create_dir(dir.path().join("single/white")).unwrap();
    assert!(refused("single").contains("white holds no images"));
    colours(&dir.path().join("extra"), "train", &COLOURS[..2], 3);
    colours(&dir.path().join("extra"), "test", &COLOURS[1..], 3);
    assert!(refused("extra").contains("class red in"));
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    let (dir, _) = colour_set();
    let refused = |flags: &[&str]| stderr(fit(dir.path()).args(flags));
    assert!(refused(&["--recipe", "none.toml"]).contains("cannot read the recipe none.toml"));
    assert!(refused(&["--attention-kernel", "4"]).contains("must be odd, not 4"));
    assert!(refused(&["--attention-ratio", "100"]).contains("ratio of 100"));
    assert!(refused(&["--pretrained", "weights.pth"]).contains("cannot read --pretrained weights.pth"));
    assert!(refused(&["--limit", "2"]).contains("too few"));
    fit(dir.path()).args(["--device", "gpu"]).assert().code(2).stderr(contains("use auto, cpu, cuda"));
    fs::create_dir(dir.path().join("run")).unwrap();
    fs::write(dir.path().join("run/mine"), "").unwrap();
    assert!(refused(&[]).contains("run is not empty: choose another --out"));
}

#[test]
fn an_explicit_gpu_never_falls_back() {
    let (dir, _) = colour_set();
    if tch::Cuda::is_available() {
        return;
    }
    let error = stderr(fit(dir.path()).args(["--device", "cuda:1"]));
    assert!(
        error.contains("--device cuda:1: ") && error.contains("--device cpu trains on the CPU"),
        "{error}"
    );
    fit(dir.path())
        .args(["--device", "auto", "--epochs", "1"])
        .assert()
        .success()
        .stdout(contains("device      cpu"));
}

#[cfg(unix)]
#[test]
fn bad_images_are_left_out_on_request_and_counted() {
    let (dir, data) = colour_set();
    let good = fs::read(data.join("train/red/000.png")).unwrap();
    fs::write(data.join("train/red/cut.png"), &good[..good.len() / 2]).unwrap();
    fs::write(data.join("train/blue/000.png"), "no image").unwrap();
    fit(dir.path())
        .args(["--skip-bad", "--epochs", "1"])
        .assert()
        .success()
        .stdout(contains("images left out: they cannot be decoded"));
}

#[test]
fn a_loss_that_explodes_names_the_last_good_checkpoint() {
    let (dir, _) = colour_set();
    let recipe = |second: &str| {
        let phase = |name: &str, rate: &str| {
            format!("[[phase]]\nname = \"{name}\"\nepochs = 1\nlearning_rate = {rate}\ntrain = [\"*\"]\n")
        };
        let text = format!("name = \"two\"\nbatch_size = 4\n{}{}", phase("a", "1e-4"), phase("b", second));
        fs::write(dir.path().join("two.toml"), text).unwrap();
    };
    recipe("1e38");
    let data = ["fit", "--data", "colours", "--image-size", "8", "--limit", "15", "--device", "cpu"];
    let error = stderr(train(dir.path()).args(data).args(["--recipe", "two.toml", "--out", "run"]));
    assert!(error.contains("the last good checkpoint is run/last (epoch 1): the loss is"), "{error}");
    assert!(error.contains("in epoch 2, step 2 (phase \"b\"), on ") && error.contains(".png"), "{error}");
    // The way out: another rate in the run's own configuration.
    let config = dir.path().join("run/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let milder = text.replace(&format!("learning_rate = {}.0", 1e38), "learning_rate = 0.0001");
    assert_ne!(milder, text);
    fs::write(&config, milder).unwrap();
    train(dir.path()).args(["fit", "--resume", "run"]).assert().success().stdout(contains("epoch 2/2"));
}

#[test]
fn a_recipe_may_name_the_attention_that_a_network_lacks_and_nothing_unknown() {
    let (dir, _) = colour_set();
    let recipe = |train: &str| {
        let phase = format!("[[phase]]\nname = \"a\"\nepochs = 1\nlearning_rate = 1e-3\ntrain = {train}\n");
        fs::write(dir.path().join("my.toml"), format!("name = \"my\"\nbatch_size = 16\n{phase}")).unwrap();
        let mut command = fit(dir.path());
        command.args(["--recipe", "my.toml", "--epochs", "1", "--limit", "15", "--attention", "none"]);
        command
    };
    for (out, train) in
        [("names", "[\"backbone.fc.*\", \"cbam_layer*\"]"), ("roles", "[\"@head\", \"@attention\"]")]
    {
        recipe(train).args(["--out", out, "--freeze-stem"]).assert().success();
        let plan: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(dir.path().join(out).join("plan.json")).unwrap())
                .unwrap();
        let frozen = plan["phases"][0]["frozen"].as_array().unwrap();
        assert_eq!(frozen.len(), 3, "the stem's convolution and batch norm: {frozen:?}");
    }
    let error = stderr(recipe("[\"@head\", \"cbam_layr*\"]").args(["--out", "typo"]));
    for part in [
        "phase \"a\": the pattern \"cbam_layr*\" matches no parameter",
        "@attention",
        "backbone.conv1.weight",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let error = stderr(recipe("[\"@hed\"]").args(["--out", "typo"]));
    assert!(
        error.contains("my.toml is not a recipe: phase \"a\": there is no role \"@hed\": use @stem"),
        "{error}"
    );
    assert!(!dir.path().join("typo").exists(), "nothing was begun");
}

#[test]
fn mixed_precision_is_for_gpus() {
    let (dir, _) = colour_set();
    for flag in ["--amp", "--amp=fp16"] {
        let error = stderr(fit(dir.path()).arg(flag));
        assert!(error.contains("--amp is for CUDA: on cpu it is slower"), "{error}");
    }
    fit(dir.path()).arg("--amp=fp8").assert().code(2).stderr(contains("use bf16 or fp16"));
}

#[test]
fn a_summary_is_a_table_or_an_object() {
    let (dir, _) = colour_set();
    let total = |arguments: &[&str]| -> u64 {
        let output =
            train(dir.path()).arg("summary").args(arguments).args(["--format", "json"]).output().unwrap();
        let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        summary["total"]["trainable"].as_u64().unwrap()
    };
    fit(dir.path()).args(["--epochs", "1", "--limit", "15", "--attention", "none"]).assert().success();
    assert_eq!(total(&["run"]), total(&["run/best.safetensors"]));
    assert!(total(&[]) > total(&["run"]), "attention has parameters");
    train(dir.path()).arg("summary").assert().success().stdout(contains("backbone.layer4.1.conv2"));
    let error = stderr(train(dir.path()).args(["summary", "nowhere.pth"]));
    assert!(error.contains("nowhere.pth"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_reader_that_leaves_does_not_end_a_run() {
    let (dir, _) = colour_set();
    let script = format!(
        "{} fit --data colours --out run --image-size 8 --epochs 1 --device cpu | head -n 0",
        env!("CARGO_BIN_EXE_train")
    );
    let output = Process::new("sh").current_dir(dir.path()).args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert!(dir.path().join("run/result.json").exists());
}

#[test]
fn settings_and_flags_that_do_nothing_are_said() {
    let (dir, _) = colour_set();
    let text = "name = \"mine\"\nbatch_size = 8\n[augment]\ncrop = \"padded\"\n[[phase]]\nname = \"all\"\nepochs = 1\n\
                learning_rate = 1e-3\nnew_learning_rate = 1e-2\ntrain = [\"@all\"]\n";
    fs::write(dir.path().join("mine.toml"), text).unwrap();
    fit(dir.path())
        .args(["--recipe", "mine.toml", "--stem-init", "random", "--attention", "none"])
        .args(["--attention-kernel", "5", "--mirrored-test"])
        .assert()
        .success()
        .stdout(
            contains("note: augment.crop = \"padded\" does nothing: set augment.crop_padding, such as 0.125")
                .and(contains("note: --stem-init does nothing: there are no pretrained weights"))
                .and(contains("note: --attention-kernel does nothing: the network has no attention"))
                .and(contains("no parameter that learns is in the group \"loaded\" of this phase"))
                .and(contains(" with mirror images as well")),
        );
    let result = fs::read_to_string(dir.path().join("run/result.json")).unwrap();
    assert!(result.contains("\"mirrored_test_accuracy\": "), "{result}");
}
