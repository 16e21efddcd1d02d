//! Starting from weights of another training.

use std::collections::HashSet;
use std::str::FromStr;

use ferronnx_models::Weights;
use ndarray::{ArrayD, ArrayViewD, s};
use serde::{Deserialize, Serialize};

use crate::error::TorchError;
use crate::params::Params;

/// What becomes of the stem when the weights have torchvision's 7x7 kernel and the network a 3x3 one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StemInit {
    /// The centre of the 7x7 kernel.
    #[default]
    Centre,
    /// The initial values of a new layer.
    Random,
}

impl FromStr for StemInit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "centre" => Ok(Self::Centre),
            "random" => Ok(Self::Random),
            other => Err(format!("{other:?} is no way to begin a stem: use centre or random")),
        }
    }
}

/// What became of each tensor, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Taken from the file as they are.
    pub loaded: Vec<String>,
    /// Made from a tensor of the file; these are new all the same.
    pub adapted: Vec<String>,
    /// In the network, and not loaded: these begin with values that were not trained, and are never frozen.
    pub new: HashSet<String>,
    /// In the file, and not used; under the file's names.
    pub ignored: Vec<String>,
}

/// Why weights do not fit.
#[derive(Debug, thiserror::Error)]
pub enum PretrainedError {
    /// A tensor of the backbone has another shape.
    #[error(
        "{name} has shape {found:?}, this network needs {expected:?}: the weights are of another architecture"
    )]
    Shape {
        /// The tensor.
        name: String,
        /// What the network needs.
        expected: Vec<usize>,
        /// What the file holds.
        found: Vec<usize>,
    },
    /// The same tensor with and without prefix.
    #[error("{name} is there twice, with and without the prefix {BACKBONE}")]
    Twice {
        /// The tensor, in the network.
        name: String,
    },
    /// Nothing in the file belongs to the network.
    #[error("none of its {0} tensors has a name of this network")]
    Nothing(usize),
    /// libtorch refused.
    #[error(transparent)]
    Torch(#[from] TorchError),
}

const BACKBONE: &str = "backbone.";
const STEM: &str = "backbone.conv1.weight";
const HEAD: &str = "backbone.fc.";

/// Gives bare names of torchvision the prefix that they have in this project; other names stay.
pub fn with_prefix(weights: Weights) -> Weights {
    let bare = !weights.contains_key(STEM) && weights.contains_key(&STEM[BACKBONE.len()..]);
    if !bare {
        return weights;
    }
    let named = |name: String| if name.starts_with("cbam_") { name } else { format!("{BACKBONE}{name}") };
    weights.into_iter().map(|(name, values)| (named(name), values)).collect()
}

/// Copies every tensor whose name and shape match, with or without the `backbone.` prefix.
///
/// A head for other classes is new, and so is a 3x3 stem where the file has a 7x7 one; with [`StemInit::Centre`] it
/// begins with the centre of the latter.
///
/// # Errors
/// Any other difference of shape, and a file in which nothing matches. Nothing has been copied then.
pub fn load(params: &Params, weights: &Weights, stem: StemInit) -> Result<Loaded, PretrainedError> {
    let mut result = Loaded::default();
    let mut copies: Vec<(String, ArrayViewD<'_, f32>)> = Vec::new();
    for (name, values) in weights {
        let Some((own, expected)) = own(params, name) else {
            result.ignored.push(name.clone());
            continue;
        };
        if copies.iter().any(|(copied, _)| *copied == own) {
            return Err(PretrainedError::Twice { name: own });
        }
        match fit(&own, values, &expected) {
            Fit::Same => {
                result.loaded.push(own.clone());
                copies.push((own, values.view()));
            }
            Fit::LargerStem if stem == StemInit::Centre => {
                result.adapted.push(own.clone());
                copies.push((own, values.slice(s![.., .., 2..5, 2..5]).into_dyn()));
            }
            Fit::LargerStem | Fit::OtherClasses => result.ignored.push(name.clone()),
            Fit::Not => {
                let found = values.shape().to_vec();
                return Err(PretrainedError::Shape { name: name.clone(), expected, found });
            }
        }
    }
    if result.loaded.is_empty() {
        return Err(PretrainedError::Nothing(weights.len()));
    }
    for (name, values) in copies {
        params.assign(&name, &values.to_owned())?;
    }
    let loaded: HashSet<&str> = result.loaded.iter().map(String::as_str).collect();
    result.new = params.names().filter(|name| !loaded.contains(name)).map(Into::into).collect();
    Ok(result)
}

/// The network's name for a tensor of the file, and its shape there.
fn own(params: &Params, name: &str) -> Option<(String, Vec<usize>)> {
    let named = |name: String| {
        let shape = params.get(&name)?.size().iter().map(|&size| size as usize).collect();
        Some((name, shape))
    };
    named(name.to_owned()).or_else(|| named(format!("{BACKBONE}{name}")))
}

/// How a tensor fits where it belongs.
enum Fit {
    Same,
    LargerStem,
    OtherClasses,
    Not,
}

fn fit(own: &str, values: &ArrayD<f32>, expected: &[usize]) -> Fit {
    match (values.shape(), expected) {
        (found, expected) if found == expected => Fit::Same,
        ([filters, channels, 7, 7], [f, c, 3, 3]) if own == STEM && (filters, channels) == (f, c) => {
            Fit::LargerStem
        }
        ([_, found @ ..], [_, expected @ ..]) if own.starts_with(HEAD) && found == expected => {
            Fit::OtherClasses
        }
        _ => Fit::Not,
    }
}

#[cfg(test)]
mod tests;
