//! How fast a model runs here: latency and throughput by device, threads and batch.
//!
//! A pass is what [`Session::run`] does: it takes an input that is ready and gives the first output. Times are in
//! milliseconds.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ferronnx_models::onnx::{Dim, Element};
use ferronnx_models::testing;
use image::RgbImage;
use indexmap::IndexMap;
use ndarray::ArrayD;
use serde::{Deserialize, Serialize};

use crate::assume::Assumptions;
use crate::classifier::{Classifier, card_of, read_card};
use crate::device::{Device, short_name};
use crate::error::{Error, Result};
use crate::pipeline::milliseconds;
use crate::preprocess::{Batch, Preprocessor};
use crate::results::{Failed, Outcome};
use crate::session::{Input, Options, Session};
use crate::{decode, runtime};

/// Fewest passes that are measured, however long they take.
const FEWEST: usize = 10;

/// Images that are decoded and prepared for their times.
const IMAGES: usize = 256;

/// What is measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Images in a pass.
    pub batches: Vec<usize>,
    /// Threads of an operator; ONNX Runtime's choice where there is no number.
    pub threads: Vec<Option<usize>>,
    /// Where the network runs.
    pub devices: Vec<Device>,
    /// Whatever else a session is built with.
    pub session: Options,
    /// Passes before any is measured.
    pub warm_up: Duration,
    /// How long each combination is measured.
    pub measured: Duration,
    /// Images to run on; without, numbers that mean nothing.
    pub images: Vec<PathBuf>,
    /// What is known of the model, if it has no card.
    pub assumptions: Assumptions,
}

/// What was measured, as JSON has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Benchmark {
    /// The machine and what runs on it.
    pub environment: Environment,
    /// The file.
    pub model: Model,
    /// From nothing to the first result of the first combination: ONNX Runtime loaded, session built, one pass.
    pub cold_start_ms: f64,
    /// A combination of device, threads and batch each.
    pub runs: Vec<Run>,
    /// The way of images to the network.
    #[serde(rename = "pictures", default, skip_serializing_if = "Option::is_none")]
    pub images: Option<Images>,
}

/// The machine and what runs on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// The processor's name.
    pub cpu: String,
    /// Threads that it runs at once.
    pub cores: usize,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Operating system and architecture.
    pub system: String,
    /// This program.
    pub infer: String,
    /// ONNX Runtime.
    pub onnxruntime: String,
}

/// The file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Its name, without the path.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// What it is computed in, where its card says.
    pub precision: Option<String>,
    /// What it takes.
    pub input: String,
}

/// One combination.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// ONNX Runtime's name of what executed the network.
    pub provider: String,
    /// Threads of an operator.
    pub threads: usize,
    /// Images in a pass.
    pub batch: usize,
    /// Passes that were measured.
    pub iterations: usize,
    /// Milliseconds of a pass.
    pub latency_ms: Latency,
    /// Images per second.
    pub throughput_ips: f64,
    /// Whether the numbers can be relied upon, see [`is_stable`].
    pub stable: bool,
    /// How many operators each provider was given.
    pub placement: IndexMap<String, usize>,
    /// The same combination in an older measurement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<Compared>,
    /// Milliseconds of each pass, in their order.
    #[serde(skip)]
    pub samples: Vec<f64>,
}

/// An older measurement of the same combination.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// Its median, in milliseconds.
    pub p50_ms: f64,
    /// Today's median as a multiple of it: above 1 is slower.
    pub ratio: f64,
}

/// Milliseconds; percentiles are interpolated linearly, as NumPy's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Latency {
    pub mean: f64,
    pub min: f64,
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

