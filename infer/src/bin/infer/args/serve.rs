//! Arguments of `infer serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ferronnx_infer::model_spec::ModelSpec;
use ferronnx_infer::serve::{LoadOptions, ServeOptions, TlsFiles};
use tracing::level_filters::LevelFilter;

use super::{AssumeArgs, ModelArgs, at_least_one, not_negative, seconds};

/// Examples and notes below the help.
pub(super) const HELP: &str = "\
Examples:
  infer serve
  infer serve photos.onnx --listen 0.0.0.0:8000 --api-key-file keys.txt
  infer serve cats=cats.onnx dogs:1=dogs.onnx dogs:2=dogs-new.onnx
  curl --data-binary @photo.jpg http://127.0.0.1:8000/v1/classify
  curl -F a=@a.jpg -F b=@b.png 'http://127.0.0.1:8000/v1/classify?top_k=1'

The server speaks the Open Inference Protocol (KServe, Triton) over HTTP and gRPC, and has a page for browsers at /. A model \
is served when its certificate holds on this device. A model file that is replaced, best by a rename, is verified and takes \
over between two passes; SIGHUP looks at once, and reads API keys and the certificate of TLS again. SIGTERM answers what was accepted and ends.

Exit codes:
  0  stopped by a signal, everything that was accepted was answered
  1  stopped by a signal, some images were not answered within --drain
  2  could not be started";

/// Arguments of `infer serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Models to serve; names are the files' and versions 1 by default [default: --model]
    #[arg(value_name = "[NAME[:VERSION]=]MODEL", conflicts_with = "model")]
    pub models: Vec<ModelSpec>,

    /// Address to listen on; 0.0.0.0:8000 for all networks, port 0 for a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8000", value_parser = address)]
    pub listen: SocketAddr,

    /// Most images in a pass of the network
    #[arg(long, value_name = "N", default_value_t = LoadOptions::default().max_batch, value_parser = at_least_one(4096))]
    pub max_batch: usize,

    /// Time that a batch which is not full waits for more, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0.0, value_parser = milliseconds)]
    pub max_delay: f64,

    /// Most images that are accepted and not answered yet; more are refused with 429
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_least_one(1 << 20))]
    pub queue: usize,

    /// Sessions of each model, which share the threads
    #[arg(long, value_name = "K", default_value_t = LoadOptions::default().sessions, value_parser = at_least_one(256))]
    pub sessions: usize,

    /// Time to answer what was accepted after SIGTERM, in seconds
    #[arg(long, value_name = "S", default_value_t = 30.0, value_parser = seconds)]
    pub drain: f64,

    /// Time after which a request is given up, in seconds
    #[arg(long, value_name = "S", default_value_t = 30.0, value_parser = some_seconds)]
    pub timeout: f64,

    /// Certificate chain for TLS, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// Private key for TLS, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// File with API keys, one a line, comments after #; all requests but health and the page then need one
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,

    /// Serve models without a certificate, which other tools made
    #[arg(long)]
    pub allow_uncertified: bool,

    /// Largest difference of a logit to allow, relative to the largest [default: by precision and arithmetic]
    #[arg(long, value_name = "X", value_parser = not_negative)]
    pub tolerance: Option<f64>,

    /// Largest request, in MB
    #[arg(long, value_name = "MB", default_value_t = 32, value_parser = at_least_one(1024))]
    pub max_body: usize,

    /// Largest image, in millions of pixels
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_least_one(170))]
    pub max_megapixels: usize,

    /// Format of the log on standard error
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub log: LogFormat,

    /// Least severe events to log: requests are `info`; off, error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value_t = LevelFilter::INFO)]
    pub log_level: LevelFilter,

    /// Model without a name, and the device.
    #[command(flatten)]
    pub model: ModelArgs,

    /// Facts about models without a card.
    #[command(flatten)]
    pub assume: AssumeArgs,
}

/// Format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// Text for people
    #[default]
    Text,
    /// JSON object per line
    Json,
}

impl ServeArgs {
    /// Converts the arguments to options of a server.
    ///
    /// # Errors
    /// A model whose file gives no name, or labels that cannot be read.
    pub fn options(&self) -> anyhow::Result<ServeOptions> {
        let models = match self.models.is_empty() {
            true => vec![ModelSpec::of_file(self.model.path())?],
            false => self.models.clone(),
        };
        let mut options = ServeOptions::new(models);
        options.load.session = self.model.options().spinning(false);
        options.load.assume = self.assume.assumptions()?;
        options.load.tolerance = self.tolerance;
        options.load.allow_uncertified = self.allow_uncertified;
        options.load.max_batch = self.max_batch;
        options.load.max_delay = Duration::from_secs_f64(self.max_delay / 1e3);
        options.load.sessions = self.sessions;
        options.load.max_pixel_bytes = 3 * 1_000_000 * self.max_megapixels as u64;
        options.listen = self.listen;
        options.queue = self.queue;
        options.max_body = self.max_body * 1_000_000;
        options.timeout = Duration::from_secs_f64(self.timeout);
        options.api_keys = self.api_key_file.clone();
        if let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) {
            options.tls = Some(TlsFiles { certificate: certificate.clone(), key: key.clone() });
        }
        Ok(options)
    }
}

/// Parses an address and a port.
fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "expected an IP address and a port, as 127.0.0.1:8000, 0.0.0.0:8000 or [::1]:8000".into()
    })
}

/// Parses a duration in seconds that is not zero.
fn some_seconds(text: &str) -> Result<f64, String> {
    match seconds(text)? {
        0.0 => Err("expected more than 0 seconds, as 0.5".into()),
        some => Ok(some),
    }
}

/// Parses a delay in milliseconds.
fn milliseconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.0..=10_000.0).contains(&number) => Ok(number),
        _ => Err("expected milliseconds up to 10000, as 2.5".into()),
    }
}
