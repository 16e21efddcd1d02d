//! Flags that help after an error; the library's messages name none.

use std::error::Error;

use ferronnx_train::data::BadImages;
use ferronnx_train::device::DeviceError;
use ferronnx_train::export::ExportError;
use ferronnx_train::run::RunError;
use ferronnx_train::summary::SummaryError;

/// Text to print after the message of `error`; empty when no flag helps.
pub fn hint(error: &anyhow::Error) -> &'static str {
    error.chain().find_map(of).unwrap_or("")
}

fn of(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let run = error.downcast_ref().and_then(|error| match error {
        RunError::Exists(_) => Some(": choose another --out, or remove it"),
        RunError::TooFew { .. } => Some(", or raise --limit"),
        RunError::Data(error) => images(error),
        RunError::Train { source: ferronnx_train::trainer::TrainError::Data(error), .. } => images(error),
        _ => None,
    });
    let export = error.downcast_ref().and_then(|error| match error {
        ExportError::Unfolded => Some(": leave out --no-fold"),
        ExportError::NoCalibration => Some(": a run's training images, or --calibration DIR"),
        _ => None,
    });
    let device = error.is::<DeviceError>().then_some(", or use --device cpu");
    let size = matches!(error.downcast_ref(), Some(SummaryError::Size { .. }))
        .then_some(": choose another --image-size");
    let bad = error.is::<BadImages>().then_some(SKIP_BAD);
    run.or(export).or(device).or(size).or(bad)
}

/// Way out of images that cannot be decoded.
const SKIP_BAD: &str = "\n--skip-bad leaves them out (with --resume too)";

fn images(error: &ferronnx_train::data::DataError) -> Option<&'static str> {
    matches!(error, ferronnx_train::data::DataError::Images(_)).then_some(SKIP_BAD)
}