/// The way of images to the network, one thread's times an image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Images {
    /// How many were decoded.
    pub count: usize,
    /// Reading and decoding.
    pub decode_ms: Latency,
    /// Resizing, cropping and normalising.
    pub preprocess_ms: Latency,
    /// The network, at the batch of [`end_to_end_batch`](Self::end_to_end_batch): the median of a pass divided by it.
    pub inference_ms: f64,
    /// Images per second from the file to its classes, decoded ahead on all threads while the network runs.
    pub end_to_end_ips: f64,
    /// Images in a pass of that.
    pub end_to_end_batch: usize,
}

impl Run {
    /// What people call its provider, `CPU`.
    pub fn device(&self) -> &str {
        short_name(&self.provider)
    }
}

impl Latency {
    /// Of milliseconds in any order, at least one.
    pub fn of(samples: &[f64]) -> Self {
        let sorted = sorted(samples);
        let percentile = |share| percentile(&sorted, share);
        Self {
            mean: samples.iter().sum::<f64>() / samples.len() as f64,
            min: percentile(0.0),
            p50: percentile(0.5),
            p90: percentile(0.9),
            p95: percentile(0.95),
            p99: percentile(0.99),
            max: percentile(1.0),
        }
    }
}

/// From the least to the greatest.
pub fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The value below which a share of the sorted ones lies.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    low + (high - low) * place.fract()
}

/// Whether the medians of the first and the second half of the passes are within 5 % of each other, and the middle
/// half of all passes within 10 % of the median: neither a trend nor much noise.
pub fn is_stable(samples: &[f64]) -> bool {
    if samples.len() < 2 {
        return false;
    }
    let (first, second) = samples.split_at(samples.len() / 2);
    let [first, second] = [first, second].map(|half| percentile(&sorted(half), 0.5));
    let all = sorted(samples);
    let [low, median, high] = [0.25, 0.5, 0.75].map(|share| percentile(&all, share));
    (first - second).abs() <= 0.05 * median && high - low <= 0.1 * median
}

impl Benchmark {
    /// Measures the model at `path`; `see` is told of each combination before it is measured.
    ///
    /// # Errors
    /// Those of [`Session::from_file`] and [`Session::run`]; [`Error::Model`] when an input has a size that is not
    /// known, or images are given to a model without a card of which too little is assumed.
    pub fn run(path: &Path, plan: &Plan, mut see: impl FnMut(Device, Option<usize>, usize)) -> Result<Self> {
        let start = Instant::now();
        let mut cold_start_ms = None;
        let mut model = None;
        let mut runs = Vec::new();
        for &device in &plan.devices {
            for &threads in &plan.threads {
                let options = Options { device, threads, placement: true, ..plan.session.clone() };
                let session = Session::from_file(path, &options)?;
                let feed = Feed::new(&session, plan).map_err(|error| error.at(path))?;
                for &batch in &plan.batches {
                    see(device, threads, batch);
                    let input = feed.batch(batch);
                    session.run(&input)?;
                    cold_start_ms.get_or_insert_with(|| milliseconds(start));
                    let samples = passes(&session, &input, plan)?;
                    let latency_ms = Latency::of(&samples);
                    runs.push(Run {
                        provider: session.provider().into(),
                        threads: threads.unwrap_or_else(cores),
                        batch,
                        iterations: samples.len(),
                        latency_ms,
                        throughput_ips: 1e3 * batch as f64 / latency_ms.mean,
                        stable: is_stable(&samples),
                        placement: session.placement()?,
                        compared: None,
                        samples,
                    });
                }
                if model.is_none() {
                    model = Some(Model::of(path, &session)?);
                }
            }
        }
        let Some((model, cold_start_ms)) = model.zip(cold_start_ms) else {
            return Err(Error::Session("nothing to measure: no device, no threads or no batch".into()));
        };
        let images = (!plan.images.is_empty()).then(|| Images::of(path, plan, &runs)).transpose()?;
        Ok(Self { environment: Environment::here(plan)?, model, cold_start_ms, runs, images })
    }

