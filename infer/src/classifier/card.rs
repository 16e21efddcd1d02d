//! Cards of models: read from the file, or built from assumptions, and checked against the network.

use ferronnx_models::card::{CARD_KEY, InputForm, ModelCard};
use ferronnx_models::onnx::{Dim, Element};

use crate::assume::Assumptions;
use crate::error::ModelError;
use crate::preprocess::CHANNELS;
use crate::session::{Session, describe, fits, kind};

/// Returns the model's card, or builds one from `assumptions` if it has none.
pub(crate) fn card_of(session: &Session, assumptions: &Assumptions) -> Result<ModelCard, ModelError> {
    if session.metadata(CARD_KEY).is_some() {
        return match assumptions.is_empty() {
            true => read_card(session),
            false => Err(ModelError::Assumed),
        };
    }
    let card = assumptions.card(session)?;
    check(&card, session)?;
    Ok(card)
}

/// Reads the model's card and checks that it fits the network.
pub(crate) fn read_card(session: &Session) -> Result<ModelCard, ModelError> {
    let text = session.metadata(CARD_KEY).ok_or(ModelError::NoCard)?;
    let card = ModelCard::from_json(&text)?;
    check(&card, session)?;
    Ok(card)
}

/// Checks that input and output of the network are those that the card describes.
fn check(card: &ModelCard, session: &Session) -> Result<(), ModelError> {
    let crop = card.preprocessing.crop as usize;
    let (element, item) = match card.input {
        InputForm::Float => (Element::Float, [CHANNELS, crop, crop]),
        InputForm::Uint8 => (Element::Uint8, [crop, crop, CHANNELS]),
    };
    let input = session.input();
    match &input.shape[..] {
        [Dim::Symbol(_) | Dim::Fixed(1), rest @ ..] if input.element == element && fits(rest, &item) => {}
        _ => {
            let takes = format!("{} {}", kind(input.element), describe(&input.shape));
            let [a, b, c] = item;
            let prepared = format!("{} [batch, {a}, {b}, {c}]", kind(element));
            return Err(ModelError::InputMismatch { takes, prepared });
        }
    }
    let (labels, output) = (card.labels.len(), &session.outputs()[0].shape);
    match output[..] {
        [_, Dim::Fixed(classes)] if classes == labels => Ok(()),
        _ => Err(ModelError::LabelMismatch { gives: describe(output), labels }),
    }
}
