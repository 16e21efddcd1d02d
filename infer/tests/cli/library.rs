//! What the library promises beside what the program shows of it.

use image::{Rgb, RgbImage};
use infer::Classifier;

use crate::support::{BLUE, GREEN, RED, Workplace, options};

#[test]
fn a_classifier_is_shared_by_threads() {
    let place = Workplace::new();
    let classifier = Classifier::builder().options(options()).load(&place.path("model.onnx")).unwrap();
    let pictures = [RED, GREEN, BLUE].map(|color| RgbImage::from_pixel(20, 24, Rgb(color)));
    let together = classifier.classify_batch(&pictures).unwrap();
    assert_eq!(
        together.iter().map(|guesses| &guesses[0].label[..]).collect::<Vec<_>>(),
        ["red", "green", "blue"]
    );
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for (picture, expected) in pictures.iter().zip(&together).cycle().take(60) {
                    let guesses = classifier.classify(picture).unwrap();
                    assert_eq!(guesses[0].label, expected[0].label);
                    assert!((guesses[0].probability - expected[0].probability).abs() < 1e-5);
                }
            });
        }
    });
    assert!(classifier.classify_batch(&[] as &[RgbImage]).unwrap().is_empty());
}
