//! Messages on standard error: errors, warnings and progress.
//!
//! Standard error may be closed, so nothing here fails for that.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use ferronnx_infer::Error;
use ferronnx_infer::assume::{Assumed, InterfaceError, NormalizationError};
use ferronnx_infer::error::{DeviceError, ErrorKind, ModelError, SessionError, chain};
use ferronnx_infer::escape;
use ferronnx_infer::results::Failed;
use ferronnx_infer::runtime::IS_RELEASE;
use ferronnx_models::card::PreprocessingError;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::exit::Done;

/// Prints `LEVEL: TEXT` on standard error, escaped for terminals.
pub fn line(level: &str, text: impl Display) {
    note(format_args!("{level}: {text}"));
}

/// Prints `TEXT` on standard error, escaped for terminals.
pub fn note(text: impl Display) {
    let _ = writeln!(io::stderr(), "{}", escape::text(&text.to_string()));
}

/// Words a note on a form of the network that would be faster, followed by the command that makes it.
pub fn faster(note: &str) -> String {
    format!("{note} (`train export --precision fp16`)")
}

/// Words an error of the library with its causes, followed by the flag or the command that helps.
pub fn words(error: &Error) -> String {
    let text = match error.kind() {
        ErrorKind::Device { device, source } => format!("--device {device}: {}", chain(source)),
        _ => chain(error),
    };
    match advice(error.kind()) {
        Some(advice) => format!("{text}: {advice}"),
        None => text,
    }
}

/// Words any error with its causes, followed by what helps if the library reports one of its own.
pub fn with_advice(error: &anyhow::Error) -> String {
    let ours = error.chain().find_map(|cause| cause.downcast_ref::<Error>());
    match ours.and_then(|error| advice(error.kind())) {
        Some(advice) => format!("{error:#}: {advice}"),
        None => format!("{error:#}"),
    }
}

/// Flag or command that helps against an error.
fn advice(error: &ErrorKind) -> Option<&'static str> {
    Some(match error {
        ErrorKind::Runtime(_) if IS_RELEASE => {
            "unpack the archive again with `lib` beside `bin`, or choose one by `--ort-lib` or ORT_DYLIB_PATH"
        }
        ErrorKind::Runtime(_) => {
            "`cargo xtask setup` brings a suitable one, `--ort-lib` and ORT_DYLIB_PATH choose one"
        }
        ErrorKind::Device { source: DeviceError::NoProvider | DeviceError::MissingLibrary(_), .. }
            if IS_RELEASE =>
        {
            "the archive whose name ends in -cuda says which libraries to install; or use --device cpu"
        }
        ErrorKind::Device { source: DeviceError::NoProvider, .. } => {
            "install the CUDA form with `cargo xtask setup --cuda`, or use --device cpu"
        }
        ErrorKind::Device { source: DeviceError::MissingLibrary(_), .. } => {
            "install it with `cargo xtask setup --cuda`, or use --device cpu"
        }
        ErrorKind::Device { source: DeviceError::NoSuchGpu(_), .. } => "choose another, or use --device cpu",
        ErrorKind::Device { source: DeviceError::MemoryLimit(_), .. } => {
            "raise --gpu-memory, or use --device cpu"
        }
        ErrorKind::Device { source: DeviceError::OutOfMemory(_), .. } => {
            "end what else uses it, or use --device cpu"
        }
        ErrorKind::Device { .. } => "or use --device cpu",
        ErrorKind::Session(SessionError::Device(DeviceError::MemoryLimit(_))) => {
            "raise --gpu-memory, or choose a smaller batch with --batch (serve: --max-batch)"
        }
        ErrorKind::Session(SessionError::Device(DeviceError::OutOfMemory(_))) => {
            "choose a smaller batch with --batch (serve: --max-batch), or end what else uses the device"
        }
        ErrorKind::Session(SessionError::Device(_)) => "or use --device cpu",
        ErrorKind::Model(ModelError::NoLabels) => "name them with --labels FILE, one a line",
        ErrorKind::Model(ModelError::Unusable(unusable)) => match unusable.what {
            "labels" => "name the classes with --labels FILE, one a line",
            "image-size" => "choose with --image-size N or HxW",
            "fit" => "choose with --fit crop, squash or letterbox, and with --resize",
            "interpolation" => "choose with --interpolation",
            "channels" => "choose with --channels rgb, bgr or gray",
            _ => "give --mean and --std, and --scale 1 or --scale 255",
        },
        ErrorKind::Model(ModelError::Interface(error)) => interface(error)?,
        ErrorKind::Model(ModelError::Normalization(error)) => normalization(error),
        ErrorKind::Model(ModelError::Meaning { .. }) => {
            "say how with --activation softmax, sigmoid or none (for probabilities)"
        }
        ErrorKind::Model(ModelError::Preprocessing(PreprocessingError::Crop { .. })) => {
            "choose a --resize of at least the image size"
        }
        ErrorKind::Model(ModelError::Threshold) => "leave --threshold out, or choose --activation sigmoid",
        ErrorKind::Model(ModelError::Assumed) => {
            "leave out the flags for models without a card: --labels, --image-size, --resize, --fit, \
             --interpolation, --layout, --channels, --scale, --mean, --std, --activation"
        }
        ErrorKind::Model(ModelError::NoFeatures(_)) => {
            "`train export --features` adds them to a network that ends in a global pool and a linear layer"
        }
        ErrorKind::Model(ModelError::NoMasks) => {
            "export it with `train export --attention-outputs`, or with --explain-outputs for class activation maps"
        }
        ErrorKind::Model(ModelError::NoFeatureMaps) => "export it with `train export --explain-outputs`",
        _ => return None,
    })
}

