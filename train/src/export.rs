//! The export: write the ONNX file, run it against libtorch, and only then put it in place.

mod calibration;
mod card;
mod drift;
mod goldens;
mod images;
mod reference;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ferronnx_infer::Session;
use ferronnx_infer::preprocess::{CHANNELS, Preprocessor};
use ferronnx_infer::runtime;
use ferronnx_infer::session::Options;
use ferronnx_infer::verify::Verification;
use ferronnx_models::card::{CARD_KEY, InputForm, ModelCard, Precision, Preprocessing};
use ferronnx_models::certificate::{CERTIFICATE_FORMAT, CERTIFICATE_KEY, CardDigests, Certificate};
use ferronnx_models::onnx::digest::DigestError;
use ferronnx_models::onnx::passes::{self, EmbedError, HalfError, QuantizeError, Ranges};
use ferronnx_models::onnx::{self, Interface, Model, Opset, TraceError, WeightsDigest};
use ferronnx_models::parity::{Comparison, Disagreement, Parity};
use ferronnx_models::{Module, Weights, shapes};
use image::{ImageError, RgbImage};
use ndarray::{Array2, ArrayD};
use tch::Device;

pub use self::calibration::{CALIBRATION_IMAGES, Calibration};
pub use self::card::card;
pub use self::drift::Drift;
pub use self::images::Images;
use self::reference::Reference;
use crate::error::TorchError;
use crate::params::Params;
use crate::trainer::TrainError;

/// Images that go through both engines at once.
const BATCH: usize = 100;

/// How a file is written and what it must hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExportOptions {
    /// Version of the operators.
    pub opset: Opset,
    /// What the network is computed in.
    pub precision: Precision,
    /// What the input takes.
    pub input: InputForm,
    /// Whether what the network lets [observe](ferronnx_models::Ops::observe), attention above all, becomes further outputs.
    pub observed: bool,
    /// Whether batch norm is merged into the convolutions.
    pub fold: bool,
    /// How int8 finds the ranges of values.
    pub calibration: Calibration,
    /// Largest difference to libtorch, relative to the largest logit; [`default_tolerance`] if not said.
    pub tolerance: Option<f64>,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self {
            opset: Opset::default(),
            precision: Precision::Fp32,
            input: InputForm::Float,
            observed: false,
            fold: true,
            calibration: Calibration::default(),
            tolerance: None,
        }
    }
}

impl ExportOptions {
    fn allowed(&self) -> f64 {
        self.tolerance.unwrap_or(default_tolerance(self.precision))
    }
}

/// How far logits may be from libtorch's, relative to the largest, in each precision.
pub fn default_tolerance(precision: Precision) -> f64 {
    match precision {
        Precision::Fp32 => 1e-4,
        Precision::Fp16 => 1e-2,
        Precision::Int8 => 0.1,
    }
}

/// A file that was written, and how it compares with libtorch.
#[derive(Debug, Clone, PartialEq)]
pub struct Exported {
    /// What it proves of itself, and how it compares with libtorch.
    pub certificate: Certificate,
    /// The images for which the file names another class than libtorch.
    pub disagreeing: Vec<Disagreement>,
    /// How many images libtorch and the file are right about, where the classes are known.
    pub right: Option<[usize; 2]>,
    /// Size of the file.
    pub bytes: u64,
    /// Time for graph, passes and file, without verification.
    pub written: Duration,
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The network and its weights make no graph.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// Half precision cannot hold the weights.
    #[error(transparent)]
    Half(#[from] HalfError),
    /// Integers cannot hold the network.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    /// The preprocessing cannot become part of the graph.
    #[error(transparent)]
    Embed(#[from] EmbedError),
    /// The weights have no digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// Convolutions would be quantised away from what they give.
    #[error("int8 needs batch norm folded into the convolutions: leave out --no-fold")]
    Unfolded,
    /// Images cannot be prepared as the card says.
    #[error("the preprocessing of the card: {0}")]
    Preprocessing(String),
    /// Nothing to find ranges on.
    #[error(
        "int8 needs images to find the ranges of values on: a run's training images, or --calibration DIR"
    )]
    NoCalibration,
    /// The weights are not this network's.
    #[error("these are not the weights of this network: {0}")]
    Weights(String),
    /// libtorch could not run it.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// ONNX Runtime could not run it.
    #[error(transparent)]
    Infer(#[from] ferronnx_infer::Error),
    /// The images of the certificate cannot be encoded.
    #[error("cannot encode the certificate's images: {0}")]
    Encode(#[from] ImageError),
    /// The file cannot be written.
    #[error("cannot write {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file does not compute what libtorch does.
    #[error(
        "the exported file does not agree with libtorch, and was not kept: largest relative difference {relative:.2e} \
         (allowed {tolerance:.0e}), top-1 agreement {agreeing} of {images}",
        relative = .found.max_relative_difference, agreeing = .found.agreeing, images = .found.images
    )]
    Disagrees {
        /// What was found.
        found: Parity,
        /// What is allowed.
        tolerance: f64,
    },
    /// The certificate does not hold where it was made.
    #[error("the exported file does not keep its own certificate, and was not kept: {}", .0.join("; "))]
    Certificate(Vec<String>),
}

