//! Command `infer inspect`: shows the content of a model.

use std::io::{self, Write};

use anyhow::{Context, Result};
use ferronnx_infer::escape;
use ferronnx_infer::inspect::Inspection;
use ferronnx_models::card::{
    Activation, CalibrationErrors, CentreRounding, Fit, ModelCard, Preprocessing, ResizeFilter,
    TemperatureScaling, Threshold,
};
use ferronnx_models::onnx::fuse::{Fusion, Kind, Rejected};
use ferronnx_models::onnx::{Port, Stored};
use ferronnx_report::text;
use indexmap::IndexMap;
use serde_json::Value;

use super::model;
use crate::args::{InspectArgs, ReportFormat};
use crate::exit::Done;
use crate::messages;

/// Number of labels to name; the others are counted.
const LABELS: usize = 12;

/// Prints the content of the model and where it would run.
pub fn run(args: &InspectArgs) -> Result<Done> {
    let (files, options) = (args.model.files.or(args.file.as_deref()), args.model.options());
    let found = model::load(&files, |path| Inspection::of_file(path, &options))?;
    if let Some(warning) = &found.warning {
        messages::line("warning", warning);
    }
    let text = match args.format {
        ReportFormat::Text => lines(&files.path().display().to_string(), &found),
        ReportFormat::Json => serde_json::to_string_pretty(&found)?,
    };
    writeln!(io::stdout(), "{text}").context("standard output")?;
    match &found.no_session {
        Some(error) => {
            messages::line("error", format_args!("it does not run here: {}", messages::words(error)));
            Ok(Done::Some)
        }
        None => Ok(Done::All),
    }
}

fn lines(file: &str, found: &Inspection) -> String {
    let Inspection { graph, .. } = found;
    let mut fields = vec![("model", format!("{file} ({})", megabytes(found.bytes)))];
    let producer = if graph.producer.is_empty() { "unknown" } else { &graph.producer };
    let opsets: Vec<_> = graph.opsets.iter().map(|(domain, version)| format!("{domain} {version}")).collect();
    fields.push(("written by", producer.into()));
    fields.push(("opset", format!("{}, IR {}", opsets.join(", "), graph.ir_version)));
    fields.extend(graph.inputs.iter().map(|input| ("input", port(input))));
    fields.extend(graph.outputs.iter().map(|output| ("output", port(output))));
    let weights = |(kind, stored): (&String, &Stored)| {
        format!("{} of {kind} ({} tensors)", megabytes(stored.bytes), stored.tensors)
    };
    let weights: Vec<_> = graph.weights.iter().map(weights).collect();
    fields.push(("parameters", graph.parameters.to_string()));
    fields.push(("weights", weights.join(", ")));
    let operators: Vec<_> =
        graph.operators.iter().map(|(operator, count)| format!("{count} {operator}")).collect();
    fields.push(("operators", format!("{}: {}", graph.nodes, operators.join(", "))));
    let runs = |placement: &IndexMap<String, usize>| {
        let on = placement.iter().map(|(provider, nodes)| format!("{nodes} operators on {provider}"));
        on.collect::<Vec<_>>().join(", ")
    };
    fields.push(("runs on", found.placement.as_ref().map_or_else(|| "nothing here".into(), runs)));
    let on_gpu =
        |placement: &IndexMap<String, usize>| placement.keys().any(|provider| provider.starts_with("CUDA"));
    if let Some(graphs) = found.cuda_graphs.as_ref().filter(|_| found.placement.as_ref().is_some_and(on_gpu))
    {
        fields.push(("CUDA graphs", graphs.clone()));
    }
    if let Some(note) = &found.note {
        fields.push(("note", messages::faster(note)));
    }
    if let Some(Fusion { fused, rejected, kept }) = &found.attention {
        let ways =
            [(fused, "by one operator each"), (kept, "by ONNX Runtime's operators, which are as fast")];
        for (recognised, way) in ways {
            for kind in Kind::ALL {
                let count = recognised.iter().filter(|recognised| recognised.kind == kind).count();
                if count > 0 {
                    fields.push(("attention", format!("{count} of {kind} {way}")));
                }
            }
        }
        let rejected = rejected.iter().map(|Rejected { node, kind, reason }| {
            ("attention", format!("{node} looks like {kind} and is left as it is: {reason}"))
        });
        fields.extend(rejected);
    }
    match (&found.card, &found.no_card) {
        (Some(card), _) => fields.extend(card_fields(card)),
        (None, reason) => {
            fields.push(("card", reason.clone().unwrap_or_default()));
        }
    }
    for assumed in found.assumed.iter().flatten() {
        fields.push(("assumed", format!("{} {} ({})", assumed.what, assumed.text(), assumed.source)));
    }
    if let Some(error) = &found.unknown {
        fields.push(("unknown", messages::words(error)));
    }
    let certificate = if found.certificate { "yes: `infer verify` recomputes it" } else { "none" };
    fields.push(("certificate", certificate.into()));
    let escaped = |(name, value): (_, String)| (name, escape::name(&value).into_owned());
    text::fields(&fields.into_iter().map(escaped).collect::<Vec<_>>())
}

