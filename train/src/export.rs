//! Export to ONNX: the file is run against libtorch, certified, and only then put in place.

mod calibration;
mod card;
mod drift;
mod goldens;
mod images;
mod outputs;
mod reference;
mod scaled;
mod speed;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ferronnx_infer::Session;
use ferronnx_infer::preprocess::Preprocessor;
use ferronnx_infer::runtime;
use ferronnx_infer::session::Options;
use ferronnx_infer::verify::Verification;
use ferronnx_models::card::{CARD_KEY, ModelCard, Preprocessing, PreprocessingError, TemperatureScaling};
pub use ferronnx_models::card::{InputForm, Precision};
use ferronnx_models::certificate::{CERTIFICATE_FORMAT, CERTIFICATE_KEY, CardDigests, Certificate, Compared};
pub use ferronnx_models::onnx::Opset;
use ferronnx_models::onnx::digest::DigestError;
use ferronnx_models::onnx::head::HeadError;
use ferronnx_models::onnx::passes::{self, EmbedError, HalfError, QuantizeError, Ranges};
use ferronnx_models::onnx::{self, Interface, Model, TraceError, WeightsDigest};
use ferronnx_models::parity::{Comparison, Disagreement, Parity};
use ferronnx_models::tolerance::{Arithmetic, Tolerance};
use ferronnx_models::{Module, Weights, shapes};
use image::{ImageError, RgbImage};
use ndarray::{Array2, ArrayD};
use tch::Device;

pub use self::calibration::{CALIBRATION_IMAGES, Calibration};
pub use self::card::card;
pub use self::drift::Drift;
pub use self::images::Images;
use self::reference::Reference;
pub use self::speed::Speed;
use crate::error::{SettingError, TorchError};
use crate::params::Params;
use crate::temperature::TemperatureError;
use crate::trainer::TrainError;

/// Batch size of the comparison.
const BATCH: usize = 100;

/// Options of an export.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExportOptions {
    /// Version of the ONNX operators.
    pub opset: Opset,
    /// Precision of the computation.
    pub precision: Precision,
    /// Form of the input: floats or bytes.
    pub input: InputForm,
    /// True if [observed](ferronnx_models::Ops::observe) values, such as attention, become further outputs.
    pub observed: bool,
    /// True if the features that the last linear layer reads, `[N, C]`, become a further output.
    pub features: bool,
    /// True if the feature maps `[N, C, h, w]` whose means the last linear layer reads become a further output.
    pub feature_maps: bool,
    /// True if batch norm is folded into convolutions.
    pub fold: bool,
    /// Method of finding the ranges of values for int8.
    pub calibration: Calibration,
    /// Largest difference to libtorch, relative to the largest logit; `None` for [`Tolerance::of_export`].
    pub tolerance: Option<f64>,
    /// True if the logits are divided by a temperature: the card's, or else one that is fitted on the labelled images of
    /// the comparison.
    pub calibrate: bool,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self {
            opset: Opset::default(),
            precision: Precision::Fp32,
            input: InputForm::Float,
            observed: false,
            features: false,
            feature_maps: false,
            fold: true,
            calibration: Calibration::default(),
            tolerance: None,
            calibrate: false,
        }
    }
}

impl ExportOptions {
    /// Differences that are allowed on the images of the comparison.
    fn allowed(&self) -> Tolerance {
        self.tolerance.map_or_else(|| Tolerance::of_export(self.precision), Tolerance::of_each)
    }

    /// Largest difference, relative to the largest logit, of a file whose logits are all close to libtorch's; two classes
    /// that are closer are a tie.
    fn close(&self) -> f64 {
        self.tolerance.unwrap_or(Tolerance::of(self.precision, Arithmetic::Full).max)
    }

    /// Tolerance of the certificate of a file whose largest relative difference was `found`.
    fn certified(&self, found: f64) -> f64 {
        /// Excess over what was found, for other machines.
        const EXCESS: f64 = 2.0;
        if self.tolerance.is_some() {
            self.close()
        } else {
            self.close().max(EXCESS * found).min(self.allowed().max)
        }
    }
}

/// Result of an export.
#[derive(Debug, Clone, PartialEq)]
pub struct Exported {
    /// Certificate, with the comparison to libtorch.
    pub certificate: Certificate,
    /// Images for which the file predicts another class than libtorch.
    pub disagreeing: Vec<Disagreement>,
    /// Numbers of images that libtorch and the file classify correctly, if the classes are known.
    pub right: Option<[usize; 2]>,
    /// Times of an int8 file and of the float32 one; `None` for other precisions.
    pub speed: Option<Speed>,
    /// Temperature that is part of the file's logits, if there is one.
    pub temperature_scaling: Option<TemperatureScaling>,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Time for graph, passes and writing, without verification.
    pub written: Duration,
}

