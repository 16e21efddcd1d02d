//! Flags that help after an error; the library's messages name none.

use std::error::Error;

use ferronnx_infer::data_set::DataSetError;
use ferronnx_models::checkpoint::Misfit;
use ferronnx_train::data::shards::ShardError;
use ferronnx_train::data::{DataError, ScanError};
use ferronnx_train::device::DeviceError;
use ferronnx_train::distributed::{DistributedError, LaunchError};
use ferronnx_train::export::ExportError;
use ferronnx_train::run::RunError;
use ferronnx_train::summary::SummaryError;
use ferronnx_train::trainer::TrainError;

/// Text to print after the message of `error`; empty when no flag helps.
pub fn hint(error: &anyhow::Error) -> &'static str {
    error.chain().find_map(of).unwrap_or("")
}

fn of(error: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(error) = error.downcast_ref() {
        return run(error);
    }
    if let Some(error) = error.downcast_ref() {
        return export(error);
    }
    if let Some(ScanError::DataSet(DataSetError::SeveralLabels { .. } | DataSetError::NoLabel(_))) =
        error.downcast_ref()
    {
        return Some("; --multi-label trains on any number of labels an image");
    }
    if let Some(ShardError::SeveralLabels(_)) = error.downcast_ref() {
        return Some("; --multi-label trains on any number of labels an image");
    }
    if let Some(Misfit::Beside { .. }) = error.downcast_ref() {
        return Some("; if it computes nothing with them, name them: --leave-out PATTERN");
    }
    if let Some(DistributedError::Missing { .. } | DistributedError::Unreachable { .. }) =
        error.downcast_ref()
    {
        return Some("; --join-timeout SECONDS waits longer");
    }
    if let Some(LaunchError::Missing { .. }) = error.downcast_ref() {
        return Some("; to train alone, unset the variables and use --distributed off");
    }
    match (error.downcast_ref(), error.downcast_ref(), error.downcast_ref()) {
        (Some(SummaryError::Size { .. }), ..) => Some(": choose another --image-size"),
        (_, Some(error), _) => train(error),
        (.., Some(error)) => data(error),
        _ => error.is::<DeviceError>().then_some("; --device cpu trains on the CPU"),
    }
}

fn run(error: &RunError) -> Option<&'static str> {
    match error {
        RunError::Exists(_) => Some(": choose another --out, or remove it"),
        RunError::TooFew { .. } => Some(", or raise --limit"),
        RunError::Data(error) => data(error),
        RunError::Pretrained { source, .. } if source.is_for_gray_images() => {
            Some("; --channels gray trains a network of one channel")
        }
        RunError::Train { source, .. } => train(source),
        _ => None,
    }
}

fn train(error: &TrainError) -> Option<&'static str> {
    match error {
        TrainError::Data(error) => data(error),
        TrainError::Unrecorded(_) => Some("; --no-graphs trains without"),
        TrainError::OutOfMemory { precision, .. } if precision == "float32" => {
            Some(": lower --batch-size, or train in mixed precision with --amp")
        }
        TrainError::OutOfMemory { .. } => Some(": lower --batch-size, or --image-size"),
        _ => None,
    }
}

fn export(error: &ExportError) -> Option<&'static str> {
    match error {
        ExportError::Unfolded => Some(": leave out --no-fold"),
        ExportError::NoCalibration => Some(": a run's training images, or --calibration DIR"),
        ExportError::Disagrees { .. } => {
            Some("; int8: try --ranges percentile, or allow more with --tolerance X")
        }
        ExportError::Head(_) => Some(": leave out --features and --explain-outputs"),
        ExportError::NoLabels => Some(": name class folders with --images"),
        _ => None,
    }
}

fn data(error: &DataError) -> Option<&'static str> {
    matches!(error, DataError::Images(_)).then_some("\n--skip-bad leaves them out (with --resume too)")
}