    /// Remembers an older measurement beside each combination that it has too.
    pub fn compare(&mut self, old: &Self) {
        for run in &mut self.runs {
            let same = |old: &&Run| {
                (&old.provider, old.threads, old.batch) == (&run.provider, run.threads, run.batch)
            };
            run.compared = old.runs.iter().find(same).map(|old| {
                let p50_ms = old.latency_ms.p50;
                Compared { p50_ms, ratio: run.latency_ms.p50 / p50_ms }
            });
        }
    }
}

/// Milliseconds of each pass.
fn passes(session: &Session, input: &Values, plan: &Plan) -> Result<Vec<f64>> {
    let started = Instant::now();
    while started.elapsed() < plan.warm_up {
        session.run(input)?;
    }
    let mut samples = Vec::new();
    let started = Instant::now();
    while started.elapsed() < plan.measured || samples.len() < FEWEST {
        let start = Instant::now();
        session.run(input)?;
        samples.push(milliseconds(start));
    }
    Ok(samples)
}

/// What the network is fed.
enum Feed {
    /// Prepared images.
    Images(Box<Preprocessor>, Vec<RgbImage>, ferronnx_models::card::InputForm),
    /// Numbers that mean nothing, of the shape of an item.
    Numbers(Vec<usize>, Element),
}

impl Feed {
    fn new(session: &Session, plan: &Plan) -> Result<Self> {
        if !plan.images.is_empty() {
            let card =
                card_of(session, &plan.assumptions).map_err(|reason| Error::Model { path: None, reason })?;
            let preprocessor = Preprocessor::new(&card.preprocessing);
            let most = plan.batches.iter().copied().max().unwrap_or(1);
            let prepare = |path: &PathBuf| Ok(preprocessor.prepare(&decode::file(path)?));
            let images = plan.images.iter().take(most).map(prepare).collect::<Result<_>>()?;
            return Ok(Self::Images(Box::new(preprocessor), images, card.input));
        }
        let input = session.input();
        let size = |dim: &Dim| match dim {
            Dim::Fixed(size) => Ok(*size),
            Dim::Symbol(name) => {
                let reason = format!("the size `{name}` of input `{}` is not known", input.name);
                Err(Error::Model { path: None, reason })
            }
        };
        let item = input.shape.iter().skip(1).map(size).collect::<Result<_>>()?;
        Ok(Self::Numbers(item, input.element))
    }

    fn batch(&self, size: usize) -> Values {
        match self {
            Self::Images(preprocessor, images, form) => {
                let images: Vec<_> = images.iter().cycle().take(size).collect();
                match preprocessor.batch(&images, *form) {
                    Batch::Float(values) => Values::Float(values.into_dyn()),
                    Batch::Bytes(values) => Values::Bytes(values.into_dyn()),
                }
            }
            Self::Numbers(item, element) => {
                let floats = testing::input(&[&[size], &item[..]].concat());
                match element {
                    Element::Uint8 => Values::Bytes(floats.mapv(|value| (64.0 * (value + 2.0)) as u8)),
                    _ => Values::Float(floats),
                }
            }
        }
    }
}

/// An input of any rank.
enum Values {
    Float(ArrayD<f32>),
    Bytes(ArrayD<u8>),
}

impl<'a> From<&'a Values> for Input<'a> {
    fn from(values: &'a Values) -> Self {
        match values {
            Values::Float(values) => values.view().into(),
            Values::Bytes(values) => values.view().into(),
        }
    }
}