/// Errors of an export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// No ONNX graph can be written of the network with these weights.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The network does not end in what a further output needs.
    #[error("the network cannot give its features or feature maps")]
    Head(#[from] HeadError),
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
    /// int8 was asked for without folded batch norm, which would quantise convolutions wrongly.
    #[error("int8 needs batch norm folded into the convolutions")]
    Unfolded,
    /// Images cannot be prepared as the card says.
    #[error("the preprocessing of the card cannot be carried out")]
    Preprocessing(#[from] PreprocessingError),
    /// int8 was asked for without calibration images.
    #[error("int8 needs images to find the ranges of values on")]
    NoCalibration,
    /// A temperature was asked for without images whose classes are known.
    #[error("a temperature is fitted on validation images, and there are no images with known classes")]
    NoLabels,
    /// A multi-label model comes without a temperature.
    #[error(
        "several labels an image: the temperature is fitted at the end of a run, and there is none: the run was stopped, \
         its validation images allow none, or these are weights without their run"
    )]
    NoTemperature,
    /// A number of a run's files is out of range.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// No temperature makes the probabilities match the validation images.
    #[error("the logits cannot be calibrated")]
    Temperature(#[from] TemperatureError),
    /// The weights are not this network's.
    #[error("these are not the weights of this network")]
    Weights(#[source] WeightsFault),
    /// The file does not give logits `[N, classes]`.
    #[error("the file's output is {0:?}, not [batch, classes]")]
    Output(Vec<usize>),
    /// libtorch failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// ONNX Runtime failed.
    #[error(transparent)]
    Infer(#[from] ferronnx_infer::Error),
    /// The images of the certificate cannot be encoded.
    #[error("cannot encode the certificate's images")]
    Encode(#[from] ImageError),
    /// The file cannot be written.
    #[error("cannot write {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file does not compute what libtorch does.
    #[error(
        "the exported file does not agree with libtorch, and was not kept: largest relative difference {:.2e} (allowed \
         {:.0e}), root mean square {:.2e} (allowed {:.0e}), top-1 agreement {} of {} and {} ties{}",
        .found.max_relative_difference, .allowed.max, .found.rms_relative_difference, .allowed.rms, .found.agreeing,
        .found.images, .found.ties, changed(.allowed.changed)
    )]
    Disagrees {
        /// Comparison of the two.
        found: Parity,
        /// Differences allowed.
        allowed: Tolerance,
    },
    /// The certificate does not hold where it was made.
    #[error("the exported file does not keep its own certificate, and was not kept: {}", .0.join("; "))]
    Certificate(Vec<String>),
}

/// Differences between weights and the network that they are for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WeightsFault {
    /// The card has another number of labels than the network has classes.
    #[error("{labels} labels for {classes} classes")]
    Labels {
        /// Labels of the card.
        labels: usize,
        /// Classes of the network.
        classes: usize,
    },
    /// The network has no parameter of this name.
    #[error("it has no {0}")]
    Unknown(String),
    /// The weights lack a parameter.
    #[error("{0} is missing")]
    Missing(String),
    /// A parameter has another shape.
    #[error("{name} is {found:?}, not {expected:?}")]
    Shape {
        /// Name of the parameter.
        name: String,
        /// Shape in the weights.
        found: Vec<usize>,
        /// Shape in the network.
        expected: Vec<usize>,
    },
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
    /// Weights of the network.
    pub weights: &'a Weights,
    /// Model card: labels, preprocessing, architecture. With a
    /// [temperature](ferronnx_models::card::TemperatureScaling) the file's logits are divided by it.
    pub card: &'a ModelCard,
    /// Training images for the ranges of int8; [`CALIBRATION_IMAGES`] are enough.
    pub calibration: &'a [RgbImage],
}

