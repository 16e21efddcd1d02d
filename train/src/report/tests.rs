use ferronnx_models::card::Preprocessing;
use ferronnx_report::metrics::Answer;
use image::RgbImage;
use indexmap::IndexMap;

use super::*;
use crate::device::DeviceRequest;
use crate::pretrained::StemInit;
use crate::recipe::Recipe;
use crate::task::Task;

fn config(labels: &[&str]) -> RunConfig {
    RunConfig {
        version: "0.1.0".into(),
        data: "somewhere/photos".into(),
        data_digest: "0123456789abcdef".into(),
        task: Task::SingleLabel,
        limit: None,
        seed: 42,
        device: DeviceRequest::Cpu,
        amp: None,
        graphs: true,
        deterministic: false,
        ranks: 1,
        sync_bn: false,
        skip_bad: false,
        shuffle_window: 4096,
        pretrained: None,
        pretrained_key: None,
        stem_init: StemInit::default(),
        labels: labels.iter().map(ToString::to_string).collect(),
        preprocessing: Preprocessing::for_size(32),
        architecture: serde_json::json!({"network": "resnet18", "classes": labels.len()}),
        recipe: Recipe::load("three-phase").unwrap(),
    }
}

fn epoch(epoch: usize, phase: &str) -> EpochMetrics {
    EpochMetrics {
        epoch,
        phase: phase.into(),
        learning_rates: IndexMap::from([("all".to_owned(), 1e-3 / epoch as f64)]),
        train_loss: 2.0 / epoch as f64,
        train_accuracy: 0.5,
        validation_loss: 2.5 / epoch as f64,
        validation_accuracy: 0.4,
        validation_macro_f1: None,
        validation_map: None,
        // Figures of the clock, which must not show.
        images_per_second: 7777.0,
        seconds: 8888.0,
    }
}

fn phase(name: &str) -> PhaseRecord {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    PhaseRecord {
        name: name.into(),
        trained: names(&["backbone.fc.bias", "backbone.fc.weight"]),
        frozen: names(&["backbone.layer1.0.conv1.weight", "backbone.layer1.1.conv1.weight"]),
        frozen_norms: names(&["backbone.layer1.0.bn1"]),
    }
}

fn answer(actual: usize, predicted: usize, probability: f32) -> Answer {
    Answer { actual, predicted, probability }
}

fn image(index: usize) -> Option<(String, RgbImage)> {
    (index != 3).then(|| (format!("{index}.png"), RgbImage::new(4, 4)))
}

/// Renders a report of two epochs.
fn render(labels: &[&str], metrics: &[EpochMetrics], evaluated: Option<Evaluated<'_>>) -> String {
    let config = config(labels);
    let phases = [phase("first"), phase("second")];
    let best_epoch = metrics.last().map(|last| last.epoch);
    let config_toml = "seed = 42\nname = \"<b>\"";
    Report {
        config: &config,
        config_toml,
        phases: &phases,
        metrics,
        best_epoch,
        mirrored_accuracy: evaluated.is_some().then_some(0.625),
        evaluated,
        labels: None,
        calibrated: None,
    }
    .render()
}

#[test]
fn a_finished_run_shows_everything() {
    let answers = [answer(0, 0, 0.9), answer(0, 1, 0.7), answer(1, 1, 0.8), answer(1, 0, 0.95)];
    let evaluated = Evaluated { split: "test", answers: &answers, scored: None, image: &image };
    let html = render(&["cat", "dog"], &[epoch(1, "first"), epoch(2, "second")], Some(evaluated));
    for text in [
        "<title>photos</title>",
        "<dt>Test accuracy</dt><dd><b>50.0\u{a0}%</b><span class=\"quiet\">of 4 images, 95 % interval 15.0\u{a0}% – 85.0\u{a0}%</span>",
        "<dt>Mirrored test accuracy</dt><dd><b>62.5\u{a0}%</b>",
        "2 second (<span class=\"whole\">epoch 2</span>).",
        "cat taken for dog: 1 of 2 (50.0 %)",
        "2 of 4 test images are mistaken; these are the 1 most confident.",
        "<span class=\"wrong\">dog</span> 70.0\u{a0}%<br>is cat",
        "<td><code>backbone.fc</code> </td><td><code>backbone.layer1</code> </td>",
        "name = &quot;&lt;b&gt;&quot;",
    ] {
        assert!(html.contains(text), "{text} is missing in {html}");
    }
}