impl Images {
    fn of(path: &Path, plan: &Plan, runs: &[Run]) -> Result<Self> {
        let batch = plan.batches.iter().copied().max().unwrap_or(1);
        let (device, threads) = (plan.devices[0], plan.threads[0]);
        let options = Options { device, threads, ..plan.session.clone() };
        let classifier = Classifier::builder()
            .options(options)
            .assume(plan.assumptions.clone())
            .batch(batch)
            .load(path)?;
        let (mut decoding, mut preprocessing) = (Vec::new(), Vec::new());
        for image in plan.images.iter().take(IMAGES) {
            let start = Instant::now();
            let image = decode::file(image)?;
            decoding.push(milliseconds(start));
            let start = Instant::now();
            let preprocessor = classifier.preprocessor();
            preprocessor.batch(&[preprocessor.prepare(&image)], classifier.card().input);
            preprocessing.push(milliseconds(start));
        }
        // As many as fill the time, the same ones again and again if there are few.
        let start = Instant::now();
        let mut done = 0;
        while start.elapsed() < plan.measured {
            for outcome in classifier.classify_files(plan.images.iter().cloned()) {
                if let Outcome::Failed(Failed { path, error }) = outcome {
                    return Err(error.at(&path));
                }
                done += 1;
            }
        }
        let run = runs.iter().find(|run| run.batch == batch);
        Ok(Self {
            count: decoding.len(),
            decode_ms: Latency::of(&decoding),
            preprocess_ms: Latency::of(&preprocessing),
            inference_ms: run.map_or(0.0, |run| run.latency_ms.p50 / batch as f64),
            end_to_end_ips: f64::from(done) / start.elapsed().as_secs_f64(),
            end_to_end_batch: batch,
        })
    }
}

impl Model {
    fn of(path: &Path, session: &Session) -> Result<Self> {
        let input = session.input();
        Ok(Self {
            file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            bytes: crate::files::metadata(path)?.len(),
            precision: read_card(session).ok().map(|card| card.precision.to_string()),
            input: format!(
                "{} {}",
                crate::session::kind(input.element),
                crate::session::describe(&input.shape)
            ),
        })
    }
}

impl Environment {
    fn here(plan: &Plan) -> Result<Self> {
        let system = sysinfo::System::new().map(|mut system| {
            system.refresh_cpu_all();
            system.refresh_memory();
            system
        });
        let cpu = |system: &sysinfo::System| Some(system.cpus().first()?.brand().trim().to_owned());
        let name = sysinfo::System::long_os_version().unwrap_or_else(|_| std::env::consts::OS.into());
        Ok(Self {
            cpu: system.as_ref().ok().and_then(cpu).unwrap_or_else(|| "unknown".into()),
            cores: cores(),
            memory_bytes: system.map_or(0, |system| system.total_memory()),
            system: format!("{name}, {}", std::env::consts::ARCH),
            infer: env!("CARGO_PKG_VERSION").into(),
            onnxruntime: runtime::load(plan.session.runtime.as_deref())?.version().into(),
        })
    }
}

/// Threads that the machine runs at once.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_numpys() {
        let samples = [4.0, 1.0, 3.0, 2.0];
        let latency = Latency::of(&samples);
        // numpy.percentile([4, 1, 3, 2], [50, 90, 95, 99])
        let close =
            |found: f64, expected: f64| assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        close(latency.p50, 2.5);
        close(latency.p90, 3.7);
        close(latency.p95, 3.85);
        close(latency.p99, 3.97);
        assert_eq!((latency.min, latency.mean, latency.max), (1.0, 2.5, 4.0));
        assert_eq!(Latency::of(&[7.0]).p99, 7.0);
    }

    #[test]
    fn a_trend_and_noise_are_not_stable() {
        let steady: Vec<f64> = (0..100).map(|i| 10.0 + 0.1 * f64::from(i % 5)).collect();
        assert!(is_stable(&steady));
        let outliers: Vec<f64> = (0..100).map(|i| if i % 20 == 0 { 50.0 } else { 10.0 }).collect();
        assert!(is_stable(&outliers), "p99 shows them");
        let warming: Vec<f64> = (0..100).map(|i| if i < 50 { 12.0 } else { 10.0 }).collect();
        assert!(!is_stable(&warming));
        let noisy: Vec<f64> = (0..100).map(|i| if i % 2 == 0 { 12.0 } else { 10.0 }).collect();
        assert!(!is_stable(&noisy));
        assert!(!is_stable(&[1.0]));
    }
}
