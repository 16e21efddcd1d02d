//! Cards of models: read from the file, or made of assumptions, and checked against the network.

use ferronnx_models::card::{CARD_KEY, InputForm, Layout, ModelCard};
use ferronnx_models::onnx::{Dim, Element};

use crate::assume::{Assumptions, Resolved, resolve, values_per_image};
use crate::error::Result;
use crate::foreign::Foreign;
use crate::model_error::ModelError;
use crate::session::{Session, describe, fits, kind};

/// Returns the model's card, or makes one of `assumptions` and of what the file says if it has none.
///
/// # Errors
/// [`ModelError`], or a file beside the model that cannot be read.
pub(crate) fn card_of(session: &Session, assumptions: &Assumptions) -> Result<Resolved> {
    if session.metadata(CARD_KEY).is_some() {
        return match assumptions.is_empty() {
            true => Ok(Resolved { card: read_card(session)?, assumed: Vec::new(), one_by_one: false }),
            false => Err(ModelError::Assumed.into()),
        };
    }
    let foreign = Foreign::of(session)?;
    let resolved = resolve(session, assumptions, &foreign.facts, |output, preprocessing, form| {
        foreign.meaning(session, output, preprocessing, form)
    })?;
    check(&resolved.card, session)?;
    Ok(resolved)
}

/// Reads the model's card and checks that it fits the network.
pub(crate) fn read_card(session: &Session) -> std::result::Result<ModelCard, ModelError> {
    let text = session.metadata(CARD_KEY).ok_or(ModelError::NoCard)?;
    let card = ModelCard::from_json(&text)?;
    check(&card, session)?;
    Ok(card)
}

/// Checks that input and output of the network are those that the card describes.
fn check(card: &ModelCard, session: &Session) -> std::result::Result<(), ModelError> {
    let input = session.input();
    let size = card.preprocessing.crop;
    let [channels, height, width] =
        [card.preprocessing.color.channels(), size.height as usize, size.width as usize];
    let element = if input.element == Element::Uint8 { InputForm::Uint8 } else { InputForm::Float };
    let item = match (input.shape.len(), card.layout()) {
        (2, _) => vec![channels * height * width],
        (3, _) if channels == 1 => vec![height, width],
        (_, Layout::Nchw) => vec![channels, height, width],
        (_, Layout::Nhwc) => vec![height, width, channels],
    };
    match &input.shape[..] {
        [Dim::Symbol(_) | Dim::Fixed(1..), rest @ ..] if element == card.input && fits(rest, &item) => {}
        _ => {
            let takes = format!("{} {}", kind(input.element), describe(&input.shape));
            let item: Vec<_> = item.iter().map(usize::to_string).collect();
            let prepared = kind(match card.input {
                InputForm::Float => Element::Float,
                InputForm::Uint8 => Element::Uint8,
            });
            let prepared = format!("{prepared} [batch, {}]", item.join(", "));
            return Err(ModelError::InputMismatch { takes, prepared });
        }
    }
    let labels = card.labels.len();
    let name = card.scores().unwrap_or(&session.outputs()[0].name);
    let output = session.outputs().iter().find(|output| output.name == name);
    let output = output.ok_or_else(|| ModelError::NoScores { output: name.into() })?;
    match values_per_image(output) {
        Some(values) if values == labels || values == 1 && labels == 2 => Ok(()),
        // The size is not known before the network runs; `Scores::rows` looks again.
        None if output.shape.len() != 1 => Ok(()),
        _ => Err(ModelError::LabelMismatch { gives: describe(&output.shape), labels }),
    }
}
