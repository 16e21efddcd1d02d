//! Meaning of a model's outputs: which has the scores, and how they become probabilities.

use ferronnx_models::card::{Activation, Threshold};
use ferronnx_models::onnx::{Dim, TensorInfo};

use super::{Assumptions, Facts, Ledger, Stated, known, number};
use crate::error::ModelError;
use crate::session::describe;

/// Meaning of the values of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Any numbers, which a softmax or a sigmoid makes probabilities.
    Logits,
    /// Logarithms of probabilities that sum to 1.
    LogProbabilities,
    /// Probabilities that sum to 1: exactly one class is right.
    Probabilities,
    /// Probabilities of classes that do not exclude each other.
    Scores,
}

/// Step from the scores to probabilities, and what the classes are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Outputs {
    pub(super) activation: Activation,
    /// Probability from which a class is selected, of a model with several labels an image.
    pub(super) threshold: Option<f32>,
}

/// Number of values that an output has for each image, as far as its shape tells.
pub(crate) fn values_per_image(output: &TensorInfo) -> Option<usize> {
    let rest = output.shape.get(1..)?;
    rest.iter().try_fold(1_usize, |count, dim| match dim {
        Dim::Fixed(size) => count.checked_mul(*size),
        Dim::Symbol(_) => None,
    })
}

/// Chooses the output with the scores of `classes` classes, and lists the choice if there is one.
pub(super) fn scores<'a>(
    outputs: &'a [TensorInfo],
    classes: usize,
    ledger: &mut Ledger,
) -> Result<&'a TensorInfo, ModelError> {
    let fits = |output: &&TensorInfo| match values_per_image(output) {
        Some(values) => values == classes || values == 1 && classes == 2,
        None => true,
    };
    let Some(found) = outputs.iter().find(fits) else {
        return Err(ModelError::LabelMismatch { gives: describe(&outputs[0].shape), labels: classes });
    };
    if outputs.len() > 1 {
        let source = match outputs.iter().filter(fits).count() {
            1 => format!("the only output of floats with a value for each of {classes} classes"),
            _ => format!("the first output of floats with a value for each of {classes} classes"),
        };
        ledger.note("scores", found.name.as_str(), source);
    }
    Ok(found)
}

/// Chooses activation and threshold for an output whose values mean `meaning`.
pub(super) fn outputs(
    meaning: Stated<Meaning>,
    is_single: bool,
    given: &Assumptions,
    facts: &Facts,
    ledger: &mut Ledger,
) -> Outputs {
    let Stated { value: meaning, source } = meaning;
    let usual = match meaning {
        Meaning::Logits if is_single => Activation::Sigmoid,
        Meaning::Logits | Meaning::LogProbabilities => Activation::Softmax,
        Meaning::Probabilities | Meaning::Scores => Activation::None,
    };
    // Tools state the activation of logits; where the graph has applied it, it is not applied again.
    let stated = facts.activation.clone().filter(|_| meaning == Meaning::Logits);
    let activation = known(&given.activation, &stated);
    let activation = activation.unwrap_or(Stated { value: usual, source });
    ledger.note("activation", activation.value.name(), activation.source);
    let several = match activation.value {
        Activation::Softmax => false,
        Activation::Sigmoid => true,
        Activation::None => meaning == Meaning::Scores,
    };
    if is_single {
        ledger.note("classes", "2", "one score: the probability of the second class, the first has the rest");
        return Outputs { activation: activation.value, threshold: None };
    }
    let usual = || Stated {
        value: Threshold::default().of(0),
        source: "usual where any number of classes is right".into(),
    };
    let threshold = several.then(|| facts.threshold.clone().unwrap_or_else(usual));
    let threshold = threshold.map(|Stated { value, source }| {
        ledger.note("threshold", number(value), source);
        value
    });
    Outputs { activation: activation.value, threshold }
}
