//! `POST /v1/classify`: images in, the JSON of `infer classify` out.
//!
//! The body is an image, or `multipart/form-data` with several. The answer is an array with an object for each image, in
//! order. One that fails has its error there, and the others are answered.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, Multipart, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use ferronnx_models::card::OutputRole;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use crate::explain::{Mask, mask_outputs};
use crate::files::serialize_path;
use crate::results::Classified;
use crate::serve::admission::{self, Admitted, Permit};
use crate::serve::app::App;
use crate::serve::engine::{Answer, Engine, Item, Timings};
use crate::serve::failure::Failure;
use crate::session::SessionError;

/// Choices in the address.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Choices {
    /// Name of the model; not needed if there is one.
    model: Option<String>,
    version: Option<String>,
    /// Number of classes in the answer.
    #[serde(default = "five")]
    top_k: usize,
    /// Answer with the attention masks too.
    #[serde(default)]
    attention: bool,
    /// Answer with the features of each image too: its embedding.
    #[serde(default)]
    features: bool,
    /// Time after which an answer is of no use, in milliseconds.
    timeout_ms: Option<u64>,
}

fn five() -> usize {
    5
}

/// Image of a request.
struct Photo {
    name: PathBuf,
    encoded: Bytes,
}

/// Result for one image.
#[derive(Serialize)]
#[serde(untagged)]
enum Outcome {
    Classified {
        #[serde(flatten)]
        found: Classified,
        #[serde(skip_serializing_if = "Option::is_none")]
        attention: Option<Attention>,
        #[serde(skip_serializing_if = "Option::is_none")]
        features: Option<Vec<f32>>,
    },
    Failed {
        #[serde(flatten, serialize_with = "serialize_path")]
        path: PathBuf,
        error: ImageError,
    },
}

/// Error of an image, as in the JSON of `infer classify`.
#[derive(Serialize)]
struct ImageError {
    kind: &'static str,
    message: String,
}

/// Attention masks of an image.
#[derive(Serialize)]
struct Attention {
    /// Part of the image that the network saw: left, top, width and height, in pixels of the upright image.
    seen: [f64; 4],
    masks: Vec<JsonMask>,
}

#[derive(Serialize)]
struct JsonMask {
    name: String,
    /// Rows of values in [0, 1].
    values: Vec<Vec<f32>>,
}

/// Classifies the images of a request.
pub(super) async fn classify(
    State(app): State<Arc<App>>,
    Extension(admitted): Extension<Admitted>,
    choices: Result<Query<Choices>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Result<Response, Failure> {
    let Query(choices) = choices.map_err(|error| Failure::Invalid(error.body_text()))?;
    let name = match &choices.model {
        Some(name) => name,
        None => app.models.only()?.name(),
    };
    let slot = app.models.find(name, choices.version.as_deref())?;
    let engine = app.engine_of(slot)?;
    let masks = match choices.attention {
        true => mask_outputs(engine.classifier()),
        false => Vec::new(),
    };
    if choices.attention && masks.is_empty() {
        let text = format!("the model `{}` has no attention outputs", slot.name());
        return Err(Failure::Invalid(text));
    }
    let features = engine.classifier().card().output(OutputRole::Features).filter(|_| choices.features);
    if choices.features && features.is_none() {
        let text = format!("the model `{}` has no output of features", slot.name());
        return Err(Failure::Invalid(text));
    }
    let deadline = app.deadline(choices.timeout_ms.map(Duration::from_millis));
    admitted.record.set_model(slot);
    let photos = photos(request).await?;
    admitted.record.set_images(photos.len());
    let permits = admitted.permits(photos.len()).map_err(|refusal| app.refusal(refusal))?;
    let scores = engine.classifier().meaning().output.clone();
    let outputs: Arc<[String]> =
        std::iter::once(scores).chain(features.map(str::to_owned)).chain(masks).collect();

    let run = |(photo, permit): (Photo, Permit)| {
        let (engine, outputs) = (engine.clone(), outputs.clone());
        async move {
            let answer = engine.run(Item::Encoded(photo.encoded), &outputs, deadline, permit).await;
            (photo.name, answer)
        }
    };
    let answers = join_all(photos.into_iter().zip(permits).map(run)).await;
    respond(&engine, &outputs, &choices, answers)
}

/// Reads the images of a request. A body of any type but multipart is one image: its format is in its content.
async fn photos(request: Request) -> Result<Vec<Photo>, Failure> {
    let content_type = request.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let content_type = content_type.to_ascii_lowercase();
    if request.headers().get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        let text = "send the image without Content-Encoding: image formats are compressed already";
        return Err(Failure::MediaType(text.into()));
    }
    if content_type.starts_with(b"application/json") {
        let text = "send the image itself as the body, or several as multipart/form-data";
        return Err(Failure::MediaType(text.into()));
    }
    if !content_type.starts_with(b"multipart/form-data") {
        let encoded = admission::read(request.into_body()).await?;
        return Ok(vec![Photo { name: "-".into(), encoded }]);
    }
    let invalid = |error: &(dyn std::error::Error + 'static), text: String| {
        admission::failure_of(error).unwrap_or(Failure::Invalid(text))
    };
    let mut parts =
        Multipart::from_request(request, &()).await.map_err(|error| Failure::Invalid(error.body_text()))?;
    let mut photos = Vec::new();
    while let Some(part) = parts.next_field().await.map_err(|error| invalid(&error, error.body_text()))? {
        let number = photos.len() + 1;
        let name = part.file_name().or(part.name()).map_or_else(|| format!("image {number}"), Into::into);
        let encoded = part.bytes().await.map_err(|error| invalid(&error, error.body_text()))?;
        photos.push(Photo { name: name.into(), encoded });
    }
    match photos.is_empty() {
        true => Err(Failure::Invalid("the form has no image".into())),
        false => Ok(photos),
    }
}

