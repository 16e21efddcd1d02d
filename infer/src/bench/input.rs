//! Inputs of a benchmark.

use std::path::PathBuf;

use ferronnx_models::card::InputForm;
use ferronnx_models::onnx::{Dim, Element};
use image::RgbImage;
use ndarray::ArrayD;

use super::Plan;
use crate::classifier::card_of;
use crate::decode;
use crate::error::{ModelError, Result};
use crate::preprocess::{Batch, Preprocessor};
use crate::session::{Input, Session};

/// Source of a benchmark's inputs.
pub(super) enum Feed {
    /// Preprocessed images.
    Images(Box<Preprocessor>, Vec<RgbImage>, InputForm),
    /// Generated numbers, of this shape without the batch.
    Numbers(Vec<usize>, Element),
}

impl Feed {
    /// Prepares the images of `plan`, or generated numbers if it has none.
    pub(super) fn new(session: &Session, plan: &Plan) -> Result<Self> {
        if !plan.images.is_empty() {
            let card = card_of(session, &plan.assumptions)?.card;
            let preprocessor = Preprocessor::new(&card.preprocessing);
            let most = plan.batches.iter().copied().max().unwrap_or(1);
            let prepare = |path: &PathBuf| Ok(preprocessor.prepare(&decode::file(path)?));
            let images = plan.images.iter().take(most).map(prepare).collect::<Result<_>>()?;
            let form = session.input_form(card.input);
            return Ok(Self::Images(Box::new(preprocessor), images, form));
        }
        let input = session.input();
        let size = |dim: &Dim| match dim {
            Dim::Fixed(size) => Ok(*size),
            Dim::Symbol(name) => {
                Err(ModelError::UnknownSize { input: input.name.clone(), dimension: name.clone() })
            }
        };
        let item = input.shape.iter().skip(1).map(size).collect::<std::result::Result<_, _>>()?;
        Ok(Self::Numbers(item, input.element))
    }

    /// Makes the input of a pass over `size` items.
    pub(super) fn batch(&self, size: usize) -> Values {
        match self {
            Self::Images(preprocessor, images, form) => {
                let images: Vec<_> = images.iter().cycle().take(size).collect();
                match preprocessor.batch(&images, *form) {
                    Batch::Float(values) => Values::Float(values.into_dyn()),
                    Batch::Bytes(values) => Values::Bytes(values.into_dyn()),
                }
            }
            Self::Numbers(item, element) => {
                let bytes = numbers(&[&[size], &item[..]].concat());
                match element {
                    Element::Uint8 => Values::Bytes(bytes),
                    // Values in [-2, 2), as normalised images have.
                    _ => Values::Float(bytes.mapv(|byte| f32::from(byte) / 64.0 - 2.0)),
                }
            }
        }
    }
}

/// Input of any rank, owned.
pub(super) enum Values {
    Float(ArrayD<f32>),
    Bytes(ArrayD<u8>),
}

impl<'a> From<&'a Values> for Input<'a> {
    fn from(values: &'a Values) -> Self {
        match values {
            Values::Float(values) => values.view().into(),
            Values::Bytes(values) => values.view().into(),
        }
    }
}

/// Bytes that count up to a prime and begin again, so that neighbours differ along every axis.
fn numbers(shape: &[usize]) -> ArrayD<u8> {
    const PERIOD: usize = 251;
    let bytes = (0..shape.iter().product()).map(|index: usize| (index % PERIOD) as u8).collect();
    ArrayD::from_shape_vec(shape, bytes).expect("as many bytes as the shape has values")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_numbers_vary_along_every_axis() {
        let numbers = numbers(&[2, 3, 16, 16]);
        for at in [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]] {
            assert_ne!(numbers[[0, 0, 0, 0]], numbers[at], "{at:?}");
        }
    }
}