#[test]
fn a_run_under_way_has_no_evaluation_yet() {
    for done in 0..2 {
        let metrics: Vec<_> = (1..=done).map(|number| epoch(number, "first")).collect();
        let html = render(&["cat", "dog"], &metrics, None);
        assert!(html.contains("<dt>Epochs</dt>") && html.contains("of 50"), "{html}");
        assert_eq!(html.contains("<h2>Curves</h2>"), done > 0);
        assert!(!html.contains("Confusion") && !html.contains("Test accuracy"));
        assert!(!html.contains("NaN") && !html.contains("inf\""), "{html}");
    }
}

#[test]
fn numbers_that_are_none_are_not_drawn() {
    let mut broken = epoch(2, "first");
    (broken.train_loss, broken.validation_loss) = (f64::NAN, f64::INFINITY);
    broken.learning_rates["all"] = 0.0;
    let html = render(&["cat", "dog"], &[epoch(1, "first"), broken], None);
    let charts = &html[html.find("<svg").unwrap()..html.rfind("</svg>").unwrap()];
    assert!(!charts.contains("NaN") && !charts.contains("inf"), "{charts}");
}

#[test]
fn the_clock_does_not_show() {
    let html = render(&["cat", "dog"], &[epoch(1, "first")], None);
    assert!(!html.contains("7777") && !html.contains("8888"));
}

#[test]
fn names_cannot_become_code() {
    let hostile = "<script>alert('x')</script>";
    let answers = [answer(0, 1, 0.9), answer(1, 0, 0.8)];
    let image = |_: usize| Some((format!("{hostile}\"onload=\"x"), RgbImage::new(2, 2)));
    let evaluated = Evaluated { split: "test", answers: &answers, scored: None, image: &image };
    let html = render(&[hostile, "dog"], &[epoch(1, hostile)], Some(evaluated));
    assert!(!html.contains("<script"), "{html}");
    assert!(html.contains("&lt;script&gt;") && !html.contains("\"onload=\""));
}

#[test]
fn the_page_asks_for_nothing_else() {
    let answers = [answer(0, 1, 0.9)];
    let evaluated = Evaluated { split: "validation", answers: &answers, scored: None, image: &image };
    let html = render(&["cat", "dog"], &[epoch(1, "first")], Some(evaluated));
    assert!(html.contains("default-src 'none'"));
    for reference in ["http:", "https:", "@import", "url(", "<link", "<iframe"] {
        assert!(!html.contains(reference), "{reference}");
    }
    assert!(html.matches("src=").count() == 1 && html.contains("src=\"data:image/png;base64,"));
}

#[test]
fn the_headlines_are_these() {
    let config = config(&["cat", "dog", "bird"]);
    let metrics = [epoch(1, "first"), epoch(2, "second")];
    let report = Report {
        config: &config,
        config_toml: "",
        phases: &[],
        metrics: &metrics,
        best_epoch: Some(2),
        evaluated: None,
        mirrored_accuracy: None,
        calibrated: None,
        labels: None,
    };
    let lines: Vec<String> =
        report.headlines(None).iter().map(|h| format!("{}: {} {}", h.name, h.value, h.note)).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    Validation accuracy: 40.0 % loss 1.25
    Best epoch: 2 in phase second
    Epochs: 2 of 50
    Classes: 3 at 32×32 pixels
    ");
}