/// Answers with all results: 200 if an image was classified, else the status of the first failure.
fn respond(
    engine: &Engine,
    outputs: &[String],
    choices: &Choices,
    answers: Vec<(PathBuf, Result<Answer, Failure>)>,
) -> Result<Response, Failure> {
    let (mut outcomes, mut failure, mut times) = (Vec::with_capacity(answers.len()), None, Vec::new());
    for (path, answer) in answers {
        let timings = answer.as_ref().ok().map(|answer| answer.timings);
        match answer.and_then(|answer| classified(engine, outputs, choices, path.clone(), answer)) {
            Ok(outcome) => {
                times.extend(timings);
                outcomes.push(outcome);
            }
            // The client cannot do anything about a single image.
            Err(error @ (Failure::Network(_) | Failure::Internal | Failure::Deadline)) => return Err(error),
            Err(error) => {
                let (kind, message) = match &error {
                    Failure::Image { kind, message } => (*kind, message.clone()),
                    other => ("invalid", other.to_string()),
                };
                outcomes.push(Outcome::Failed { path, error: ImageError { kind, message } });
                failure.get_or_insert(error.status());
            }
        }
    }
    let status = if times.is_empty() { failure.unwrap_or(StatusCode::OK) } else { StatusCode::OK };
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&server_timing(&times)) {
        headers.insert("server-timing", value);
    }
    Ok((status, headers, Json(outcomes)).into_response())
}

fn classified(
    engine: &Engine,
    names: &[String],
    choices: &Choices,
    path: PathBuf,
    answer: Answer,
) -> Result<Outcome, Failure> {
    let classifier = engine.classifier();
    let Answer { mut outputs, seen, timings } = answer;
    let masks = outputs.split_off(if choices.features { 2 } else { 1 });
    let names = &names[outputs.len()..];
    let features = outputs.get(1).map(|values| values.iter().copied().collect::<Vec<_>>());
    if let Some(&value) = features.iter().flatten().find(|value| !value.is_finite()) {
        return Err(SessionError::NotFinite { value }.into());
    }
    let scores = classifier.meaning().rows(&outputs[0], 1)?;
    let predictions = classifier.meaning().predictions(&scores[0], choices.top_k)?;
    let found = Classified {
        path,
        predictions,
        activation: classifier.activation(),
        assumed: classifier.shared_assumptions(),
        provider: classifier.session().provider(),
        timings_ms: timings.of_image(),
    };
    let mask = |(name, values): (&String, _)| -> Result<JsonMask, Failure> {
        let Mask { name, values } = Mask::new(name.clone(), values)?;
        Ok(JsonMask { name, values: values.outer_iter().map(|row| row.to_vec()).collect() })
    };
    let masks = names.iter().zip(masks).map(mask).collect::<Result<Vec<_>, _>>()?;
    let attention = seen.filter(|_| !masks.is_empty()).map(|seen| Attention { seen, masks });
    Ok(Outcome::Classified { found, attention, features })
}

/// Longest times of the steps among the images, as the header
/// [`Server-Timing`](https://www.w3.org/TR/server-timing/) has them, in milliseconds.
fn server_timing(times: &[Timings]) -> String {
    let longest =
        |step: fn(&Timings) -> Duration| times.iter().map(step).max().unwrap_or_default().as_secs_f64() * 1e3;
    format!(
        "decode;dur={:.2}, preprocess;dur={:.2}, queue;dur={:.2}, inference;dur={:.2}",
        longest(|times| times.decode),
        longest(|times| times.preprocess),
        longest(|times| times.queue),
        longest(|times| times.compute),
    )
}