impl From<TorchError> for ExportError {
    fn from(error: TorchError) -> Self {
        Self::Train(error.into())
    }
}

/// A network with its weights, ready to export.
pub struct Trained<'a, M> {
    /// The network.
    pub network: &'a M,
    /// Its weights.
    pub weights: &'a Weights,
    /// Everything else about it.
    pub card: &'a ModelCard,
    /// Images that training saw, from which int8 takes the ranges of values; [`CALIBRATION_IMAGES`] are enough.
    pub calibration: &'a [RgbImage],
}

impl<M: Module> Trained<'_, M> {
    /// Writes the model to `path` once ONNX Runtime and libtorch agree on `images`.
    ///
    /// On any failure `path` is as it was.
    pub fn export(
        &self,
        path: &Path,
        images: &Images,
        options: &ExportOptions,
    ) -> Result<Exported, ExportError> {
        let started = Instant::now();
        let model = self.model(options)?;
        let card = ModelCard {
            input: options.input,
            precision: options.precision,
            observed: model.graph.outputs[1..].iter().map(|output| output.name.to_string()).collect(),
            ..self.card.clone()
        };
        let weights = WeightsDigest::of_graph(&model.graph)?;
        let (json, names, class_names) = (card.to_json(), card.names(), card.class_names());
        let metadata = [(CARD_KEY, &json[..]), ("names", &names), ("class_names", &class_names)];
        let mut bytes = onnx::encode(model, &metadata);
        let mut written = started.elapsed();

        let reference = self.reference(options)?;
        let (comparison, provider) = compare(&bytes, &reference, images, options)?;
        let (agreement, tolerance) = (comparison.parity(), options.allowed());
        if !agreement.holds(tolerance) {
            return Err(ExportError::Disagrees { found: agreement, tolerance });
        }
        let certificate = Certificate {
            format: CERTIFICATE_FORMAT,
            weights,
            card: CardDigests::of(&card),
            tolerance,
            runtime: format!("ONNX Runtime {}, {provider}", runtime::load(None)?.version()),
            agreement,
            goldens: goldens::make(&reference)?,
        };
        onnx::append_metadata(&mut bytes, &[(CERTIFICATE_KEY, &certificate.to_json())]);
        let failures = Verification::of_bytes(&bytes, &cpu(), None)?.failures();
        if !failures.is_empty() {
            return Err(ExportError::Certificate(failures));
        }

        let started = Instant::now();
        ferronnx_models::files::write_atomically(path, |out| out.write_all(&bytes))
            .map_err(|source| ExportError::Io { path: path.into(), source })?;
        written += started.elapsed();
        Ok(Exported {
            disagreeing: comparison.disagreeing().to_vec(),
            right: images.labels.is_some().then(|| comparison.right()),
            certificate,
            bytes: bytes.len() as u64,
            written,
        })
    }

    /// How far every value in the middle of the file is from libtorch's on `images`, worst first: by what each node
    /// adds to the drift of what it works on.
    ///
    /// All values of a few images are in memory, so few images should be given.
    pub fn drift(&self, images: &Images, options: &ExportOptions) -> Result<Vec<Drift>, ExportError> {
        drift::drift(&self.reference(options)?, self.model(options)?, options.input, images)
    }

    /// The model in the form that `options` ask for.
    fn model(&self, options: &ExportOptions) -> Result<Model, ExportError> {
        if options.precision == Precision::Int8 && !options.fold {
            return Err(ExportError::Unfolded);
        }
        let mut model = onnx::trace(self.network, self.weights, &self.interface(options), options.opset)?;
        if options.fold {
            passes::fold_batch_norm(&mut model);
        }
        match options.precision {
            Precision::Fp32 => {}
            Precision::Fp16 => passes::half_precision(&mut model)?,
            Precision::Int8 => {
                let ranges = self.ranges(&passes::quantized_values(&model), options)?;
                passes::quantize(&mut model, &ranges)?;
            }
        }
        if options.input == InputForm::Uint8 {
            let Preprocessing { mean, std, .. } = &self.card.preprocessing;
            passes::embed_preprocessing(&mut model, mean, std)?;
        }
        passes::deduplicate_initializers(&mut model, |name| self.weights.contains_key(name));
        Ok(model)
    }

    fn ranges(&self, values: &[String], options: &ExportOptions) -> Result<Ranges, ExportError> {
        if self.calibration.is_empty() {
            return Err(ExportError::NoCalibration);
        }
        calibration::ranges(&self.reference(options)?, self.calibration, values, options.calibration)
    }

    fn reference(&self, options: &ExportOptions) -> Result<Reference<'_, M>, ExportError> {
        self.card.preprocessing.check().map_err(ExportError::Preprocessing)?;
        Ok(Reference {
            network: self.network,
            params: self.params()?,
            preprocessor: Preprocessor::new(&self.card.preprocessing),
            interface: self.interface(options),
        })
    }

    fn interface(&self, options: &ExportOptions) -> Interface {
        let side = self.card.preprocessing.crop as usize;
        Interface::new([CHANNELS, side, side]).output("logits").observed(options.observed)
    }

    /// The weights on libtorch, after checking that they are exactly this network's.
    fn params(&self) -> Result<Params, ExportError> {
        let side = self.card.preprocessing.crop as usize;
        let described =
            shapes::describe(self.network, &[1, CHANNELS, side, side]).map_err(TraceError::from)?;
        let classes = described.output.last().copied().unwrap_or(0);
        if classes != self.card.labels.len() {
            return Err(ExportError::Weights(format!(
                "{} labels for {classes} classes",
                self.card.labels.len()
            )));
        }
        let known = |name: &String| described.params.iter().any(|param| param.name == *name);
        if let Some(name) = self.weights.keys().find(|name| !known(name)) {
            return Err(ExportError::Weights(format!("it has no {name}")));
        }
        let params = Params::initialise(&described.params, 0, Device::Cpu)?;
        for param in &described.params {
            match self.weights.get(&param.name) {
                Some(values) if values.shape() == param.shape => params.assign(&param.name, values)?,
                Some(values) => {
                    let (name, found) = (&param.name, values.shape());
                    return Err(ExportError::Weights(format!("{name} is {found:?}, not {:?}", param.shape)));
                }
                None => return Err(ExportError::Weights(format!("{} is missing", param.name))),
            }
        }
        Ok(params)
    }
}

/// Runs the file in `bytes` and libtorch on the same images; also says what executed the file.
fn compare(
    bytes: &[u8],
    reference: &Reference<'_, impl Module>,
    images: &Images,
    options: &ExportOptions,
) -> Result<(Comparison, &'static str), ExportError> {
    let session = Session::from_bytes(bytes, &cpu())?;
    let mut comparison = Comparison::new(options.allowed());
    let labels = images.labels.as_ref().map(|labels| labels.chunks(BATCH));
    let mut labels = labels.into_iter().flatten();
    for images in images.images.chunks(BATCH) {
        let found = table(session.run(&reference.preprocessor.batch(images, options.input))?)?;
        comparison.add(found.view(), reference.logits(images)?.view(), labels.next());
    }
    Ok((comparison, session.provider()))
}

/// Where libtorch computes too.
fn cpu() -> Options {
    Options { device: ferronnx_infer::Device::Cpu, ..Options::default() }
}

fn table(logits: ArrayD<f32>) -> Result<Array2<f32>, ExportError> {
    logits
        .into_dimensionality()
        .map_err(|error| ExportError::Weights(format!("its output is not [batch, classes]: {error}")))
}
