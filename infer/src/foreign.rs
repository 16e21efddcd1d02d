//! Models of other tools: what their files, and files beside them, say about labels, preprocessing and outputs.

use ferronnx_models::card::{InputForm, Preprocessing, Size};
use ferronnx_models::onnx::output_values::{
    OutputValues, Suggestion, class_labels, output_values, values_suggest,
};
use ferronnx_models::onnx::{Model, Node, passes};
use image::{Rgb, RgbImage};

use crate::assume::{Facts, Meaning, Stated, sidecar};
use crate::classifier::pass;
use crate::error::Result;
use crate::model_error::ModelError;
use crate::preprocess::Preprocessor;
use crate::scores;
use crate::session::{self, Session};

/// Number of generated images whose scores tell what the values of an output are.
const PROBES: usize = 6;

/// Model of another tool, with the facts that its file and files beside it state.
pub(crate) struct Foreign {
    pub(crate) facts: Facts,
    /// Graph of the file; none where it cannot be parsed, as ONNX Runtime's own format.
    model: Option<Model>,
}

impl Foreign {
    /// Reads what the file of `session`, and the files beside it, say.
    ///
    /// # Errors
    /// [`Sidecar`](crate::ErrorKind::Sidecar) when they are not those of a classifier, or a file beside it is damaged.
    pub(crate) fn of(session: &Session) -> Result<Self> {
        let mut facts = sidecar::facts(session.path(), |key| session.metadata(key))?;
        let bytes = session.path().map(session::read).transpose()?;
        let mut model = bytes.and_then(|bytes| Model::decode(bytes).ok());
        if let Some(model) = &mut model {
            let stated = |value| Stated { value, source: "classes in the graph".into() };
            facts.labels = facts.labels.or_else(|| class_labels(model).map(stated));
            facts.one_by_one = model.graph.nodes.iter().any(looks_at_the_batch);
            passes::replace_zip_maps(model);
        }
        Ok(Self { facts, model })
    }

    /// Tells what the values of `output` mean: from the graph, or where it cannot be read from what it gives.
    ///
    /// # Errors
    /// [`ModelError::Meaning`] when that cannot be known.
    pub(crate) fn meaning(
        &self,
        session: &Session,
        output: &str,
        preprocessing: &Preprocessing,
        form: InputForm,
    ) -> std::result::Result<Stated<Meaning>, ModelError> {
        let unknown = |reason: String| ModelError::Meaning { output: output.into(), reason };
        let Some(model) = &self.model else {
            return probe(session, output, preprocessing, form).ok_or_else(|| {
                unknown("the graph cannot be read, and the values for generated images do not tell it".into())
            });
        };
        let (value, evidence) = match output_values(model, output) {
            OutputValues::Logits(evidence) => (Meaning::Logits, evidence),
            OutputValues::Probabilities(evidence) => (Meaning::Probabilities, evidence),
            OutputValues::LogProbabilities(evidence) => (Meaning::LogProbabilities, evidence),
            OutputValues::Scores(evidence) => (Meaning::Scores, evidence),
            OutputValues::Unknown(reason) => return Err(unknown(reason.to_string())),
            other => return Err(unknown(format!("{other:?}"))),
        };
        let word = match value {
            Meaning::Logits => "logits",
            Meaning::LogProbabilities => "logarithms of probabilities",
            Meaning::Probabilities => "probabilities",
            Meaning::Scores => "independent probabilities",
        };
        Ok(Stated { value, source: format!("the graph gives {word}: {evidence}") })
    }
}

/// Tells whether the result of an operator for an image depends on the other images of the batch: dynamic quantisation
/// finds one scale for all of them.
fn looks_at_the_batch(node: &Node) -> bool {
    node.op.starts_with("DynamicQuantize")
}

/// Runs the network on generated images and judges the values of `output`.
fn probe(
    session: &Session,
    output: &str,
    preprocessing: &Preprocessing,
    form: InputForm,
) -> Option<Stated<Meaning>> {
    let preprocessor = Preprocessor::new(preprocessing);
    let images: Vec<RgbImage> =
        (0..PROBES as u32).map(|index| generated(index, preprocessor.size())).collect();
    let images: Vec<&RgbImage> = images.iter().collect();
    let mut rows = Vec::new();
    for images in images.chunks(session.fixed_batch().unwrap_or(PROBES)) {
        let found = pass(session, &preprocessor, form, images, 0, &[output]).ok()?;
        rows.extend(scores::rows(&found[0], images.len())?);
    }
    let value = match values_suggest(&rows)? {
        Suggestion::Logits => Meaning::Logits,
        Suggestion::Probabilities => Meaning::Probabilities,
        Suggestion::LogProbabilities => Meaning::LogProbabilities,
        Suggestion::Scores => Meaning::Scores,
        _ => return None,
    };
    Some(Stated { value, source: format!("values for {PROBES} generated images: the graph cannot be read") })
}

/// Generates an image whose colours and gradients differ by `index`.
fn generated(index: u32, size: Size) -> RgbImage {
    let share = |at: u32, of: u32| (255 * at / of.max(1)) as u8;
    RgbImage::from_fn(size.width, size.height, |x, y| {
        let [right, down] = [share(x, size.width), share(y, size.height)];
        Rgb(match index {
            0 => [right, down, 255 - right],
            1 => [255 - down, 30, down],
            2 => [20, right, 20],
            3 => [0; 3],
            4 => [255; 3],
            _ => [if (x / 3 + y / 2) % 2 == 0 { 230 } else { 10 }, down, right],
        })
    })
}
