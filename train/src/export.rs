//! Export to ONNX: the file is run against libtorch, certified, and only then put in place.

mod calibration;
mod card;
mod drift;
mod error;
mod goldens;
mod images;
mod options;
mod outputs;
mod reference;
mod scaled;
mod speed;

use std::path::Path;
use std::time::{Duration, Instant};

use ferronnx_infer::Session;
use ferronnx_infer::preprocess::Preprocessor;
use ferronnx_infer::runtime;
use ferronnx_infer::session::Options;
use ferronnx_infer::verify::Verification;
use ferronnx_models::card::{CARD_KEY, ModelCard, Preprocessing, TemperatureScaling};
pub use ferronnx_models::card::{InputForm, Precision};
use ferronnx_models::certificate::{CERTIFICATE_FORMAT, CERTIFICATE_KEY, CardDigests, Certificate, Compared};
pub use ferronnx_models::onnx::Opset;
use ferronnx_models::onnx::passes::{self, Ranges};
use ferronnx_models::onnx::{self, Interface, Model, TraceError, WeightsDigest};
use ferronnx_models::parity::{Comparison, Disagreement};
use ferronnx_models::tolerance::Arithmetic;
use ferronnx_models::{Module, Weights, shapes};
use image::RgbImage;
use ndarray::{Array2, ArrayD};
use tch::Device;

pub use self::calibration::{CALIBRATION_IMAGES, Calibration};
pub use self::card::card;
pub use self::drift::Drift;
pub use self::error::{ExportError, WeightsFault};
pub use self::images::Images;
pub use self::options::ExportOptions;
use self::reference::Reference;
pub use self::speed::Speed;
use crate::params::Params;

/// Batch size of the comparison.
const BATCH: usize = 100;

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

/// Session options on the CPU, where libtorch computes too.
fn cpu() -> Options {
    Options::default().device(ferronnx_infer::Device::Cpu)
}

fn table(logits: ArrayD<f32>) -> Result<Array2<f32>, ExportError> {
    let shape = logits.shape().to_vec();
    logits.into_dimensionality().map_err(|_| ExportError::Output(shape))
}