fn card_fields(card: &ModelCard) -> Vec<(&'static str, String)> {
    let ModelCard { labels, preprocessing, training, provenance, .. } = card;
    let more = match labels.len().saturating_sub(LABELS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = labels.iter().take(LABELS).map(String::as_str).collect::<Vec<_>>().join(", ");
    let mut fields = vec![
        ("classes", format!("{}: {named}{more}", labels.len())),
        ("images", steps(preprocessing)),
        ("precision", card.precision.to_string()),
    ];
    if card.activation != Activation::default() || card.is_multi_label() {
        let threshold = described(&card.threshold.clone().unwrap_or_default());
        let several = format!(", several labels an image, selected from {threshold} on");
        let several = if card.is_multi_label() { several.as_str() } else { "" };
        fields.push(("activation", format!("{}{several}", card.activation)));
    }
    if !card.architecture.is_null() {
        fields.push(("architecture", flat(&card.architecture)));
    }
    if let Some(training) = training {
        let (name, validation, test) = match training.validation_map {
            Some(map) => ("mAP ", map, training.test_map),
            None => ("", training.validation_accuracy, training.test_accuracy),
        };
        let tested = test.map(|value| format!(", test {name}{:.1} %", 100.0 * value));
        fields.push((
            "trained",
            format!(
                "{} on {} images of {}, validation {name}{:.1} %{}",
                training.recipe,
                training.train_images,
                training.dataset,
                100.0 * validation,
                tested.unwrap_or_default()
            ),
        ));
    }
    if let Some(scaling) = &card.temperature_scaling {
        fields.push(("calibrated", calibrated(scaling)));
    }
    fields.push(("made", format!("{} by {}", provenance.created, provenance.producer)));
    fields
}

/// Text of the temperature in the logits, with the calibration errors before and after it.
fn calibrated(scaling: &TemperatureScaling) -> String {
    let errors = |name: &str, errors: &CalibrationErrors| {
        let CalibrationErrors { images, before, after } = errors;
        format!(
            "expected calibration error {:.2} % before, {:.2} % after, on {images} {name} images",
            100.0 * before,
            100.0 * after
        )
    };
    let test = scaling.test.as_ref().map_or_else(String::new, |test| format!("; {}", errors("test", test)));
    format!("temperature {:.4}, {}{test}", scaling.temperature, errors("validation", &scaling.validation))
}

/// Text of the steps from an image to the input.
fn steps(preprocessing: &Preprocessing) -> String {
    let Preprocessing { color, resize, filter, crop, mean, std, fit, layout, centre, border } = preprocessing;
    let numbers = |values: &[f32]| values.iter().map(f32::to_string).collect::<Vec<_>>().join(" ");
    let filter = match filter {
        ResizeFilter::BilinearAntialias => "bilinear, antialiased",
        ResizeFilter::BicubicAntialias => "bicubic, antialiased",
        ResizeFilter::LanczosAntialias => "lanczos, antialiased",
        ResizeFilter::Bilinear => "bilinear, not antialiased",
        ResizeFilter::Bicubic => "bicubic, not antialiased",
        ResizeFilter::Nearest => "nearest pixel",
    };
    let resized = match fit {
        Fit::Crop if resize.is_square() => format!("shorter side to {}", resize.height),
        Fit::Crop => format!("resized to cover {resize}"),
        Fit::Squash => format!("squashed to {resize}"),
        Fit::Letterbox => format!("fitted into {resize} with a border of {:?}", border.0),
    };
    let cut = match centre {
        CentreRounding::Even => format!(", centre {crop}"),
        CentreRounding::Down => format!(", centre {crop} (odd margins rounded down)"),
    };
    let cut = if *fit == Fit::Crop || resize != crop { cut } else { String::new() };
    let fitted = format!("{resized} ({filter}){cut}");
    let layout = layout.map_or_else(String::new, |layout| format!(", {}", layout.name()));
    let color = color.name().to_uppercase();
    format!("{color}, {fitted}{layout}, mean {}, std {}", numbers(mean), numbers(std))
}

/// Text of a JSON value without its punctuation: `key value, key value`.
fn flat(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| format!("{key} {}", flat(value)));
            fields.collect::<Vec<_>>().join(", ")
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn port(port: &Port) -> String {
    format!("{} {} [{}]", port.name, port.element, port.shape.join(", "))
}

fn megabytes(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// Describes a threshold; those of the classes by the lowest and the highest.
fn described(threshold: &Threshold) -> String {
    match threshold {
        Threshold::All(_) => threshold.to_string(),
        Threshold::Each(each) => {
            let of = |choose: fn(f32, f32) -> f32| each.iter().copied().reduce(choose).unwrap_or(0.5);
            format!("a threshold of each class ({:.2} to {:.2})", of(f32::min), of(f32::max))
        }
    }
}
