//! Facts of each tool, as it writes them.

use std::fs;

use ferronnx_models::card::{Activation, Border, ColorOrder, Fit, ResizeFilter, Size};

use super::*;
use crate::ErrorKind;
use crate::assume::{Assumptions, Range};

fn metadata<'a>(entries: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
    |key| entries.iter().find(|(known, _)| *known == key).map(|(_, value)| (*value).to_owned())
}

/// Facts of a model in a folder with these files.
fn with_files(files: &[(&str, &str)]) -> Result<Facts> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    facts(Some(&folder.path().join("net.onnx")), |_| None)
}

fn value<T: Clone>(stated: &Option<Stated<T>>) -> Option<T> {
    stated.as_ref().map(|stated| stated.value.clone())
}

const ULTRALYTICS: [(&str, &str); 6] = [
    ("author", "Ultralytics"),
    ("version", "8.4.190"),
    ("task", "classify"),
    ("imgsz", "[224, 224]"),
    ("names", "{1: 'dog', 0: 'cat'}"),
    ("stride", "1"),
];

#[test]
fn ultralytics_resizes_the_shorter_side() {
    let found = facts(None, metadata(&ULTRALYTICS)).unwrap();
    assert_eq!(value(&found.labels).unwrap(), ["cat", "dog"]);
    assert_eq!(value(&found.size), Some(224.into()));
    assert_eq!((value(&found.resize), value(&found.fit)), (Some(224.into()), Some(Fit::Crop)));
    assert_eq!(value(&found.filter), Some(ResizeFilter::BilinearAntialias));
    assert_eq!((value(&found.mean), value(&found.std)), (Some(vec![0.0; 3]), Some(vec![1.0; 3])));
    assert_eq!((value(&found.range), value(&found.channels)), (Some(Range::One), Some(ColorOrder::Rgb)));
    assert_eq!(found.size.unwrap().source, "`imgsz` in the metadata (Ultralytics)");
    assert_eq!(found.unusable, []);
}

#[test]
fn ultralytics_in_other_forms() {
    let with = |key: &str, text: &str| {
        let entries = ULTRALYTICS.map(|(known, value)| (known, if known == key { text } else { value }));
        facts(None, metadata(&entries)).unwrap()
    };
    assert_eq!(value(&with("imgsz", "64").size), Some(64.into()));
    let wide = with("imgsz", "(192, 256)");
    assert_eq!(value(&wide.size), Some(Size { height: 192, width: 256 }));
    assert_eq!(value(&wide.fit), Some(Fit::Squash));
    assert_eq!(value(&with("version", "8.0.200").filter), Some(ResizeFilter::Bilinear));
    let damaged = with("imgsz", "[0, 224]");
    assert_eq!((damaged.size.as_ref(), damaged.unusable[0].what), (None, "image-size"));
    let gray = facts(None, metadata(&[&ULTRALYTICS[..], &[("channels", "1")]].concat())).unwrap();
    assert_eq!((value(&gray.channels), value(&gray.mean)), (Some(ColorOrder::Gray), Some(vec![0.0])));
}

#[test]
fn other_tasks_are_refused_by_name() {
    let entries = ULTRALYTICS.map(|(key, value)| (key, if key == "task" { "detect" } else { value }));
    let error = facts(Some("yolo.onnx".as_ref()), metadata(&entries)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Sidecar(SidecarError::Task { task, .. }) if task == "detect"));
    assert!(error.to_string().starts_with("yolo.onnx: a model for `detect` (Ultralytics)"), "{error}");
    let config = r#"{"model_type": "detr", "architectures": ["DetrForObjectDetection"]}"#;
    let error = with_files(&[("config.json", config)]).unwrap_err();
    assert!(error.to_string().contains("ObjectDetection"), "{error}");
    // Another program may have a `task` of its own.
    assert_eq!(facts(None, metadata(&[("task", "detect")])).unwrap(), Facts::default());
}

