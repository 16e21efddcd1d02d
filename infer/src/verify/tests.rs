//! Tests of what the logits alone can tell, in full arithmetic and in simulated TensorFloat-32.

use std::io::Cursor;
use std::path::PathBuf;
use std::sync::LazyLock;

use ferronnx_models::card::{CARD_KEY, ModelCard, Preprocessing, Provenance};
use ferronnx_models::certificate::{Bytes, CERTIFICATE_FORMAT};
use ferronnx_models::layers::Attention;
use ferronnx_models::networks::{Architecture, Classifier};
use ferronnx_models::onnx::{self, Interface, Model, Opset, passes};
use ferronnx_models::testing::faults::{Fault, convolutions, faulty};
use ferronnx_models::testing::{self, tf32};
use image::{ImageFormat, Rgb};

use super::*;

const SIZE: u32 = 32;

fn card() -> ModelCard {
    let labels = (0..10).map(|label| format!("class {label}")).collect();
    let provenance =
        Provenance { producer: "test".into(), engine: "none".into(), created: "2026-01-01T00:00:00Z".into() };
    ModelCard::new(labels, Preprocessing::for_size(SIZE), provenance)
}

/// Images from smooth to rough.
fn images() -> Vec<RgbImage> {
    let level = |x: u32, y: u32, grain: u32, channel: u32| {
        let (x, y) = (x / grain, y / grain);
        (37 * x * (channel + 1) + 61 * y + 13 * x * y + 90 * channel) as u8
    };
    let image = |grain| RgbImage::from_fn(SIZE, SIZE, |x, y| Rgb([0, 1, 2].map(|c| level(x, y, grain, c))));
    [16, 8, 4, 1].map(image).into()
}

/// A ResNet18 with CBAM, certified with its own logits: there is no libtorch here.
static FILE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let architecture =
        Architecture { classes: 10, attention: Some(Attention::default().into()), ..Architecture::default() };
    let network = Classifier::new(&architecture).unwrap();
    let weights = testing::weights(&network, &[1, 3, 32, 32]).unwrap();
    let interface = Interface::new([3, 32, 32]).output("logits");
    let mut model = onnx::trace(&network, &weights, &interface, Opset::default()).unwrap();
    passes::fold_batch_norm(&mut model);
    certified(model, &card())
});

fn certified(model: Model, card: &ModelCard) -> Vec<u8> {
    let preprocessor = Preprocessor::new(&card.preprocessing);
    let weights = WeightsDigest::of_graph(&model.graph).unwrap();
    let mut bytes = onnx::encode(model, &[(CARD_KEY, &card.to_json())]);
    let images: Vec<_> = images().iter().map(|image| preprocessor.prepare(image)).collect();
    let logits = on_cpu(&bytes).run(&preprocessor.batch(&images, card.input)).unwrap();
    let golden = |(image, logits): (&RgbImage, ndarray::ArrayViewD<'_, f32>)| {
        let mut png = Cursor::new(Vec::new());
        image.write_to(&mut png, ImageFormat::Png).unwrap();
        let png = Bytes(png.into_inner());
        Golden { image: png.clone(), prepared: png, logits: logits.iter().copied().collect() }
    };
    let certificate = Certificate {
        format: CERTIFICATE_FORMAT,
        weights,
        card: CardDigests::of(card),
        tolerance: Tolerance::of(card.precision, Arithmetic::Full).max,
        runtime: "test".into(),
        agreement: Parity { images: 4, agreeing: 4, max_relative_difference: 5e-7, ..Parity::default() },
        compared: Compared::default(),
        goldens: images.iter().zip(logits.outer_iter()).map(golden).collect(),
    };
    onnx::append_metadata(&mut bytes, &[(CERTIFICATE_KEY, &certificate.to_json())]);
    bytes
}

fn on_cpu(bytes: &[u8]) -> Session {
    let runtime = std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from);
    let runtime =
        runtime.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../.native/onnxruntime"));
    Session::from_bytes(bytes, &Options::default().device(Device::Cpu).runtime(runtime)).unwrap()
}

fn in_full(bytes: &[u8]) -> Verification {
    Verification::of_session(bytes, &on_cpu(bytes), None).unwrap()
}

