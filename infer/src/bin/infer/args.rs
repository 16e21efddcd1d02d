//! What users type.

use std::env;
use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use ferronnx_infer::Device;
use ferronnx_infer::assume::{Assumptions, parse_channels, read_labels};
use ferronnx_infer::attention::Attention;
use ferronnx_infer::device::CudaOptions;
use ferronnx_infer::session::Options;

/// Runs exported image classifiers on ONNX Runtime.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure how fast a model runs here
    #[command(after_help = BENCH_HELP)]
    Bench(BenchArgs),
    /// Say what is in images
    #[command(after_help = CLASSIFY_HELP)]
    Classify(ClassifyArgs),
    /// Say what a model is worth on images whose classes are known
    #[command(after_help = EVALUATE_HELP)]
    Evaluate(EvaluateArgs),
    /// Show where the network looked in an image, by its own spatial attention
    #[command(after_help = EXPLAIN_HELP)]
    Explain(ExplainArgs),
    /// Say what is in a model: card, inputs, outputs, operators, sizes
    #[command(after_help = INSPECT_HELP)]
    Inspect(InspectArgs),
    /// Check that a model is what was exported, and computes the same on this machine
    #[command(after_help = VERIFY_HELP)]
    Verify(VerifyArgs),
    /// Print completions for a shell
    #[command(after_help = COMPLETIONS_HELP)]
    Completions(CompletionsArgs),
}

const BENCH_HELP: &str = "\
Examples:
  infer bench
  infer bench --batch 1,8,32 --threads 1,2 --report bench.html
  infer bench --images photos --format json > bench.json
  infer bench --compare bench.json --fail-above 1.1

A pass takes a batch that is ready and gives the logits. It is stable if the medians of the first and the second half of \
all passes are within 5 % of each other, and the middle half of them within 10 % of the median.

Exit codes:
  0  measured
  1  measured, and slower than --fail-above allows
  2  nothing could be measured";

/// Arguments of `infer bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The model and the library.
    #[command(flatten)]
    pub files: FileArgs,

    /// Images that go through the network together, several after commas
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,8", value_parser = at_least_one(4096))]
    pub batch: Vec<usize>,

    /// Threads of the network, several after commas [default: one per core]
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = at_least_one(1024))]
    pub threads: Vec<usize>,

    /// Where the network runs: auto, cpu, cuda or cuda:N, several after commas
    #[arg(long, value_delimiter = ',', default_value = "auto")]
    pub device: Vec<Device>,

    /// How it runs there.
    #[command(flatten)]
    pub engine: EngineArgs,

    /// Images to run on, whose decoding and preprocessing is measured too [default: numbers]
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,

    /// The model of --images, if it has no card.
    #[command(flatten)]
    pub assume: AssumeArgs,

    /// Seconds that each combination is measured
    #[arg(long, value_name = "S", default_value_t = 3.0, value_parser = seconds)]
    pub seconds: f64,

    /// Seconds that each combination runs before
    #[arg(long, value_name = "S", default_value_t = 0.5, value_parser = seconds)]
    pub warm_up: f64,

    /// Form of the result on standard output
    #[arg(long, value_enum, default_value_t)]
    pub format: BenchFormat,

    /// A page with plots of latency, throughput and distribution
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,

    /// What `--format json` gave earlier: shows each median as a multiple of that
    #[arg(long, value_name = "FILE.json")]
    pub compare: Option<PathBuf>,

    /// End with 1 when a median is more than this multiple of the earlier one
    #[arg(long, value_name = "RATIO", requires = "compare", value_parser = not_negative)]
    pub fail_above: Option<f64>,
}

/// What is known of a model that another tool made.
#[derive(Debug, Args)]
#[command(next_help_heading = "Models without a card, made by other tools")]
pub struct AssumeArgs {
    /// Names of the classes, one a line [default: the file's `names`]
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,

    /// Height and width of the input [default: its shape's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub image_size: Option<u32>,

    /// An image's shorter side before the centre is cut out [default: the size below 64, else 256/224 of it]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8192))]
    pub resize: Option<u32>,

    /// Mean per channel, in [0, 1]
    #[arg(long, value_name = "R,G,B", value_parser = parse_channels, allow_hyphen_values = true)]
    pub mean: Option<[f32; 3]>,

    /// Standard deviation per channel, in [0, 1]
    #[arg(long, value_name = "R,G,B", value_parser = parse_channels)]
    pub std: Option<[f32; 3]>,
}