impl<M: Module> Trained<'_, M> {
    /// Writes the model to `path` once ONNX Runtime and libtorch agree on `images`.
    ///
    /// # Errors
    /// [`ExportError`]; `path` is unchanged then.
    pub fn export(
        &self,
        path: impl AsRef<Path>,
        images: &Images,
        options: &ExportOptions,
    ) -> Result<Exported, ExportError> {
        let card = self.calibrated(images, options)?;
        let network = self.scaled(&card);
        let trained =
            Trained { network: &network, card: &card, weights: self.weights, calibration: self.calibration };
        trained.write(path.as_ref(), images, options)
    }

    /// Writes the model, as [`export`](Self::export), without regard to the card's temperature.
    fn write(&self, path: &Path, images: &Images, options: &ExportOptions) -> Result<Exported, ExportError> {
        let started = Instant::now();
        let model = self.model(options)?;
        let outputs = outputs::roles(&model, options);
        let further = model.graph.outputs[1..].iter().map(|output| output.name.to_string());
        let card = ModelCard {
            input: options.input,
            precision: options.precision,
            observed: further.filter(|name| !outputs.contains_key(name)).collect(),
            outputs,
            ..self.card.clone()
        }
        .with_format();
        let weights = WeightsDigest::of_graph(&model.graph)?;
        let (json, names, class_names) = (card.to_json(), card.names(), card.class_names());
        let metadata = [(CARD_KEY, &json[..]), ("names", &names), ("class_names", &class_names)];
        let mut bytes = onnx::encode(model, &metadata);
        let mut written = started.elapsed();

        let reference = self.reference(options)?;
        let (comparison, provider) = compare(&bytes, &reference, images, options)?;
        let (agreement, allowed) = (comparison.parity(), options.allowed());
        if !agreement.holds(allowed) {
            return Err(ExportError::Disagrees { found: agreement, allowed });
        }
        let mut certificate = Certificate {
            format: CERTIFICATE_FORMAT,
            weights,
            card: CardDigests::of(&card),
            tolerance: options.certified(agreement.max_relative_difference),
            runtime: format!("ONNX Runtime {}, {provider}", runtime::load(None)?.version()),
            agreement,
            // Both sides run on the CPU, see `cpu` and `Trained::params`.
            compared: Compared { device: "cpu".into(), arithmetic: Arithmetic::Full },
            goldens: goldens::make(&reference)?,
        };
        let plain = bytes.len();
        let mut verify = |certificate: &Certificate| {
            bytes.truncate(plain);
            onnx::append_metadata(&mut bytes, &[(CERTIFICATE_KEY, &certificate.to_json())]);
            Verification::of_bytes(&bytes, &cpu(), None)
        };
        let mut verification = verify(&certificate)?;
        // The certificate's images are not of the user's kind: single logits may be further off than on those.
        let tolerance = options.certified(verification.agreement.max_relative_difference);
        if tolerance > certificate.tolerance {
            certificate.tolerance = tolerance;
            verification = verify(&certificate)?;
        }
        let failures = verification.failures();
        if !failures.is_empty() {
            return Err(ExportError::Certificate(failures));
        }

        let speed = self.speed(&bytes, &reference, images, options)?;
        let started = Instant::now();
        ferronnx_models::files::write_atomically(path, |out| out.write_all(&bytes))
            .map_err(|source| ExportError::Io { path: path.into(), source })?;
        written += started.elapsed();
        Ok(Exported {
            disagreeing: comparison.disagreeing().to_vec(),
            right: (images.labels.is_some() && !card.is_multi_label()).then(|| comparison.right()),
            certificate,
            speed,
            temperature_scaling: card.temperature_scaling,
            bytes: bytes.len() as u64,
            written,
        })
    }

    /// Times an int8 file on an image, beside the float32 file of the same network.
    fn speed(
        &self,
        bytes: &[u8],
        reference: &Reference<'_, M>,
        images: &Images,
        options: &ExportOptions,
    ) -> Result<Option<Speed>, ExportError> {
        let image = images.images.first().filter(|_| options.precision == Precision::Int8);
        let Some(image) = image else { return Ok(None) };
        let fp32 = onnx::encode(self.model(&ExportOptions { precision: Precision::Fp32, ..*options })?, &[]);
        let image = reference.preprocessor.batch(std::slice::from_ref(image), options.input);
        Speed::of([&fp32, bytes], &image).map(Some)
    }

    /// Measures how far every value of the file is from libtorch's on `images`, largest added drift first.
    ///
    /// All values of a few images are in memory, so few images should be given.
    ///
    /// # Errors
    /// [`ExportError`] when the graph cannot be made or an engine fails.
    pub fn drift(&self, images: &Images, options: &ExportOptions) -> Result<Vec<Drift>, ExportError> {
        let network = self.scaled(self.card);
        let Self { weights, card, calibration, .. } = *self;
        let trained = Trained { network: &network, weights, card, calibration };
        drift::drift(&trained.reference(options)?, trained.model(options)?, options.input, images)
    }

    /// Makes the model in the form that `options` ask for.
    fn model(&self, options: &ExportOptions) -> Result<Model, ExportError> {
        if options.precision == Precision::Int8 && !options.fold {
            return Err(ExportError::Unfolded);
        }
        let interface = self.interface(options);
        let mut model = onnx::trace(self.network, self.weights, &interface, options.opset)?;
        outputs::add(&mut model, self.network, &interface, options)?;
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
        self.card.preprocessing.check()?;
        Ok(Reference {
            network: self.network,
            params: self.params()?,
            preprocessor: Preprocessor::new(&self.card.preprocessing),
            interface: self.interface(options),
        })
    }

    fn interface(&self, options: &ExportOptions) -> Interface {
        let side = self.card.preprocessing.crop.height as usize;
        Interface::new([self.card.preprocessing.color.channels(), side, side])
            .output("logits")
            .observed(options.observed)
    }

    /// Loads the weights into libtorch, after checking that they are exactly this network's.
    fn params(&self) -> Result<Params, ExportError> {
        let Preprocessing { crop, color, .. } = self.card.preprocessing;
        let side = crop.height as usize;
        let described =
            shapes::describe(self.network, &[1, color.channels(), side, side]).map_err(TraceError::from)?;
        let classes = described.output.last().copied().unwrap_or(0);
        if classes != self.card.labels.len() {
            let labels = self.card.labels.len();
            return Err(ExportError::Weights(WeightsFault::Labels { labels, classes }));
        }
        let known = |name: &String| described.params.iter().any(|param| param.name == *name);
        if let Some(name) = self.weights.keys().find(|name| !known(name)) {
            return Err(ExportError::Weights(WeightsFault::Unknown(name.clone())));
        }
        let params = Params::initialise(&described.params, 0, Device::Cpu)?;
        for param in &described.params {
            match self.weights.get(&param.name) {
                Some(values) if values.shape() == param.shape => params.assign(&param.name, values)?,
                Some(values) => {
                    return Err(ExportError::Weights(WeightsFault::Shape {
                        name: param.name.clone(),
                        found: values.shape().to_vec(),
                        expected: param.shape.clone(),
                    }));
                }
                None => return Err(ExportError::Weights(WeightsFault::Missing(param.name.clone()))),
            }
        }
        Ok(params)
    }
}