/// Flag that helps where images cannot be prepared for an input.
fn interface(error: &InterfaceError) -> Option<&'static str> {
    Some(match error {
        InterfaceError::Layout { .. } => "choose with --layout nchw or --layout nhwc",
        InterfaceError::Size { .. } => "choose with --image-size N or HxW",
        InterfaceError::Contradiction { .. } => "leave it out, or correct it",
        _ => return None,
    })
}

/// Flag that helps where the normalisation is not known.
fn normalization(error: &NormalizationError) -> &'static str {
    match error {
        NormalizationError::Bytes => "leave --mean and --std out",
        NormalizationError::Range { .. } => {
            "give --mean and --std for the same values, and say which with --scale 1 or --scale 255"
        }
        _ => {
            "give --mean and --std (for ImageNet's, 0.485,0.456,0.406 and 0.229,0.224,0.225), or only --scale 1 for \
             values from 0 to 1 or --scale 255 for values from 0 to 255"
        }
    }
}

/// Lists what was assumed about a model without a card.
pub fn assumed(assumed: &[Assumed]) {
    assumptions(assumed).iter().for_each(note);
}

/// Lines that list what was assumed about a model without a card; none if nothing was.
pub fn assumptions(assumed: &[Assumed]) -> Vec<String> {
    let width = assumed.iter().map(|one| one.what.len()).max().unwrap_or(0);
    let one = |one: &Assumed| format!("  {:width$}  {} ({})", one.what, one.text(), one.source);
    let mut lines: Vec<_> = assumed.iter().map(one).collect();
    if !lines.is_empty() {
        lines.insert(0, "the model has no card, so this is assumed:".into());
    }
    lines
}

/// Creates a progress bar over `images` on standard error; hidden when that is not a terminal.
///
/// With `results` on a terminal it is hidden too: it would stand in their midst.
pub fn progress(images: usize, results: bool) -> ProgressBar {
    if images < 2 || results && io::stdout().is_terminal() || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} images, {per_sec}, {eta} left");
    let bar = ProgressBar::with_draw_target(Some(images as u64), ProgressDrawTarget::stderr());
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Reports an image that failed, above the progress bar.
pub fn failed(progress: &ProgressBar, failed: &Failed) {
    let advice = advice(failed.error.kind()).map_or_else(String::new, |advice| format!(": {advice}"));
    let text = format!("{}: {}{advice}", escape::path(&failed.path), failed.error.reason());
    progress.suspend(|| line("error", text));
}

/// Checks, before long work, that the page of `--report` has a folder to lie in.
#[cfg(feature = "report")]
pub fn check_page(path: Option<&std::path::PathBuf>) -> anyhow::Result<()> {
    use anyhow::Context;
    let Some(path) = path else { return Ok(()) };
    let cannot_write = || format!("cannot write --report {}", path.display());
    ferronnx_models::files::folder_of(path).map(|_| ()).with_context(cannot_write)
}

/// Writes the HTML page of `--report` and reports its path.
#[cfg(feature = "report")]
pub fn write_page(path: &std::path::Path, page: &str) -> anyhow::Result<()> {
    use anyhow::Context;
    ferronnx_models::files::write_atomically(path, |out| out.write_all(page.as_bytes()))
        .with_context(|| format!("cannot write --report {}", path.display()))?;
    note(format_args!("report: {}", path.display()));
    Ok(())
}

/// Makes a panic in any thread end the program with one line; it is always a bug of ours.
///
/// A panic while an image is decoded is an error of that image only.
pub fn one_line_panics() {
    on_panics(|| std::process::exit(Done::Nothing.code().into()));
}

/// Makes a panic one line, after which the program goes on: a server loses one request.
#[cfg(feature = "serve")]
pub fn panics_end_one_request() {
    on_panics(|| {});
}

fn on_panics(then: impl Fn() + Send + Sync + 'static) {
    std::panic::set_hook(Box::new(move |panic| {
        if ferronnx_infer::decode::is_guarded() {
            return;
        }
        let message = panic.payload_as_str().unwrap_or("unknown");
        let place = panic.location().map(|place| format!(" ({}:{})", place.file(), place.line()));
        let place = place.unwrap_or_default();
        line("error", format_args!("internal error: {message}{place}: please report it"));
        then();
    }));
}

/// Tells whether an error means that the reader of our output has gone.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let is_closed = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    error.chain().any(is_closed)
}