impl AssumeArgs {
    /// All of it, the labels read.
    pub fn assumptions(&self) -> ferronnx_infer::Result<Assumptions> {
        let labels = self.labels.as_deref().map(read_labels).transpose()?;
        let &Self { image_size, resize, mean, std, .. } = self;
        Ok(Assumptions { labels, image_size, resize, mean, std })
    }
}

const CLASSIFY_HELP: &str = "\
Examples:
  infer classify cat.jpg
  infer classify photos/ --top-k 1 --format csv > photos.csv
  infer classify photos/ --format jsonl | jq -r '[.path, .predictions[0].label] | @tsv'
  curl -s https://example.org/cat.jpg | infer classify - --model cats.onnx

Exit codes:
  0  all images were classified
  1  some could not be, the others were
  2  nothing could be done";

/// Arguments of `infer classify`.
#[derive(Debug, Args)]
pub struct ClassifyArgs {
    /// Images; a folder stands for the images in it and in its folders, `-` for one on standard input
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// The model and where it runs.
    #[command(flatten)]
    pub model: ModelArgs,

    /// The model, if it has no card.
    #[command(flatten)]
    pub assume: AssumeArgs,

    /// Classes to show for each image; all, if the model has fewer
    #[arg(long, value_name = "N", default_value = "5", value_parser = at_least_one(u64::MAX))]
    pub top_k: usize,

    /// Form of the results on standard output
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,

    /// Images that go through the network together
    #[arg(long, value_name = "N", default_value = "8", value_parser = at_least_one(4096))]
    pub batch: usize,
}

const EVALUATE_HELP: &str = "\
Examples:
  infer evaluate --data photos
  infer evaluate --data photos --report report.html
  infer evaluate --data photos --format json | jq .accuracy

Exit codes:
  0  all images were classified
  1  some could not be, the others were
  2  nothing could be done";

/// Arguments of `infer evaluate`.
#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// Images by class, DIR/CLASS/*.jpg; those of DIR/test or DIR/val if there is one
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,

    /// The model and where it runs.
    #[command(flatten)]
    pub model: ModelArgs,

    /// The model, if it has no card.
    #[command(flatten)]
    pub assume: AssumeArgs,

    /// Form of the result on standard output
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,

    /// A page with the confusion matrix and the most confident mistakes
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,

    /// Images that go through the network together
    #[arg(long, value_name = "N", default_value = "8", value_parser = at_least_one(4096))]
    pub batch: usize,
}

const EXPLAIN_HELP: &str = "\
Examples:
  infer explain cat.jpg -o overlay.png

The model has to be exported with `train export --attention-outputs`. The panels show what the network saw of the \
image: as it is, under the mask of each stage from its least value (dark) to its greatest (bright), and under the \
mean of all stages.";

/// Arguments of `infer explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The image
    #[arg(value_name = "PHOTO")]
    pub photo: PathBuf,

    /// The image to write: .png, .jpg, .webp, .bmp, .tiff or .gif
    #[arg(short, long, value_name = "FILE", default_value = "overlay.png")]
    pub output: PathBuf,

    /// The model and where it runs.
    #[command(flatten)]
    pub model: ModelArgs,

    /// Form of what is said on standard output
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
}

const INSPECT_HELP: &str = "\
Examples:
  infer inspect
  infer inspect --model photos.onnx --device cuda
  infer inspect --format json | jq -r '.card.labels[]'

What is in the file is said even where it cannot run; what says where it runs is then the reason.";

/// Arguments of `infer inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The model and where it runs.
    #[command(flatten)]
    pub model: ModelArgs,

    /// Form of the result on standard output
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
}

const VERIFY_HELP: &str = "\
Examples:
  infer verify
  infer verify --model photos.onnx --device cuda
  infer verify --model photos.onnx --format json | jq .holds

The certificate inside the file holds images, and what libtorch made of them when the file was exported. All of it \
is computed again here: digests of weights, labels and preprocessing, decoding and resizing, the network.

Exit codes:
  0  the file is what was exported, and computes the same here
  1  it is not, or does not
  2  nothing could be checked";

/// Arguments of `infer verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The model and where it runs.
    #[command(flatten)]
    pub model: ModelArgs,

    /// Largest difference of a logit, relative to the largest [default: the certificate's]
    #[arg(long, value_name = "X", value_parser = not_negative)]
    pub tolerance: Option<f64>,

    /// Form of the result on standard output
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
}

