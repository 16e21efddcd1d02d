//! Initialisation from pretrained weights: matching by name and shape, a new head, a cropped stem.
//!
//! The network's [roles](ferronnx_models::Roles) say which layers depend on the classes, which prefix published names
//! lack, and which kernel may be cropped.

use std::collections::HashSet;
use std::str::FromStr;

use ferronnx_models::{Roles, Weights};
use globset::GlobSet;
use ndarray::{ArrayD, ArrayViewD, s};
use serde::{Deserialize, Serialize};

use crate::error::TorchError;
use crate::params::Params;
use crate::recipe::{PatternError, head};

/// Initialisation of a stem whose pretrained kernel is larger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StemInit {
    /// The centre of the pretrained kernel.
    #[default]
    Centre,
    /// The random values of a new layer.
    Random,
}

/// A name that is no [`StemInit`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an initialisation of the stem: use centre or random")]
pub struct ParseStemInitError(String);

impl FromStr for StemInit {
    type Err = ParseStemInitError;

    fn from_str(text: &str) -> Result<Self, ParseStemInitError> {
        match text {
            "centre" => Ok(Self::Centre),
            "random" => Ok(Self::Random),
            other => Err(ParseStemInitError(other.into())),
        }
    }
}

/// Names of the tensors that were loaded, adapted, left new and ignored.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Tensors taken from the file unchanged.
    pub loaded: Vec<String>,
    /// Names of parameters initialised with the centre of a larger tensor in the file; they train like new ones.
    pub adapted: Vec<String>,
    /// Tensors of the network that were not loaded: they begin untrained and are never frozen unless by name.
    pub new: HashSet<String>,
    /// Tensors of the file that were not used, by the file's names.
    pub ignored: Vec<String>,
}

/// Reasons for which weights do not fit a network.
#[derive(Debug, thiserror::Error)]
pub enum PretrainedError {
    /// A tensor has another shape.
    #[error(
        "{name} has shape {found:?}, this network needs {expected:?}: the weights are of another architecture"
    )]
    Shape {
        /// Name in the file.
        name: String,
        /// Shape in the network.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
    },
    /// The file has the same tensor with and without prefix.
    #[error("{name} is there twice, with and without the prefix {prefix}")]
    Twice {
        /// Name in the network.
        name: String,
        /// Prefix of the network's names.
        prefix: String,
    },
    /// No tensor of the file belongs to the network.
    #[error("none of its {0} tensors has a name of this network")]
    Nothing(usize),
    /// A role of the network has a pattern that is not valid.
    #[error(transparent)]
    Roles(#[from] PatternError),
    /// libtorch failed.
    #[error(transparent)]
    Torch(#[from] TorchError),
}

/// Copies every tensor whose name and shape match into `params`, names with or without the network's prefix.
///
/// A head for other classes stays new. So does a stem where the file has a larger kernel; with [`StemInit::Centre`] it
/// begins with the centre of that kernel.
///
/// # Errors
/// [`PretrainedError`] for any other difference of shape, and when nothing matches. Nothing has been copied then.
pub fn load(
    params: &Params,
    weights: &Weights,
    stem: StemInit,
    roles: &Roles,
) -> Result<Loaded, PretrainedError> {
    let head = head(roles)?;
    let mut result = Loaded::default();
    let mut copies: Vec<(String, ArrayViewD<'_, f32>)> = Vec::new();
    for (name, values) in weights {
        let Some((own, expected)) = own(params, name, roles.checkpoint_prefix()) else {
            result.ignored.push(name.clone());
            continue;
        };
        if copies.iter().any(|(copied, _)| *copied == own) {
            return Err(PretrainedError::Twice { name: own, prefix: roles.checkpoint_prefix().into() });
        }
        match fit(&own, values, &expected, &head, roles) {
            Fit::Same => {
                result.loaded.push(own.clone());
                copies.push((own, values.view()));
            }
            Fit::LargerKernel(border) if stem == StemInit::Centre => {
                result.adapted.push(own.clone());
                let (from, to) = (border as isize, -(border as isize));
                copies.push((own, values.slice(s![.., .., from..to, from..to]).into_dyn()));
            }
            Fit::LargerKernel(_) | Fit::OtherClasses => result.ignored.push(name.clone()),
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

/// Finds the network's name and shape for a tensor of the file.
fn own(params: &Params, name: &str, prefix: &str) -> Option<(String, Vec<usize>)> {
    let named = |name: String| {
        let shape = params.get(&name)?.size().iter().map(|&size| size as usize).collect();
        Some((name, shape))
    };
    named(name.to_owned()).or_else(|| named(format!("{prefix}{name}")))
}

/// Relation of a tensor of the file to the network's tensor of its name.
enum Fit {
    Same,
    /// A larger kernel, by this many values on each side.
    LargerKernel(usize),
    OtherClasses,
    Not,
}

fn fit(own: &str, values: &ArrayD<f32>, expected: &[usize], head: &GlobSet, roles: &Roles) -> Fit {
    let cropped = |found: usize, expected: usize| {
        let declared = roles.cropped_kernel() == Some((own, found));
        (declared && found > expected && (found - expected).is_multiple_of(2)).then(|| (found - expected) / 2)
    };
    match (values.shape(), expected) {
        (found, expected) if found == expected => Fit::Same,
        ([filters, channels, height, width], [f, c, h, w])
            if (filters, channels) == (f, c) && height == width && h == w =>
        {
            cropped(*height, *h).map_or(Fit::Not, Fit::LargerKernel)
        }
        ([_, found @ ..], [_, expected @ ..]) if head.is_match(own) && found == expected => Fit::OtherClasses,
        _ => Fit::Not,
    }
}

#[cfg(test)]
mod tests;
