//! Search for a ResNet18, with its configuration, in a checkpoint.

use super::error::FormatError;
use super::families::Seems;
use super::{Candidate, Checkpoint, PassedOver, Sought, StoredTensor};
use crate::layers::Param;
use crate::resnet::{Architecture, ArchitectureError, ResNet18};
use crate::{Module, Weights, shapes};

/// ResNet18 of a checkpoint.
#[derive(Debug)]
#[non_exhaustive]
pub struct Found {
    /// Configuration, read from the shapes of the tensors.
    pub architecture: Architecture,
    /// Values of all parameters.
    pub weights: Weights,
    /// Prefix of the names in the file, with the keys that lead to them.
    pub prefix: String,
    /// Prefixes of other whole ResNet18s in the file.
    pub alternatives: Vec<String>,
    /// Everything else in the file.
    pub passed_over: PassedOver,
}

/// Failure to find a ResNet18 in a checkpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// The checkpoint is of another network.
    #[error("it holds no ResNet18 of this project{seems}")]
    Other {
        /// Network that it seems to be of.
        seems: Seems,
        /// First reason found.
        source: Misfit,
    },
    /// The values of a parameter cannot be read.
    #[error("its ResNet18 cannot be read")]
    Values(#[source] FormatError),
}

/// Difference between a checkpoint and a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misfit {
    /// No tensor has a name of the network.
    #[error("none of its {0} tensors has a name of this network")]
    Nothing(usize),
    /// The shapes are those of no configuration.
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),
    /// Parameters of the network are missing.
    #[error("{found} of the network's {all} tensors are there, {missing} is not")]
    Missing {
        /// First one that is missing.
        missing: String,
        /// Number of parameters that were found.
        found: usize,
        /// Number of parameters of the network.
        all: usize,
    },
    /// A tensor has another shape.
    #[error("{name} has shape {found:?}, this network needs {expected:?}")]
    Shape {
        /// Name in the file.
        name: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape in the network.
        expected: Vec<usize>,
    },
    /// Modules of the network have further tensors in the file.
    #[error("the network has no place for {tensors} of its tensors, such as {first}")]
    LeftOver {
        /// Name of the first one in the file.
        first: String,
        /// Number of such tensors.
        tensors: usize,
    },
    /// The state dict has layers beside those of the network.
    #[error(
        "{tensors} tensors of the same state dict, such as {first}, belong to layers that this network does not have"
    )]
    Beside {
        /// Name of the first one in the file.
        first: String,
        /// Number of such tensors.
        tensors: usize,
    },
    /// Two tensors are the same parameter in different spellings.
    #[error("{0} and {1} would be the same parameter")]
    Twice(String, String),
}

/// Finds the ResNet18 in a checkpoint: all its parameters, in their shapes, with nothing left over.
///
/// Of several, the one that [`Checkpoint::candidates`] lists first is taken; the others are named. `leave_out` allows
/// tensors beside the network, by their names in the file.
///
/// # Errors
/// [`FindError::Other`] says why the best candidate does not fit, and which network the file seems to hold.
pub fn find(checkpoint: &Checkpoint<'_>, leave_out: impl Fn(&str) -> bool) -> Result<Found, FindError> {
    let network = ResNet18::new(&Architecture::default()).expect("the default exists");
    let names = parameters(&network);
    let sought = Sought::new(names.iter().map(|param| param.name.as_str()), &network.roles());
    let candidates = checkpoint.candidates(&sought);
    let mut fitting = Vec::new();
    let mut first_misfit = None;
    for candidate in &candidates {
        match fit(candidate, &leave_out) {
            Ok(architecture) => fitting.push((candidate, architecture)),
            Err(misfit) => drop(first_misfit.get_or_insert(misfit)),
        }
    }
    let Some(&(candidate, architecture)) = fitting.first() else {
        let source = first_misfit.unwrap_or(Misfit::Nothing(checkpoint.tensors().len()));
        return Err(FindError::Other { seems: Seems::of(checkpoint), source });
    };
    let wanted = parameters(
        &ResNet18::new(&architecture)
            .map_err(|error| FindError::Other { seems: Seems::default(), source: error.into() })?,
    );
    let weights =
        candidate.weights(wanted.iter().map(|param| param.name.as_str())).map_err(FindError::Values)?;
    Ok(Found {
        architecture,
        weights,
        prefix: candidate.prefix().to_owned(),
        alternatives: fitting[1..].iter().map(|(other, _)| FormatError::quote(other.prefix())).collect(),
        passed_over: candidate.passed_over(),
    })
}

/// Parameters of a network, which do not depend on the size of its input.
fn parameters(network: &ResNet18) -> Vec<Param> {
    shapes::describe(network, &[1, 3, 64, 64]).expect("a ResNet18 takes images of this size").params
}

/// Finds the configuration for which a candidate has all parameters, and nothing else.
fn fit(candidate: &Candidate<'_>, leave_out: impl Fn(&str) -> bool) -> Result<Architecture, Misfit> {
    if let Some((_, [first, second])) = candidate.twice().next() {
        return Err(Misfit::Twice(FormatError::quote(first), FormatError::quote(second)));
    }
    let shape = |name: &str| candidate.get(name).and_then(StoredTensor::shape);
    let architecture = Architecture::of_shapes(shape)?;
    let params = parameters(&ResNet18::new(&architecture)?);
    let all = params.len();
    for Param { name, shape: expected, .. } in params {
        let Some(tensor) = candidate.get(&name) else {
            let missing = name;
            return Err(Misfit::Missing { missing, found: candidate.names().len(), all });
        };
        let found = tensor.shape().unwrap_or_default();
        if tensor.shape().is_some() && found != expected {
            return Err(Misfit::Shape {
                name: FormatError::quote(&tensor.name),
                found: found.into(),
                expected,
            });
        }
    }
    left_over(candidate, leave_out)?;
    Ok(architecture)
}

fn left_over(candidate: &Candidate<'_>, leave_out: impl Fn(&str) -> bool) -> Result<(), Misfit> {
    if let [first, ..] = candidate.inside()[..] {
        let tensors = candidate.inside().len();
        return Err(Misfit::LeftOver { first: FormatError::quote(&first.name), tensors });
    }
    let mut beside = candidate.beside();
    beside.retain(|tensor| !leave_out(&tensor.name));
    match beside[..] {
        [] => Ok(()),
        [first, ..] => Err(Misfit::Beside { first: FormatError::quote(&first.name), tensors: beside.len() }),
    }
}
