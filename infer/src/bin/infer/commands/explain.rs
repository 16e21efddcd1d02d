//! Command `infer explain`: overlays the network's attention on an image.

mod overlay;

use std::io::{self, Cursor, Write};

use anyhow::{Context, Result, anyhow};
use ferronnx_infer::classifier::Classifier;
use ferronnx_infer::decode;
use ferronnx_infer::escape;
use ferronnx_infer::explain::{Explanation, Mask};
use ferronnx_infer::results::Prediction;
use ferronnx_infer::session::Optimization;
use ferronnx_report::text;
use image::ImageFormat;
use serde::Serialize;

use super::model;
use crate::args::{ExplainArgs, ReportFormat};
use crate::exit::Done;
use crate::messages;

/// Writes the overlay of `args.photo` and prints predictions and masks.
pub fn run(args: &ExplainArgs) -> Result<Done> {
    let format = ImageFormat::from_path(&args.output).with_context(|| {
        format!("--output {}: the name has to end in .png or .jpg", args.output.display())
    })?;
    let classifier = model::classifier(&args.model, Classifier::builder(), Optimization::Quick)?;
    let photo = decode::file(&args.photo)?;
    let found = Explanation::of(&classifier, &photo)
        .map_err(|error| anyhow!(messages::words(&error.at(args.model.path()))))?;
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

#[derive(Serialize)]
struct Json<'a> {
    predictions: &'a [Prediction],
    masks: Vec<JsonMask<'a>>,
}

#[derive(Serialize)]
struct JsonMask<'a> {
    name: &'a str,
    /// Rows of values in [0, 1].
    values: Vec<Vec<f32>>,
}

impl<'a> Json<'a> {
    fn of(found: &'a Explanation) -> Self {
        let mask = |mask: &'a Mask| JsonMask {
            name: &mask.name,
            values: mask.values.outer_iter().map(|row| row.to_vec()).collect(),
        };
        Self { predictions: &found.predictions, masks: found.masks.iter().map(mask).collect() }
    }
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
    let table = text::table(["mask", "size", "least", "mean", "greatest"], found.masks.iter().map(row));
    format!("{}\n\n{table}", text::fields(&[("sees", guesses.join(", "))]))
}
