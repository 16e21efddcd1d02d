//! Passes of a network over prepared images.

use ferronnx_models::card::InputForm;
use image::RgbImage;
use ndarray::{ArrayD, Axis, Slice};

use crate::preprocess::Preprocessor;
use crate::session::{Input, Session, SessionError};

/// Runs one pass over prepared images, in the `form` of the input, and fetches outputs for them.
///
/// A batch is filled up to at least `least` images, or to the fixed size of the model, with copies of the last image, whose
/// outputs are dropped.
///
/// # Errors
/// Those of [`Session::fetch`].
pub(crate) fn pass(
    session: &Session,
    preprocessor: &Preprocessor,
    form: InputForm,
    prepared: &[&RgbImage],
    least: usize,
    outputs: &[&str],
) -> Result<Vec<ArrayD<f32>>, SessionError> {
    let size = session.fixed_batch().unwrap_or(prepared.len().max(least));
    let last = prepared.last().copied();
    let filled: Vec<&RgbImage> =
        prepared.iter().copied().chain(last.into_iter().cycle()).take(size).collect();
    let batch = preprocessor.batch(&filled, session.input_form(form));
    let input = Input::from(&batch).with_rank_of(&session.input().shape);
    let mut found = session.pass(&input, outputs)?;
    for output in &mut found {
        if output.shape().first() == Some(&size) && prepared.len() < size {
            output.slice_axis_inplace(Axis(0), Slice::from(..prepared.len()));
        }
    }
    Ok(found)
}
