//! Card of a model that has none, made of what is known and assumed.

use ferronnx_models::card::{
    Border, CentreRounding, Fit, InputForm, ModelCard, OutputRole, Preprocessing, Provenance, ResizeFilter,
    Size, Threshold,
};
use ferronnx_models::onnx::Element;
use indexmap::IndexMap;
use serde_json::json;

use super::interface::interface;
use super::normalization::normalization;
use super::outputs::{Meaning, Outputs, outputs, scores, values_per_image};
use super::{Assumed, Assumptions, Facts, Ledger, Stated, known};
use crate::error::ModelError;
use crate::session::Session;

/// Source of a choice that nothing states.
const USUAL: &str = "the model does not say: the usual choice";

/// Card of a model, with all that was assumed for it.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    pub(crate) card: ModelCard,
    /// Assumptions; none for a model that has its own card.
    pub(crate) assumed: Vec<Assumed>,
    /// True if each image has to be in a batch of its own.
    pub(crate) one_by_one: bool,
}

/// Makes the card that the model of `session` would have; `meaning` tells what the values of an output are.
pub(crate) fn resolve(
    session: &Session,
    given: &Assumptions,
    facts: &Facts,
    meaning: impl FnOnce(&str, &Preprocessing, InputForm) -> Result<Stated<Meaning>, ModelError>,
) -> Result<Resolved, ModelError> {
    facts.check(given)?;
    let mut ledger = Ledger::default();
    let input = match session.input().element {
        Element::Uint8 => InputForm::Uint8,
        _ => InputForm::Float,
    };
    let labels = known(&given.labels, &facts.labels).ok_or(ModelError::NoLabels)?;
    ledger.note("labels", labels.value.len(), labels.source);
    let preprocessing = preprocessing(session, input, given, facts, &mut ledger)?;
    let output = scores(session.outputs(), labels.value.len(), &mut ledger)?;
    let is_known = given.activation.is_some();
    let meaning = match meaning(&output.name, &preprocessing, input) {
        Err(_) if is_known => Stated { value: Meaning::Logits, source: String::new() },
        meaning => meaning?,
    };
    let is_single = labels.value.len() == 2 && values_per_image(output) == Some(1);
    let Outputs { activation, threshold } = outputs(meaning, is_single, given, facts, &mut ledger);
    let unknown = || "unknown".to_owned();
    let provenance = Provenance { producer: "another tool".into(), engine: unknown(), created: unknown() };
    let card = ModelCard {
        input,
        activation,
        threshold: threshold.map(Threshold::All),
        outputs: IndexMap::from([(output.name.clone(), OutputRole::Scores)]),
        ..ModelCard::new(labels.value, preprocessing, provenance)
    }
    .with_format();
    card.check().map_err(ModelError::Assumptions)?;
    if facts.one_by_one {
        ledger.note(
            "batch",
            1,
            "dynamic quantisation: the images of a batch would change each other's results",
        );
    }
    Ok(Resolved { card, assumed: ledger.0, one_by_one: facts.one_by_one })
}

fn preprocessing(
    session: &Session,
    input: InputForm,
    given: &Assumptions,
    facts: &Facts,
    ledger: &mut Ledger,
) -> Result<Preprocessing, ModelError> {
    let found = interface(&session.input().shape, given, facts, ledger)?;
    let (fit, resize, centre, border) = geometry(found.size, given, facts, ledger);
    let filter = known(&given.filter, &facts.filter);
    let filter = filter.unwrap_or(Stated { value: ResizeFilter::BilinearAntialias, source: USUAL.into() });
    ledger.note("interpolation", filter.value.name(), filter.source);
    let (mean, std) = normalization(input, found.channels.channels(), given, facts, ledger)?;
    let preprocessing = Preprocessing {
        color: found.channels,
        resize,
        filter: filter.value,
        crop: found.size,
        mean,
        std,
        fit,
        layout: Some(found.layout),
        centre,
        border,
    };
    preprocessing.check().map_err(ModelError::Preprocessing)?;
    Ok(preprocessing)
}

/// Finds the steps from the size of an image to the size of the input: fit, resize, centre and border.
fn geometry(
    size: Size,
    given: &Assumptions,
    facts: &Facts,
    ledger: &mut Ledger,
) -> (Fit, Size, CentreRounding, Border) {
    let fit = known(&given.fit, &facts.fit);
    let fit = fit.unwrap_or(Stated { value: Fit::Crop, source: USUAL.into() });
    ledger.note("fit", fit.value.name(), fit.source);
    // The margin that a tool states belongs to the fit that it states.
    let is_stated = facts.fit.as_ref().map_or(Fit::Crop, |stated| stated.value) == fit.value;
    let given_resize = given.resize.map(|side| shorter_side(side, size));
    let stated_resize = facts.resize.clone().filter(|_| is_stated);
    let resize = match known(&given_resize, &stated_resize) {
        None if fit.value == Fit::Crop => {
            Some(Stated { value: Preprocessing::for_size(size).resize, source: "usual for this size".into() })
        }
        resize => resize,
    };
    if let Some(Stated { value, source }) = &resize {
        ledger.note("resize", value.height.min(value.width), source.clone());
    }
    if let Some(Stated { value, source }) = &facts.centre {
        ledger.note("centre", value.name(), source.clone());
    }
    let border = facts.border.clone().filter(|_| fit.value == Fit::Letterbox);
    if let Some(Stated { value, source }) = &border {
        ledger.note("border", json!(value.0), source.clone());
    }
    let centre = facts.centre.as_ref().map_or_else(CentreRounding::default, |centre| centre.value);
    let border = border.map_or_else(Border::default, |border| border.value);
    (fit.value, resize.map_or(size, |resize| resize.value), centre, border)
}

/// Size that an image covers whose shorter side is `side`, with the aspect ratio of `crop`.
fn shorter_side(side: u32, crop: Size) -> Size {
    let shorter = u64::from(crop.height.min(crop.width).max(1));
    let scale = |length: u32| {
        u32::try_from((u64::from(length) * u64::from(side)).div_ceil(shorter)).unwrap_or(u32::MAX)
    };
    Size { height: scale(crop.height), width: scale(crop.width) }
}
