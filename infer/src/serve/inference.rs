//! Inference of a request of the protocol, over any transport.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use ndarray::{ArrayD, Axis, concatenate};

use super::admission::Admitted;
use super::app::App;
use super::engine::{Answer, Engine, Item};
use super::failure::Failure;
use super::protocol::{Accepted, Content, Interface, ModelMetadata, OutputTensor, Response, Source, Wanted};

/// Size of a request from which it is read on a thread of its own, in bytes. Others wait for those that read it.
const LARGE: usize = 64 << 10;

/// Model that a request names.
pub(crate) struct Target<'a> {
    pub(crate) name: &'a str,
    /// None for the highest version.
    pub(crate) version: Option<&'a str>,
}

/// Reads a request of `size` bytes, runs the model on its images, and collects the outputs that it asks for.
///
/// `read` gets the inputs and outputs of the model, and the largest number of images. `timeout` is that of the transport.
///
/// # Errors
/// [`Failure`]; that of an image names its position, for there is one answer for all.
pub(crate) async fn infer(
    app: &App,
    target: Target<'_>,
    admitted: &Admitted,
    size: usize,
    timeout: Option<Duration>,
    read: impl FnOnce(&Interface, usize) -> Result<Accepted, Failure> + Send + 'static,
) -> Result<Response, Failure> {
    let (slot, engine) = app.engine(target.name, target.version)?;
    admitted.record.set_model(slot);
    let deadline = app.deadline(timeout);
    let (interface, most) = (engine.interface().clone(), app.admission.capacity());
    let accepted = match size {
        LARGE.. => {
            // The place and the memory are held until it is read, also if the client goes before.
            let held = admitted.clone();
            let reading = tokio::task::spawn_blocking(move || {
                let accepted = read(&interface, most);
                drop(held);
                accepted
            });
            reading.await.map_err(|_| Failure::Internal)??
        }
        _ => read(&interface, most)?,
    };
    let Accepted { id, timeout, content, outputs } = accepted;
    let deadline = timeout.map_or(deadline, |timeout| deadline.min(app.deadline(Some(timeout))));
    admitted.hold(content.bytes()).map_err(|refusal| app.refusal(refusal))?;

    let (names, rows) = (fetched(&engine, &outputs), content.rows());
    admitted.record.set_images(rows);
    let items = items(content, engine.max_batch());
    let is_one = items.len() == 1;
    let mut jobs = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let permit = admitted.permit(item.rows()).map_err(|refusal| app.refusal(refusal))?;
        let run = engine.run(item, &names, deadline, permit);
        jobs.push(
            async move { run.await.map_err(|failure| if is_one { failure } else { at(index, failure) }) },
        );
    }
    let answers = try_join_all(jobs).await?;
    let computed = joined(&names, answers, rows)?;
    let output = |wanted| output(&engine, &names, &computed, wanted, rows);
    let outputs = outputs.into_iter().map(output).collect::<Result<_, _>>()?;
    Ok(Response { model_name: slot.name().into(), model_version: slot.version().into(), id, outputs })
}

/// Describes a model with all its versions.
///
/// # Errors
/// [`Failure::NotFound`], or [`Failure::Unavailable`] while the model is being loaded.
pub(crate) fn metadata(app: &App, target: Target<'_>) -> Result<ModelMetadata, Failure> {
    let (slot, engine) = app.engine(target.name, target.version)?;
    let versions = app.models.versions(slot.name()).into_iter().map(str::to_owned).collect();
    Ok(ModelMetadata::new(slot.name(), versions, engine.interface()))
}

/// Outputs of the file that are needed, each once.
fn fetched(engine: &Engine, outputs: &[Wanted]) -> Arc<[String]> {
    let mut names: Vec<String> = Vec::new();
    for wanted in outputs {
        let name = origin(engine, wanted);
        if !names.iter().any(|known| known == name) {
            names.push(name.into());
        }
    }
    names.into()
}

/// Output of the file that an output is made of.
fn origin<'a>(engine: &'a Engine, wanted: &'a Wanted) -> &'a str {
    match wanted.source {
        Source::Output => &wanted.name,
        Source::Probabilities => &engine.classifier().meaning().output,
    }
}

/// Splits the content into what the engine takes at once: one encoded image, or `max_batch` rows of a tensor.
fn items(content: Content, max_batch: usize) -> Vec<Item> {
    fn chunks<T: Clone>(tensor: ArrayD<T>, rows: usize, item: fn(ArrayD<T>) -> Item) -> Vec<Item> {
        if tensor.shape()[0] <= rows {
            return vec![item(tensor)];
        }
        tensor.axis_chunks_iter(Axis(0), rows).map(|chunk| item(chunk.to_owned())).collect()
    }
    match content {
        Content::Images(images) => images.into_iter().map(Item::Encoded).collect(),
        Content::Floats(tensor) => chunks(tensor, max_batch, Item::Floats),
        Content::Bytes(tensor) => chunks(tensor, max_batch, Item::Bytes),
    }
}

/// Names the image that failed; they are counted from 0, as the elements of a tensor.
fn at(index: usize, failure: Failure) -> Failure {
    match failure {
        Failure::Image { kind, message } => {
            Failure::Image { kind, message: format!("image {index}: {message}") }
        }
        other => other,
    }
}

/// Joins the outputs of all answers, each in the order of `names`, to those of `rows` images.
fn joined(names: &[String], answers: Vec<Answer>, rows: usize) -> Result<Vec<ArrayD<f32>>, Failure> {
    let mut answers = answers.into_iter().map(|answer| answer.outputs.into_iter());
    let (Some(mut first), rest) = (answers.next(), answers) else { return Err(Failure::Internal) };
    let mut rest: Vec<_> = rest.collect();
    let mut join = |name: &String| {
        let first = first.next().ok_or(Failure::Internal)?;
        if rest.is_empty() {
            return Ok(first);
        }
        let others = rest.iter_mut().filter_map(Iterator::next);
        let parts: Vec<_> = std::iter::once(first).chain(others).collect();
        let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
        let joined = concatenate(Axis(0), &views).ok().filter(|joined| joined.shape()[0] == rows);
        joined.ok_or_else(|| {
            Failure::Invalid(format!("the output `{name}` has no row for each image: send one at a time"))
        })
    };
    names.iter().map(&mut join).collect()
}

/// Makes an output of what was computed.
fn output(
    engine: &Engine,
    names: &[String],
    computed: &[ArrayD<f32>],
    wanted: Wanted,
    rows: usize,
) -> Result<OutputTensor, Failure> {
    let position = names.iter().position(|name| name == origin(engine, &wanted));
    let values = position.and_then(|position| computed.get(position)).ok_or(Failure::Internal)?;
    let values = match wanted.source {
        Source::Output => values.clone(),
        Source::Probabilities => probabilities(engine, values, rows)?,
    };
    Ok(OutputTensor::new(wanted, values, &engine.classifier().card().labels)?)
}

/// Probabilities of the classes, `[N, classes]`, from the output with the scores.
fn probabilities(engine: &Engine, scores: &ArrayD<f32>, rows: usize) -> Result<ArrayD<f32>, Failure> {
    let meaning = engine.classifier().meaning();
    let mut values = Vec::new();
    for row in meaning.rows(scores, rows)? {
        values.extend(meaning.probabilities(&row)?.into_iter().map(|probability| probability as f32));
    }
    let shape = [rows, values.len() / rows.max(1)];
    ArrayD::from_shape_vec(&shape[..], values).map_err(|_| Failure::Internal)
}
