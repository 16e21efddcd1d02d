//! `GET /v1/models`: the models that are served.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ferronnx_models::card::{OutputRole, Threshold};
use serde::Serialize;

use crate::assume::Assumed;
use crate::serve::app::App;
use crate::serve::engine::Engine;
use crate::serve::registry::Slot;

/// Models that are served.
#[derive(Serialize)]
pub(super) struct Models {
    models: Vec<Model>,
}

#[derive(Serialize)]
struct Model {
    name: String,
    version: String,
    /// False while the model is being loaded.
    ready: bool,
    #[serde(flatten)]
    facts: Option<Facts>,
}

#[derive(Serialize)]
struct Facts {
    labels: Vec<String>,
    /// True if any number of labels is right for an image.
    multi_label: bool,
    /// Probability from which a label is selected: one for all, or one for each.
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<Threshold>,
    /// Height and width of the input, in pixels.
    image_size: [u32; 2],
    /// True if the file has a certificate, which holds on this device.
    certified: bool,
    /// SHA-256 of the weights, of a certified file.
    #[serde(skip_serializing_if = "Option::is_none")]
    weights_sha256: Option<String>,
    /// True if the file returns attention masks.
    attention: bool,
    /// True if the file returns the features of an image.
    features: bool,
    provider: &'static str,
    max_batch: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    assumed: Vec<Assumed>,
}

/// Lists the models.
pub(super) async fn list(State(app): State<Arc<App>>) -> Json<Models> {
    let models = app.models.slots().iter().map(model).collect();
    Json(Models { models })
}

fn model(slot: &Slot) -> Model {
    let engine = slot.engine();
    Model {
        name: slot.name().into(),
        version: slot.version().into(),
        ready: engine.is_some(),
        facts: engine.map(|engine| facts(&engine)),
    }
}

fn facts(engine: &Engine) -> Facts {
    let classifier = engine.classifier();
    let size = classifier.preprocessor().size();
    Facts {
        labels: classifier.card().labels.clone(),
        multi_label: classifier.is_multi_label(),
        threshold: classifier.meaning().threshold().cloned(),
        image_size: [size.height, size.width],
        certified: engine.certificate().is_some(),
        weights_sha256: engine.certificate().map(|found| found.sha256.clone()),
        attention: !crate::explain::mask_outputs(classifier).is_empty(),
        features: classifier.card().output(OutputRole::Features).is_some(),
        provider: classifier.session().provider(),
        max_batch: engine.max_batch(),
        assumed: classifier.assumed().to_vec(),
    }
}