/// Verifies as on a GPU: the session computes the file with its factors rounded to TensorFloat-32.
fn in_tf32(bytes: &[u8]) -> Verification {
    let mut model = Model::from_slice(bytes).unwrap();
    tf32::simulate(&mut model).unwrap();
    let device = on_cpu(&onnx::encode(model, &[]));
    Verification::in_arithmetic(bytes, &device, Arithmetic::Tf32, None).unwrap()
}

#[test]
fn a_correct_file_holds_in_both_arithmetics() {
    let full = in_full(&FILE);
    assert!(full.holds() && full.cpu.is_none(), "{:?}", full.failures());
    assert_eq!((full.tolerance, full.rms_tolerance), (1e-4, 5e-6));
    assert_eq!(full.tolerance_reason, "fp32 in full arithmetic");

    let tf32 = in_tf32(&FILE);
    assert!(tf32.holds(), "{:?}", tf32.failures());
    assert_eq!(tf32.tolerance_reason, "fp32 in TF32 arithmetic");
    let cpu = tf32.cpu.unwrap();
    assert!(cpu.agreement.max_relative_difference < 1e-5 && cpu.tolerance == 1e-4, "{cpu:?}");
    // The simulation rounds: what it computes would not pass in full arithmetic.
    let moved = cpu.device_difference;
    assert!(moved.max_relative_difference > 1e-4 && moved.rms_relative_difference > 1e-5, "{moved:?}");
}

/// Checks that a fault is found by its logits alone, in both arithmetics.
#[track_caller]
fn is_found(fault: Fault) {
    let file = faulty(&FILE, fault).unwrap();
    for found in [in_full(&file), in_tf32(&file)] {
        assert!(found.changed_tensors.is_empty() && found.labels && found.preprocessing, "{fault:?}");
        let failures = found.failures();
        assert!(!failures.is_empty(), "{fault:?} in {}: {:?}", found.arithmetic, found.agreement);
        assert!(failures.iter().all(|failure| failure.contains("the logits differ")), "{failures:?}");
    }
}

/// Positions of the convolutions outside attention. Those inside act through a sigmoid, and 8 bits of their weights may move
/// logits by no more than rounding in full arithmetic does.
fn backbone() -> Vec<usize> {
    let names = convolutions(&Model::from_slice(&FILE).unwrap());
    names.iter().enumerate().filter(|(_, name)| !name.contains("attn")).map(|(at, _)| at).collect()
}

#[test]
fn a_channel_with_another_scale_is_found_wherever_it_is() {
    let backbone = backbone();
    let last = backbone.len() - 1;
    for (at, channel) in [(0, 0), (2, 5), (last / 2, 40), (last, 100), (last, 511)] {
        is_found(Fault::Scale { convolution: backbone[at], channel, factor: 1.05 });
    }
}

#[test]
fn exchanged_labels_are_found() {
    is_found(Fault::Labels(0, 1));
    is_found(Fault::Labels(3, 9));
}

#[test]
fn a_mean_off_by_two_levels_is_found() {
    is_found(Fault::Mean(2.0));
}

#[test]
fn weights_of_8_bits_are_found_in_every_part_of_the_backbone() {
    for &convolution in backbone().iter().step_by(4) {
        is_found(Fault::EightBits { convolution });
    }
}

#[test]
fn a_device_that_computes_otherwise_is_told_from_a_changed_file() {
    let other = faulty(&FILE, Fault::Mean(0.0)).unwrap();
    let mut model = Model::from_slice(&faulty(&FILE, Fault::Labels(0, 1)).unwrap()).unwrap();
    model.metadata = Model::from_slice(&FILE).unwrap().metadata;
    let found =
        Verification::in_arithmetic(&other, &on_cpu(&model.encode()), Arithmetic::Tf32, None).unwrap();
    let [failure] = &found.failures()[..] else { panic!("{:?}", found.failures()) };
    assert!(failure.starts_with("the logits differ from libtorch's by"), "{failure}");
}

#[test]
fn a_tolerance_that_is_given_bounds_each_difference_only() {
    let file = faulty(&FILE, Fault::Scale { convolution: 0, channel: 0, factor: 1.05 }).unwrap();
    let given = Verification::of_session(&file, &on_cpu(&file), Some(0.1)).unwrap();
    assert!(given.holds(), "{:?}", given.failures());
    assert_eq!((given.tolerance_reason.as_str(), given.rms_tolerance), ("as given", 0.1));
}
