//! Assumptions about a model without a card, one that another tool wrote.
//!
//! A card says how images are prepared and what the outputs mean. Without one, each of these facts is given by the
//! caller, stated by the file or beside it ([`Facts`]), visible in the graph, or the usual choice. All of them are listed
//! with their source ([`Assumed`]). Facts without a usual choice, such as labels and normalisation, have to be given.

mod card;
mod facts;
mod interface;
pub mod label_file;
mod lines;
mod literal;
pub mod names;
mod normalization;
mod outputs;
pub mod sidecar;

use std::path::Path;
use std::str::FromStr;

use ferronnx_models::card::{Activation, ColorOrder, Fit, Layout, ResizeFilter, Size};
use serde::Serialize;
use serde_json::Value;

pub(crate) use card::{Resolved, resolve};
pub use facts::{Facts, Stated, Unusable};
pub use interface::InterfaceError;
pub use lines::LinesError;
pub use literal::{LiteralError, LiteralReason};
pub use normalization::{NormalizationError, Range, to_unit_range};
pub(crate) use outputs::{Meaning, values_per_image};

use crate::error::Result;
use label_file::LabelFile;

/// Facts about a model without a card; an absent one is looked for in the file, beside it and in the graph.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Assumptions {
    /// Names of the classes, in the order of the outputs.
    pub labels: Option<Vec<String>>,
    /// Height and width of the input.
    pub image_size: Option<Size>,
    /// Length of an image's shorter side before the centre is cut out, in pixels.
    pub resize: Option<u32>,
    /// Way in which an image of another aspect ratio becomes an input.
    pub fit: Option<Fit>,
    /// Resampling filter.
    pub filter: Option<ResizeFilter>,
    /// Order of the dimensions of the input.
    pub layout: Option<Layout>,
    /// Channels of the input and their order.
    pub channels: Option<ColorOrder>,
    /// Range of values before mean and standard deviation.
    pub range: Option<Range>,
    /// Mean of each channel of the input, in its order; not needed for a model that takes bytes.
    pub mean: Option<Vec<f32>>,
    /// Standard deviation of each channel of the input, in its order; not needed for a model that takes bytes.
    pub std: Option<Vec<f32>>,
    /// Step from the outputs to probabilities.
    pub activation: Option<Activation>,
}

impl Assumptions {
    /// Tells whether nothing is assumed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Fact about a model without a card, and its source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Assumed {
    /// Name of the fact, such as `layout`.
    pub what: &'static str,
    /// Value, for labels their number.
    pub value: Value,
    /// Source of the value: who gave it, or where it was found.
    pub source: String,
}

impl Assumed {
    /// Value as text for people: `0.485, 0.456, 0.406` or `nchw`.
    pub fn text(&self) -> String {
        match &self.value {
            Value::String(text) => text.clone(),
            Value::Array(values) => values.iter().map(Value::to_string).collect::<Vec<_>>().join(", "),
            value => value.to_string(),
        }
    }
}

/// Source of a fact that the caller gave.
const GIVEN: &str = "given";

/// List of assumptions that grows while a card is made.
#[derive(Debug, Default)]
struct Ledger(Vec<Assumed>);

impl Ledger {
    fn note(&mut self, what: &'static str, value: impl Into<Value>, source: impl Into<String>) {
        self.0.push(Assumed { what, value: value.into(), source: source.into() });
    }
}

/// First of a given and a stated fact, with its source.
fn known<T: Clone>(given: &Option<T>, stated: &Option<Stated<T>>) -> Option<Stated<T>> {
    let given = given.clone().map(|value| Stated { value, source: GIVEN.into() });
    given.or_else(|| stated.clone())
}

/// Reads labels from the file at `path`, text or JSON; see [`LabelFile`].
///
/// # Errors
/// [`NotFound`](crate::ErrorKind::NotFound), [`Io`](crate::ErrorKind::Io) or [`Labels`](crate::ErrorKind::Labels), naming
/// the file.
pub fn read_labels(path: impl AsRef<Path>) -> Result<Vec<String>> {
    Ok(LabelFile::read(path)?.labels)
}

/// Text that is not one number per channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected three numbers, as 0.485,0.456,0.406, or one for gray images")]
pub struct ParseChannelsError;

/// Parses one number per channel, separated by commas: `0.485,0.456,0.406`, or one number for a gray image.
///
/// # Errors
/// [`ParseChannelsError`] for anything but one or three finite numbers.
pub fn parse_channels(text: &str) -> std::result::Result<Vec<f32>, ParseChannelsError> {
    let numbers: Option<Vec<f32>> = text.split(',').map(|number| f32::from_str(number.trim()).ok()).collect();
    let suits = |numbers: &Vec<f32>| matches!(numbers.len(), 1 | 3) && numbers.iter().all(|n| n.is_finite());
    numbers.filter(suits).ok_or(ParseChannelsError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_channels() {
        assert_eq!(parse_channels("0.5, 1,2"), Ok(vec![0.5, 1.0, 2.0]));
        assert_eq!(parse_channels("0.5"), Ok(vec![0.5]));
        for wrong in ["", "1,2", "1,2,x", "1,2,3,4", "nan", "1,inf,2"] {
            assert_eq!(parse_channels(wrong), Err(ParseChannelsError), "{wrong}");
        }
    }
}
