//! Support for tests: a tiny network of three classes, images for it, and the program to run.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use ferronnx_infer::session::Options;
use ferronnx_infer::{Device, Preprocessor, Session};
use ferronnx_models::card::{
    CARD_KEY, InputForm, ModelCard, OutputRole, Precision, Preprocessing, Provenance,
};
use ferronnx_models::certificate::{
    Bytes, CERTIFICATE_FORMAT, CERTIFICATE_KEY, CardDigests, Certificate, Compared, Golden,
};
use ferronnx_models::layers::{Conv2d, Linear};
use ferronnx_models::onnx::head::{self, Head};
use ferronnx_models::onnx::{self, Interface, Opset, WeightsDigest, passes};
use ferronnx_models::ops::{Module, Ops, Reduce};
use ferronnx_models::parity::Parity;
use ferronnx_models::shapes;
use image::{ImageFormat, Rgb, RgbImage};
use ndarray::ArrayD;
use tempfile::TempDir;

/// Unpacks the small models of other tools, with images and answers, which `tests/foreign/generate.py` made.
pub fn foreign() -> TempDir {
    unpacked(include_bytes!("../foreign/files.tar.gz"))
}

/// Unpacks an archive into a folder of its own.
pub fn unpacked(packed: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    tar::Archive::new(flate2::read::GzDecoder::new(packed)).unpack(&folder).unwrap();
    folder
}

/// Height and width of the network's input, in pixels.
pub const SIZE: u32 = 16;

/// Network that tells which of red, green and blue dominates an image.
///
/// It has an observable mask that is bright where there is red; nothing else depends on it.
struct Tiny {
    conv: Conv2d,
    head: Linear,
}

impl Tiny {
    fn new() -> Self {
        let head = Linear::new("head", 8, 3);
        Self { conv: Conv2d::new("conv", 3, 8, 1), head }
    }
}

impl Module for Tiny {
    fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
        let x = ops.relu(&ops.conv2d(x, &self.conv)?)?;
        ops.observe("attention.mask", &ops.sigmoid(&ops.reduce(&x, Reduce::Max, &[1], true)?)?);
        ops.linear(&ops.reduce(&x, Reduce::Mean, &[2, 3], false)?, &self.head)
    }
}

fn card() -> ModelCard {
    let labels = ["red", "green", "blue"].map(Into::into).to_vec();
    let preprocessing =
        Preprocessing { mean: vec![0.0; 3], std: vec![1.0; 3], ..Preprocessing::for_size(SIZE) };
    let provenance =
        Provenance { producer: "test".into(), engine: "none".into(), created: "2026-01-01T00:00:00Z".into() };
    ModelCard::new(labels, preprocessing, provenance)
}

/// Model with its card, to be changed and encoded.
pub struct Model {
    pub graph: onnx::Model,
    pub card: ModelCard,
}

impl Default for Model {
    fn default() -> Self {
        Self::of(InputForm::Float, Precision::Fp32)
    }
}

impl Model {
    /// In this form, as its card says.
    pub fn of(input: InputForm, precision: Precision) -> Self {
        let card = ModelCard { input, precision, ..card() };
        let mut graph = graph(false);
        if precision == Precision::Fp16 {
            passes::half_precision(&mut graph).unwrap();
        }
        if input == InputForm::Uint8 {
            passes::embed_preprocessing(&mut graph, &card.preprocessing.mean, &card.preprocessing.std)
                .unwrap();
        }
        Self { graph, card }
    }

    /// With its mask as a further output.
    pub fn observing() -> Self {
        let card = ModelCard { observed: vec!["attention.mask".into()], ..card() };
        Self { graph: graph(true), card }
    }

    /// With its features and feature maps as further outputs.
    pub fn with_features() -> Self {
        let mut graph = graph(false);
        let head = Head::find(&graph, "logits").unwrap();
        let size = Some(SIZE as usize);
        assert_eq!(head::add_output(&mut graph, &head.features, "features", &[head.channels]), "features");
        let maps = head.maps.as_deref().unwrap();
        head::add_output(&mut graph, maps, "feature_maps", &[head.channels, size, size]);
        let roles = [
            ("logits", OutputRole::Scores),
            ("features", OutputRole::Features),
            ("feature_maps", OutputRole::FeatureMaps),
        ];
        let outputs = roles.map(|(name, role)| (name.to_owned(), role)).into_iter().collect();
        Self { graph, card: ModelCard { outputs, ..card() }.with_format() }
    }

    /// Encodes the model with its card and `metadata`.
    pub fn encoded_with(&self, metadata: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = onnx::encode(self.graph.clone(), &[(CARD_KEY, &self.card.to_json())]);
        onnx::append_metadata(&mut bytes, metadata);
        bytes
    }

    /// Encodes the model with a valid certificate.
    pub fn certified(&self) -> Vec<u8> {
        self.encoded_with(&[(CERTIFICATE_KEY, &self.certificate().to_json())])
    }

