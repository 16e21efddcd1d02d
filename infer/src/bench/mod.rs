//! Benchmarks: latency and throughput of a model on this machine, by device, threads and batch size.
//!
//! A pass is one call of [`Session::run`] with an input that is ready. Times are in milliseconds.

mod environment;
mod images;
mod input;
mod stats;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

pub use environment::{Environment, cores};
pub use images::Images;
use input::{Feed, Values};
pub use stats::{Latency, is_stable, percentile, sorted};

use crate::assume::Assumptions;
use crate::classifier::read_card;
use crate::device::{Device, short_name};
use crate::error::{ErrorKind, Result};
use crate::files;
use crate::pipeline::milliseconds;
use crate::session::{Options, Session, Startup, default_threads, describe, kind};

/// Fewest passes that are measured, however long they take.
const FEWEST: usize = 10;

/// Plan of a benchmark: every combination of device, threads and batch size is measured.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Plan {
    /// Batch sizes.
    pub batches: Vec<usize>,
    /// Numbers of threads; the default of [`Options::threads`] where absent.
    pub threads: Vec<Option<usize>>,
    /// Devices.
    pub devices: Vec<Device>,
    /// Other options of the sessions.
    pub session: Options,
    /// Time that each combination runs before it is measured.
    pub warm_up: Duration,
    /// Time that each combination is measured.
    pub measured: Duration,
    /// Images to run on; generated numbers if there are none.
    pub images: Vec<PathBuf>,
    /// Labels and preprocessing of a model without a card, needed for images.
    pub assumptions: Assumptions,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            batches: vec![1, 8],
            threads: vec![None],
            devices: vec![Device::Auto],
            session: Options::default(),
            warm_up: Duration::from_millis(500),
            measured: Duration::from_secs(3),
            images: Vec::new(),
            assumptions: Assumptions::default(),
        }
    }
}

/// Result of a benchmark, which serialises as the JSON of `infer bench`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Benchmark {
    /// Machine and software.
    pub environment: Environment,
    /// Model file.
    pub model: Model,
    /// Time to the first result of the first combination: to load ONNX Runtime, build the session and run one pass.
    pub cold_start_ms: f64,
    /// Steps of the first combination up to the first result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_ms: Option<Start>,
    /// Measurement of each combination of device, threads and batch size.
    pub runs: Vec<Run>,
    /// Times of the steps from image files to classes.
    #[serde(rename = "pictures", default, skip_serializing_if = "Option::is_none")]
    pub images: Option<Images>,
}

/// Steps from the start to the first result, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// Time to load ONNX Runtime and the libraries of the device.
    pub library: f64,
    /// Time to build the session.
    pub session: f64,
    /// Time of the first pass.
    pub first_pass: f64,
}

/// Model file of a benchmark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Name of the file, without its folder.
    pub file: String,
    /// Size of the file, in bytes.
    pub bytes: u64,
    /// Precision, if the file has a card.
    pub precision: Option<String>,
    /// Type and shape of the input.
    pub input: String,
    /// Note that another form of the network would be faster on the first device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Measurement of one combination of device, threads and batch size.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// Execution provider, by ONNX Runtime's name.
    pub provider: String,
    /// Number of threads.
    pub threads: usize,
    /// Batch size.
    pub batch: usize,
    /// Time of the first pass of this batch size, in milliseconds: on a GPU, with the search for algorithms.
    #[serde(default)]
    pub first_pass_ms: f64,
    /// Number of passes measured.
    pub iterations: usize,
    /// Latency of a pass, in milliseconds.
    pub latency_ms: Latency,
    /// Throughput, in images per second.
    pub throughput_ips: f64,
    /// True if the measurement has neither a trend nor much noise, see [`is_stable`].
    pub stable: bool,
    /// Number of operators that each provider runs.
    pub placement: IndexMap<String, usize>,
    /// Comparison with an older measurement of the same combination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<Compared>,
    /// Time of each pass in milliseconds, in order.
    #[serde(skip)]
    pub samples: Vec<f64>,
}

/// Comparison with an older measurement of the same combination.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// Older median, in milliseconds.
    pub p50_ms: f64,
    /// New median divided by the older one; above 1 is slower.
    pub ratio: f64,
}

impl Run {
    /// Short name of the provider, `CPU`.
    pub fn device(&self) -> &str {
        short_name(&self.provider)
    }
}

impl Benchmark {
    /// Measures the model at `path`, and calls `see` before each combination.
    ///
    /// # Errors
    /// Those of [`Session::from_file`] and [`Session::run`]; [`Model`](ErrorKind::Model) when the input has a dimension
    /// without a fixed size, or the plan has images and too little is known about a model without a card;
    /// [`NothingToMeasure`](ErrorKind::NothingToMeasure) when the plan has no combination.
    pub fn run(
        path: impl AsRef<Path>,
        plan: &Plan,
        mut see: impl FnMut(Device, Option<usize>, usize),
    ) -> Result<Self> {
        let path = path.as_ref();
        let start = Instant::now();
        let mut cold_start = None;
        let mut model = None;
        let mut runs = Vec::new();
        for &device in &plan.devices {
            for &threads in &plan.threads {
                let options = plan.session.clone().device(device).threads(threads).placement(true);
                let session = Session::from_file(path, &options)?;
                let feed = Feed::new(&session, plan).map_err(|error| error.at_model(path))?;
                for &batch in &plan.batches {
                    see(device, threads, batch);
                    let input = feed.batch(batch);
                    let begun = Instant::now();
                    session.run(&input)?;
                    let first_pass_ms = milliseconds(begun);
                    cold_start
                        .get_or_insert_with(|| (milliseconds(start), Start::of(&session, first_pass_ms)));
                    let samples = passes(&session, &input, plan)?;
                    let latency_ms = Latency::of(&samples);
                    runs.push(Run {
                        provider: session.provider().into(),
                        threads: threads.unwrap_or_else(default_threads),
                        batch,
                        first_pass_ms,
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
        let Some((model, (cold_start_ms, start))) = model.zip(cold_start) else {
            return Err(ErrorKind::NothingToMeasure.into());
        };
        let images = (!plan.images.is_empty()).then(|| Images::of(path, plan, &runs)).transpose()?;
        Ok(Self {
            environment: Environment::here(plan.session.runtime.as_deref())?,
            model,
            cold_start_ms,
            start_ms: Some(start),
            runs,
            images,
        })
    }

    /// Compares each combination with the same one of an older benchmark.
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

/// Runs passes until the time is over, and returns the milliseconds of each.
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

impl Start {
    fn of(session: &Session, first_pass: f64) -> Self {
        let Startup { library, session } = session.startup();
        let [library, session] = [library, session].map(|time| 1e3 * time.as_secs_f64());
        Self { library, session, first_pass }
    }
}

impl Model {
    fn of(path: &Path, session: &Session) -> Result<Self> {
        let input = session.input();
        Ok(Self {
            file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            bytes: files::metadata(path)?.len(),
            precision: read_card(session).ok().map(|card| card.precision.to_string()),
            input: format!("{} {}", kind(input.element), describe(&input.shape)),
            note: session.note().map(str::to_owned),
        })
    }
}
