//! Command `infer explain`: overlays attention and class activation maps on an image.

use std::io::{self, Cursor, Write};

use anyhow::{Context, Result, anyhow};
use ferronnx_infer::classifier::Classifier;
use ferronnx_infer::decode;
use ferronnx_infer::escape;
use ferronnx_infer::explain::overlay::{self, extremes};
use ferronnx_infer::explain::{ClassMap, Explanation, Mask};
use ferronnx_infer::results::Prediction;
use ferronnx_infer::session::Optimization;
use ferronnx_report::text;
use image::ImageFormat;
use ndarray::Array2;
use serde::Serialize;

use super::model;
use crate::args::{ExplainArgs, ReportFormat};
use crate::exit::Done;
use crate::messages;

/// Writes the overlay of `args.photo` and prints predictions and masks.
pub fn run(args: &ExplainArgs) -> Result<Done> {
    let format = ImageFormat::from_path(&args.output).with_context(|| {
        format!(
            "--output {}: the name has to end in .png, .jpg or that of another kind of image",
            args.output.display()
        )
    })?;
    let classifier = model::classifier(&args.model, Classifier::builder(), Optimization::Quick)?;
    let photo = decode::file(&args.photo)?;
    let class = args.class.as_deref().map(|class| class_of(class, &classifier.card().labels)).transpose()?;
    let found = match class {
        Some(class) => Explanation::of_class(&classifier, &photo, class),
        None => Explanation::of(&classifier, &photo),
    };
    let found = found.map_err(|error| anyhow!(messages::words(&error.at(args.model.path()))))?;
    let mut encoded = Cursor::new(Vec::new());
    let write = format!("cannot write {}", args.output.display());
    overlay::render(&found, &photo).write_to(&mut encoded, format).with_context(|| write.clone())?;
    ferronnx_models::files::write_atomically(&args.output, |out| out.write_all(encoded.get_ref()))
        .context(write)?;
    let text = match args.format {
        ReportFormat::Text => escape::text(&lines(&found)).into_owned(),
        ReportFormat::Json => serde_json::to_string_pretty(&Json::of(&found))?,
    };
    writeln!(io::stdout(), "{text}").context("standard output")?;
    messages::note(format_args!("overlay: {}", args.output.display()));
    Ok(Done::All)
}

/// Index of the class that `--class` names.
fn class_of(class: &str, labels: &[String]) -> Result<usize> {
    let index = || class.parse().ok().filter(|&index: &usize| index < labels.len());
    labels.iter().position(|label| label == class).or_else(index).with_context(|| {
        format!("--class {class}: no label of the model, and no index from 0 to {}", labels.len() - 1)
    })
}

#[derive(Serialize)]
struct Json<'a> {
    predictions: &'a [Prediction],
    #[serde(skip_serializing_if = "Option::is_none")]
    class_map: Option<JsonClassMap<'a>>,
    masks: Vec<JsonMask<'a>>,
}

#[derive(Serialize)]
struct JsonClassMap<'a> {
    index: usize,
    label: &'a str,
    /// Score of the class: the mean of the values plus the bias.
    logit: f32,
    bias: f32,
    /// Rows of parts of the logit.
    values: Vec<Vec<f32>>,
}

#[derive(Serialize)]
struct JsonMask<'a> {
    name: &'a str,
    /// Rows of values in [0, 1].
    values: Vec<Vec<f32>>,
}

impl<'a> Json<'a> {
    fn of(found: &'a Explanation) -> Self {
        let mask = |mask: &'a Mask| JsonMask { name: &mask.name, values: rows(&mask.values) };
        let class_map = found.class_map.as_ref().map(|map| JsonClassMap {
            index: map.class,
            label: &map.label,
            logit: map.logit,
            bias: map.bias,
            values: rows(&map.values),
        });
        let masks = found.masks.iter().map(mask).collect();
        Self { predictions: &found.predictions, class_map, masks }
    }
}

fn rows(values: &Array2<f32>) -> Vec<Vec<f32>> {
    values.outer_iter().map(|row| row.to_vec()).collect()
}

fn lines(found: &Explanation) -> String {
    let guess =
        |guess: &Prediction| format!("{} {:.1} %", escape::name(&guess.label), 100.0 * guess.probability);
    let guesses: Vec<_> = found.predictions.iter().map(guess).collect();
    let row = |mask: &Mask| {
        let (height, width) = mask.values.dim();
        let [least, mean, greatest] = mask.range().map(|value| format!("{value:.3}"));
        [mask.stage().into(), format!("{width}x{height}"), least, mean, greatest]
    };
    let mut fields = vec![("sees", guesses.join(", "))];
    if let Some(ClassMap { label, logit, bias, values, .. }) = &found.class_map {
        let [least, greatest] = extremes(values);
        let (height, width) = values.dim();
        let text = format!(
            "{}, logit {logit:.3}: places of a {width}x{height} map give {least:.3} to {greatest:.3}, the bias {bias:.3}",
            escape::name(label)
        );
        fields.push(("class", text));
    }
    let fields = text::fields(&fields);
    match found.masks.is_empty() {
        true => fields,
        false => {
            let header = ["mask", "size", "least", "mean", "greatest"];
            format!("{fields}\n\n{}", text::table(header, found.masks.iter().map(row)))
        }
    }
}
