//! Model cards of exported files.

use ferronnx_models::card::{ModelCard, Preprocessing, Provenance, TrainingSummary};
use ferronnx_models::onnx::PRODUCER;

/// Makes the card of a network; [`Trained::export`](super::Trained::export) adds the form of the file.
pub fn card(
    labels: Vec<String>,
    preprocessing: Preprocessing,
    architecture: serde_json::Value,
    training: Option<TrainingSummary>,
) -> ModelCard {
    let engine = if training.is_some() { "libtorch 2.13.0" } else { "unknown" };
    let now = jiff::Timestamp::now();
    let provenance = Provenance {
        producer: format!("{PRODUCER} {}", env!("CARGO_PKG_VERSION")),
        engine: engine.into(),
        created: now.round(jiff::Unit::Second).unwrap_or(now).to_string(),
    };
    ModelCard { architecture, training, ..ModelCard::new(labels, preprocessing, provenance) }
}