const COMPLETIONS_HELP: &str = "\
Examples:
  infer completions bash > /etc/bash_completion.d/infer
  infer completions zsh > ~/.zfunc/_infer
  infer completions fish > ~/.config/fish/completions/infer.fish";

/// Arguments of `infer completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// The model and where it runs.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// The files.
    #[command(flatten)]
    pub files: FileArgs,

    /// Where the network runs: auto, cpu, cuda or cuda:N; only auto falls back to the CPU
    #[arg(long, default_value_t)]
    pub device: Device,

    /// Threads of the network and for decoding [default: one per core]
    #[arg(long, value_name = "N", value_parser = at_least_one(1024))]
    pub threads: Option<usize>,

    /// How it runs there.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// How a model runs on its device.
#[derive(Debug, Args)]
pub struct EngineArgs {
    /// How CBAM is computed on the CPU: fused (one operator, where the file has exactly that) or stock
    #[arg(long, value_name = "HOW", default_value_t)]
    pub attention: Attention,

    /// Let the network's threads sleep while they wait for work, as they always do beside decoding
    #[arg(long)]
    pub no_spinning: bool,

    /// What is particular to GPUs.
    #[command(flatten)]
    pub cuda: CudaArgs,
}

impl EngineArgs {
    /// A session's options, but for device and threads.
    pub fn options(&self, files: &FileArgs) -> Options {
        Options {
            runtime: files.ort_lib.clone(),
            attention: self.attention,
            without_spinning: self.no_spinning,
            cuda: self.cuda.options(),
            ..Options::default()
        }
    }
}

/// What is particular to GPUs.
#[derive(Debug, Args)]
#[command(next_help_heading = "GPUs (these options are not run on one yet)")]
pub struct CudaArgs {
    /// Most memory of the GPU to use, in MB
    #[arg(long, value_name = "MB", value_parser = at_least_one(1 << 24))]
    pub gpu_memory: Option<usize>,

    /// Compute with all bits of 32-bit floats, not with the 10 of TensorFloat-32
    #[arg(long)]
    pub no_tf32: bool,

    /// Record a CUDA graph for each size of batch, and replay it
    #[arg(long)]
    pub cuda_graphs: bool,
}

impl CudaArgs {
    /// As a session takes them.
    pub fn options(&self) -> CudaOptions {
        CudaOptions {
            memory_limit: self.gpu_memory.map(|megabytes| megabytes * 1_000_000),
            full_precision: self.no_tf32,
            graphs: self.cuda_graphs,
        }
    }
}

/// The model and the library.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// The model [default: $INFER_MODEL, else ./model.onnx]
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,

    /// ONNX Runtime's library or its folder [default: $ORT_DYLIB_PATH, beside the program, .native/]
    #[arg(long, value_name = "PATH")]
    pub ort_lib: Option<PathBuf>,
}

impl FileArgs {
    /// The model that the user chose.
    pub fn chosen_model(&self) -> Option<PathBuf> {
        let variable = || env::var_os("INFER_MODEL").filter(|path| !path.is_empty());
        self.model.clone().or_else(|| variable().map(PathBuf::from))
    }

    /// The model's file, chosen or not.
    pub fn path(&self) -> PathBuf {
        self.chosen_model().unwrap_or_else(|| "model.onnx".into())
    }
}

impl ModelArgs {
    /// The model's file, chosen or not.
    pub fn path(&self) -> PathBuf {
        self.files.path()
    }

    /// How its session is built.
    pub fn options(&self) -> Options {
        Options { device: self.device, threads: self.threads, ..self.engine.options(&self.files) }
    }
}

/// Form of the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// One array with an object per image
    Json,
    /// An object per line, as soon as it is known
    Jsonl,
    /// A row per image and class
    Csv,
}

/// Form of a report about one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ReportFormat {
    /// For people
    #[default]
    Text,
    /// One object
    Json,
}

/// Form of a benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum BenchFormat {
    /// For people
    #[default]
    Table,
    /// One object
    Json,
    /// A row per combination
    Csv,
    /// A table for documents
    Markdown,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.0..=86_400.0).contains(&number) => Ok(number),
        _ => Err("expected seconds, as 0.5".into()),
    }
}

fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.0..f64::INFINITY).contains(&number) => Ok(number),
        _ => Err("expected a number that is not negative, as 1e-3".into()),
    }
}

fn at_least_one(most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=most)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