/// Runs the file in `bytes` and libtorch on the same images; returns the comparison and the execution provider.
fn compare(
    bytes: &[u8],
    reference: &Reference<'_, impl Module>,
    images: &Images,
    options: &ExportOptions,
) -> Result<(Comparison, &'static str), ExportError> {
    let session = Session::from_bytes(bytes, &cpu())?;
    let mut comparison = Comparison::new(options.close());
    let labels = images.labels.as_ref().map(|labels| labels.chunks(BATCH));
    let mut labels = labels.into_iter().flatten();
    for images in images.images.chunks(BATCH) {
        let found = table(session.run(&reference.preprocessor.batch(images, options.input))?)?;
        comparison.add(found.view(), reference.logits(images)?.view(), labels.next());
    }
    Ok((comparison, session.provider()))
}

/// Part of a sentence about the share of images whose class may change; nothing where none may.
fn changed(share: f64) -> String {
    if share > 0.0 { format!(" (allowed {:.0} % of others)", 100.0 * share) } else { String::new() }
}

/// Session options on the CPU, where libtorch computes too.
fn cpu() -> Options {
    Options::default().device(ferronnx_infer::Device::Cpu)
}

fn table(logits: ArrayD<f32>) -> Result<Array2<f32>, ExportError> {
    let shape = logits.shape().to_vec();
    logits.into_dimensionality().map_err(|_| ExportError::Output(shape))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_allows_what_the_export_found() {
        let certified = |precision, tolerance, found| {
            ExportOptions { precision, tolerance, ..ExportOptions::default() }.certified(found)
        };
        assert_eq!(certified(Precision::Fp32, None, 5e-7), 1e-4);
        assert_eq!(certified(Precision::Int8, None, 0.01), 0.1);
        assert_eq!(certified(Precision::Int8, None, 0.3), 0.6);
        assert_eq!(certified(Precision::Int8, None, 1.5), 2.0);
        assert_eq!(certified(Precision::Int8, Some(3.0), 2.5), 3.0);
    }
}