const TIMM: &str = r#"{"architecture": "resnet18", "num_classes": 2, "num_features": 512, "label_names": ["cat", "dog"],
    "pretrained_cfg": {"tag": "a1_in1k", "input_size": [3, 224, 224], "fixed_input_size": false,
    "interpolation": "bicubic", "crop_pct": 0.95, "crop_mode": "center", "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25], "num_classes": 2, "pool_size": [7, 7], "first_conv": "conv1"}}"#;

#[test]
fn timm_divides_the_size_by_crop_pct() {
    let found = with_files(&[("config.json", TIMM)]).unwrap();
    assert_eq!(value(&found.labels).unwrap(), ["cat", "dog"]);
    assert_eq!((value(&found.size), value(&found.resize)), (Some(224.into()), Some(235.into())));
    assert_eq!(
        (value(&found.fit), value(&found.filter)),
        (Some(Fit::Crop), Some(ResizeFilter::BicubicAntialias))
    );
    assert_eq!((value(&found.mean), value(&found.std)), (Some(vec![0.5; 3]), Some(vec![0.25; 3])));
    assert_eq!(found.size.unwrap().source, "config.json beside the file (timm)");
}

#[test]
fn timm_has_defaults_and_other_modes() {
    let found = |change: &str| {
        let text =
            format!(r#"{{"architecture": "x", "pretrained_cfg": {{"input_size": [3, 240, 240]{change}}}}}"#);
        with_files(&[("config.json", &text)]).unwrap()
    };
    let plain = found("");
    assert_eq!(value(&plain.resize), Some(274.into()));
    assert_eq!(value(&plain.mean), Some(vec![0.485, 0.456, 0.406]));
    let squash = found(r#", "crop_mode": "squash", "crop_pct": 1.0, "interpolation": "lanczos""#);
    assert_eq!(
        (value(&squash.fit), value(&squash.filter)),
        (Some(Fit::Squash), Some(ResizeFilter::LanczosAntialias))
    );
    let margin = found(r#", "crop_mode": "squash""#);
    assert_eq!((value(&margin.fit), value(&margin.resize)), (Some(Fit::Squash), Some(274.into())));
    let border = found(r#", "crop_mode": "border""#);
    assert_eq!((value(&border.fit), value(&border.resize)), (Some(Fit::Letterbox), Some(274.into())));
    assert_eq!(value(&border.border), Some(Border([124, 116, 104])));
    for change in [r#", "crop_mode": "edge""#, r#", "crop_pct": 1.5"#] {
        let other = found(change);
        assert!(other.fit.is_none() && other.resize.is_none());
        let mut given = Assumptions::default();
        assert_eq!(other.check(&given).unwrap_err().what, "fit");
        given.fit = Some(Fit::Crop);
        assert_eq!(other.check(&given), Ok(()));
    }
    let hamming = found(r#", "interpolation": "hamming""#);
    let error = hamming.check(&Assumptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "config.json beside the file (timm) says `hamming`, which cannot be used");
    let flat =
        r#"{"architecture": "x", "input_size": [1, 28, 28], "mean": [0.1], "std": [0.3], "crop_pct": 1.0}"#;
    let flat = with_files(&[("config.json", flat)]).unwrap();
    assert_eq!((value(&flat.channels), value(&flat.mean)), (Some(ColorOrder::Gray), Some(vec![0.1])));
}

fn processor(text: &str) -> Facts {
    with_files(&[("preprocessor_config.json", text)]).unwrap()
}

#[test]
fn image_processors_of_hugging_face() {
    let vit = processor(
        r#"{"do_normalize": true, "do_rescale": true, "do_resize": true, "image_mean": [0.5, 0.5, 0.5],
        "image_processor_type": "ViTImageProcessor", "image_std": [0.5, 0.5, 0.5], "resample": 2,
        "rescale_factor": 0.00392156862745098, "size": {"height": 224, "width": 224}}"#,
    );
    assert_eq!((value(&vit.fit), value(&vit.size)), (Some(Fit::Squash), Some(224.into())));
    assert_eq!(
        (value(&vit.filter), value(&vit.mean)),
        (Some(ResizeFilter::BilinearAntialias), Some(vec![0.5; 3]))
    );
    let geometry = |text: &str| {
        let found = processor(text);
        (value(&found.fit), value(&found.resize), value(&found.size), found.unusable.len())
    };
    let both = |fit, resize: u32, size: u32| (Some(fit), Some(resize.into()), Some(size.into()), 0);
    let crop = r#""do_center_crop": true, "crop_size": {"height": 224, "width": 224}"#;
    for (text, expected) in [
        (format!(r#"{{"size": {{"shortest_edge": 256}}, {crop}}}"#), both(Fit::Crop, 256, 224)),
        (r#"{"size": 256, "do_center_crop": true, "crop_size": 224}"#.into(), both(Fit::Crop, 256, 224)),
        (r#"{"size": 224, "feature_extractor_type": "ViTFeatureExtractor"}"#.into(), both(Fit::Squash, 224, 224)),
        (
            r#"{"size": {"shortest_edge": 224}, "crop_pct": 0.875, "image_processor_type": "ConvNextImageProcessor"}"#.into(),
            both(Fit::Crop, 256, 224),
        ),
        (
            r#"{"size": {"shortest_edge": 384}, "image_processor_type": "ConvNextImageProcessorFast"}"#.into(),
            both(Fit::Squash, 384, 384),
        ),
        (
            format!(r#"{{"size": {{"shortest_edge": 224}}, {crop}, "image_processor_type": "LevitImageProcessor"}}"#),
            both(Fit::Crop, 256, 224),
        ),
        (
            format!(r#"{{"size": {{"shortest_edge": 224}}, {crop}, "crop_pct": 0.9, "image_processor_type": "PoolFormerImageProcessor"}}"#),
            both(Fit::Crop, 248, 224),
        ),
        (
            format!(r#"{{"size": {{"height": 256, "width": 256}}, {crop}, "image_processor_type": "DeiTImageProcessor"}}"#),
            both(Fit::Squash, 256, 224),
        ),
        (r#"{"size": {"shortest_edge": 224}, "do_center_crop": true, "crop_size": 256}"#.into(), (None, None, None, 1)),
        (r#"{"size": {"shortest_edge": 800, "longest_edge": 1333}}"#.into(), (None, None, None, 1)),
        (r#"{"size": 224, "do_resize": false}"#.into(), (None, None, None, 0)),
    ] {
        assert_eq!(geometry(&text), expected, "{text}");
    }
    let boxed = processor(r#"{"resample": 4}"#);
    assert_eq!(boxed.unusable[0].value, "resample 4 (box)");
    assert_eq!(value(&processor(r#"{"do_flip_channel_order": true}"#).channels), Some(ColorOrder::Bgr));
}

#[test]
fn rescaling_becomes_mean_and_deviation() {
    let statistics = |text: &str| {
        let found = processor(text);
        (value(&found.range), value(&found.mean), value(&found.std))
    };
    let one = Some(Range::One);
    assert_eq!(statistics(r#"{"do_normalize": false}"#), (one, None, None));
    assert_eq!(
        statistics(r#"{"image_mean": 0.5, "image_std": [0.25]}"#),
        (one, Some(vec![0.5; 3]), Some(vec![0.25]))
    );
    let offset = r#"{"do_normalize": false, "rescale_factor": 0.00784313725490196, "rescale_offset": true}"#;
    assert_eq!(statistics(offset), (one, Some(vec![0.5; 3]), Some(vec![0.5; 3])));
    let bytes = r#"{"do_rescale": false, "image_mean": [127.5], "image_std": [255.0]}"#;
    assert_eq!(statistics(bytes), (one, Some(vec![0.5]), Some(vec![1.0])));
    assert_eq!(statistics("{}"), (None, None, None));
}

#[test]
fn configurations_of_hugging_face() {
    let text = r#"{"model_type": "vit", "architectures": ["ViTForImageClassification"], "image_size": 32,
        "id2label": {"1": "dog", "0": "cat"}, "problem_type": "multi_label_classification", "num_channels": 1}"#;
    let found = with_files(&[("config.json", text)]).unwrap();
    assert_eq!(value(&found.labels).unwrap(), ["cat", "dog"]);
    assert_eq!((value(&found.activation), value(&found.size)), (Some(Activation::Sigmoid), Some(32.into())));
    assert_eq!(value(&found.channels), Some(ColorOrder::Gray));
    let gap =
        with_files(&[("config.json", r#"{"model_type": "vit", "id2label": {"0": "cat", "2": "dog"}}"#)])
            .unwrap();
    let error = gap.check(&Assumptions::default()).unwrap_err();
    assert!(
        crate::error::chain(&error).ends_with("class 1 has no label, though the numbers go up to 2"),
        "{error}"
    );
    assert_eq!(with_files(&[("config.json", r#"{"port": 80}"#)]).unwrap(), Facts::default());
}

#[test]
fn files_of_the_hub_lie_around_the_folder_onnx() {
    let folder = tempfile::tempdir().unwrap();
    let [inner, other] = ["onnx", "other"].map(|name| folder.path().join(name));
    fs::create_dir(&inner).unwrap();
    fs::create_dir(&other).unwrap();
    fs::write(folder.path().join("config.json"), TIMM).unwrap();
    assert!(facts(Some(&inner.join("model.onnx")), |_| None).unwrap().size.is_some());
    assert!(facts(Some(&other.join("model.onnx")), |_| None).unwrap().size.is_none());
}

#[test]
fn labels_inside_and_beside() {
    let found = with_files(&[("labels.txt", "cat\ndog\n")]).unwrap();
    assert_eq!(found.labels.unwrap().source, "labels.txt beside the file");
    let own = with_files(&[("labels.txt", "cat\ndog\n"), ("net.labels.txt", "a\nb")]).unwrap();
    assert_eq!(value(&own.labels).unwrap(), ["a", "b"]);
    let damaged = with_files(&[("labels.txt", "cat\n\ndog\n")]).unwrap();
    let error = damaged.check(&Assumptions::default()).unwrap_err();
    assert!(crate::error::chain(&error).contains("line 2 is empty"), "{error}");

    let labels = |entries: &[(&str, &str)]| facts(None, metadata(entries)).unwrap();
    assert_eq!(value(&labels(&[("class_names", r#"["a","b"]"#)]).labels).unwrap(), ["a", "b"]);
    assert_eq!(value(&labels(&[("character", "a\n \nb")]).labels).unwrap(), ["a", " ", "b"]);
    assert_eq!(labels(&[("classes", "1000")]), Facts::default());
    let damaged = labels(&[("names", "{0: 'cat'"), ("class_names", "cat,dog")]);
    assert_eq!(damaged.check(&Assumptions::default()), Ok(()));
    assert!(labels(&[("names", "{0: 'cat'")]).check(&Assumptions::default()).is_err());
}

#[test]
fn winml_and_custom_vision() {
    let found = |format: &str, range: &str| {
        facts(None, metadata(&[("Image.BitmapPixelFormat", format), ("Image.NominalPixelRange", range)]))
            .unwrap()
    };
    let bgr = found("Bgr8", "NominalRange_0_255");
    assert_eq!((value(&bgr.channels), value(&bgr.range)), (Some(ColorOrder::Bgr), Some(Range::Byte)));
    assert_eq!(value(&bgr.std), Some(vec![1.0; 3]));
    let gray = found("Gray8", "Normalized_1_1");
    assert_eq!((value(&gray.mean), value(&gray.std)), (Some(vec![0.5]), Some(vec![0.5])));
    assert_eq!(found("Rgba16", "NominalRange_16_235").unusable.len(), 2);
}

#[test]
fn damaged_files_are_named() {
    for name in ["config.json", "preprocessor_config.json"] {
        for text in ["{", "[1", r#"{"pretrained_cfg": 1, "resample": "x"}"#, "\u{0}"] {
            let error = with_files(&[(name, text)]).unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::Sidecar(SidecarError::Json { .. })),
                "{text}: {error:?}"
            );
            assert!(error.to_string().contains(name), "{error}");
        }
    }
    let long = format!("{{\"a\": \"{}\"}}", "x".repeat(17 << 20));
    let error = with_files(&[("config.json", &long)]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Sidecar(SidecarError::TooLarge)));
    let zero = with_files(&[("preprocessor_config.json", r#"{"size": {"height": 0, "width": 4}}"#)]).unwrap();
    assert!(zero.size.is_none() && zero.check(&Assumptions::default()).is_err());
}