    /// Makes a certificate from the outputs of the model itself, for there is no libtorch here.
    pub fn certificate(&self) -> Certificate {
        let preprocessor = Preprocessor::new(&self.card.preprocessing);
        let session = Session::from_bytes(&self.encoded_with(&[]), &options()).unwrap();
        let golden = |color: [u8; 3]| {
            let image =
                RgbImage::from_fn(20, 24, |x, y| Rgb(color.map(|c| c.saturating_add((x * y) as u8 / 4))));
            let prepared = preprocessor.prepare(&image);
            let logits = session.run(&preprocessor.batch(&[&prepared], self.card.input)).unwrap();
            let png = |image: &RgbImage| {
                let mut bytes = Cursor::new(Vec::new());
                image.write_to(&mut bytes, ImageFormat::Png).unwrap();
                Bytes(bytes.into_inner())
            };
            Golden { image: png(&image), prepared: png(&prepared), logits: logits.into_iter().collect() }
        };
        let goldens = vec![golden(RED), golden(BLUE)];
        let max_relative_difference = 1e-6;
        Certificate {
            format: CERTIFICATE_FORMAT,
            weights: WeightsDigest::of_graph(&self.graph.graph).unwrap(),
            card: CardDigests::of(&self.card),
            tolerance: 1e-4,
            runtime: "test".into(),
            agreement: Parity { images: 7, agreeing: 7, max_relative_difference, ..Parity::default() },
            compared: Compared::default(),
            goldens,
        }
    }
}

/// Encodes the default model with a changed card.
pub fn model_with(change: impl FnOnce(&mut ModelCard)) -> Vec<u8> {
    let mut model = Model::default();
    change(&mut model.card);
    model.encoded_with(&[])
}

/// Encodes the default model without a card, with `metadata`.
pub fn encoded(metadata: &[(&str, &str)]) -> Vec<u8> {
    onnx::encode(graph(false), metadata)
}

/// Options of a session on the CPU, with the runtime that `cargo xtask setup` brought.
pub fn options() -> Options {
    Options::default().device(Device::Cpu).runtime(runtime())
}

fn graph(observed: bool) -> onnx::Model {
    let network = Tiny::new();
    let item = [3, SIZE as usize, SIZE as usize];
    let described = shapes::describe(&network, &[1, item[0], item[1], item[2]]).unwrap();
    // Channel c of the eight and class c look at colour c mod 3.
    let weight = |shape: &[usize]| {
        ArrayD::from_shape_fn(shape, |at| match shape.len() {
            1 => 0.0,
            _ if at[0] % 3 == at[1] % 3 => 2.0,
            _ => -0.5,
        })
    };
    let weights = described.params.iter().map(|param| (param.name.clone(), weight(&param.shape))).collect();
    let interface = Interface::new(item).output("logits").observed(observed);
    onnx::trace(&network, &weights, &interface, Opset::default()).unwrap()
}

/// Temporary folder with `model.onnx`, in which the program runs.
pub struct Workplace(TempDir);

impl Workplace {
    pub fn new() -> Self {
        let empty = Self::without_model();
        fs::write(empty.path("model.onnx"), model_with(|_| {})).unwrap();
        empty
    }

    pub fn without_model() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes an image of one colour, and creates its folder.
    pub fn image(&self, name: &str, color: [u8; 3]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        RgbImage::from_pixel(20, 24, Rgb(color)).save(path).unwrap();
    }

    /// Command `infer` with the runtime that `cargo xtask setup` brought.
    pub fn infer(&self) -> Command {
        let mut command = self.infer_without_runtime();
        command.env("ORT_DYLIB_PATH", runtime());
        command
    }

    /// Command `infer` of a kind that can be started and stopped.
    pub fn startable(&self) -> std::process::Command {
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("infer"));
        command.current_dir(self.0.path()).env("ORT_DYLIB_PATH", runtime()).env_remove("INFER_MODEL");
        command
    }

    pub fn infer_without_runtime(&self) -> Command {
        let mut command = Command::cargo_bin("infer").unwrap();
        command.current_dir(self.0.path()).env_remove("ORT_DYLIB_PATH").env_remove("INFER_MODEL");
        command
    }
}

/// Folder of ONNX Runtime's library.
pub fn runtime() -> PathBuf {
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH") {
        return path.into();
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.native/onnxruntime");
    assert!(folder.is_dir(), "these tests need ONNX Runtime: `cargo xtask setup` brings it");
    folder
}

pub const RED: [u8; 3] = [250, 10, 20];
pub const GREEN: [u8; 3] = [30, 240, 20];
pub const BLUE: [u8; 3] = [0, 20, 255];

/// Output and exit code of a run.
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    pub fn by(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        Self { code: output.status.code().expect("no signal"), stdout, stderr }
    }

    /// Checks that the run ended with `code` and that its only error line contains `parts`.
    #[track_caller]
    pub fn fails(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{}", self.stderr);
        let errors: Vec<_> = self.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "{}", self.stderr);
        for part in parts {
            assert!(errors[0].contains(part), "`{part}` is not in: {}", errors[0]);
        }
        for line in self.stderr.lines() {
            assert!(!line.contains('\u{1b}') && !line.contains("backtrace"), "{line}");
        }
    }
}
