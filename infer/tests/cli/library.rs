//! Tests of the library where the program does not show its behaviour.

use std::fs;

use ferronnx_infer::attention::AttentionKernels;
use ferronnx_infer::session::Optimization;
use ferronnx_infer::{Classifier, Session};
use ferronnx_models::layers::{Attention, Cbam};
use ferronnx_models::onnx::external_data::{Loaded, Separated};
use ferronnx_models::onnx::{self, Interface, Opset};
use ferronnx_models::testing;
use image::{Rgb, RgbImage};
use ndarray::Array4;

use crate::support::{BLUE, GREEN, RED, Workplace, options};

#[test]
fn a_classifier_is_shared_by_threads() {
    let place = Workplace::new();
    let classifier = Classifier::builder().options(options()).load(place.path("model.onnx")).unwrap();
    let images = [RED, GREEN, BLUE].map(|color| RgbImage::from_pixel(20, 24, Rgb(color)));
    let together = classifier.classify_batch(&images).unwrap();
    assert_eq!(
        together.iter().map(|guesses| &guesses[0].label[..]).collect::<Vec<_>>(),
        ["red", "green", "blue"]
    );
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for (image, expected) in images.iter().zip(&together).cycle().take(60) {
                    let guesses = classifier.classify(image).unwrap();
                    assert_eq!(guesses[0].label, expected[0].label);
                    assert!((guesses[0].probability - expected[0].probability).abs() < 1e-5);
                }
            });
        }
    });
    assert!(classifier.classify_batch(&[] as &[RgbImage]).unwrap().is_empty());
    let nothing = RgbImage::new(0, 5);
    assert_eq!(classifier.classify(&nothing).unwrap_err().kind().name(), "decode");
    assert!(classifier.classify_batch(&[images[0].clone(), nothing]).is_err());
}

/// Weights inside or beside the file, rearranged or not, give the same result.
#[test]
fn weights_are_found_wherever_they_are() {
    let cbam = Cbam::new("cbam", 128, Attention::default());
    let weights = testing::weights(&cbam, &[1, 128, 6, 5]).unwrap();
    let graph = onnx::trace(&cbam, &weights, &Interface::new([128, 6, 5]), Opset::default()).unwrap();
    let file = onnx::encode(graph, &[]);
    let folder = tempfile::tempdir().unwrap();
    let parts = Loaded::read(file.clone(), |_| None).unwrap().separate().unwrap();
    let Separated { graph, location, weights, .. } = parts;
    fs::write(folder.path().join(location), &weights).unwrap();
    let beside = folder.path().join("beside.onnx");
    fs::write(&beside, graph).unwrap();
    let input =
        Array4::from_shape_fn([2, 128, 6, 5], |(n, c, h, w)| ((n + 3 * c + 7 * h + w) % 11) as f32 - 5.0);
    let stock = options().attention(AttentionKernels::Stock);
    let full = Session::from_bytes(&file, &stock).unwrap().run(input.view()).unwrap();
    let quick = stock.clone().optimization(Optimization::Quick);
    let sessions = [
        Session::from_bytes(&file, &quick),
        Session::from_file(&beside, &quick),
        Session::from_file(&beside, &stock),
    ];
    for session in sessions {
        let output = session.unwrap().run(input.view()).unwrap();
        assert!(output.iter().zip(&full).all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs().max(1.0)));
    }
}
