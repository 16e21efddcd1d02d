//! Search for a ResNet18, with its configuration, in a checkpoint.

use std::collections::HashSet;

use super::error::FormatError;
use super::families::Seems;
use super::{Candidate, Checkpoint, Misfit, PassedOver, Sought, StoredTensor};
use crate::layers::Param;
use crate::resnet::{Architecture, ArchitectureError, ResNet18};
use crate::{Module, Weights, shapes};

/// Weight of the classifier.
const HEAD: &str = "backbone.fc.weight";

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
    /// Name of the classifier's weight in the file.
    pub head: String,
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
    #[error("its tensors are not those of a ResNet18 as this project defines it{seems}")]
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

/// Finds the ResNet18 in a checkpoint: all its parameters, in their shapes, with nothing left over.
///
/// The one of several that [`Checkpoint::candidates`] lists first is taken; the others are named. `leave_out` allows
/// tensors beside the network, by their names in the file.
///
/// # Errors
/// [`FindError::Other`] says why the best candidate does not fit, and which network the file seems to hold.
pub fn find(checkpoint: &Checkpoint<'_>, leave_out: impl Fn(&str) -> bool) -> Result<Found, FindError> {
    let network = ResNet18::new(&Architecture::default()).expect("the default exists");
    let names = parameters(&Architecture::default()).expect("the default exists");
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
    let wanted = parameters(&architecture)
        .map_err(|error| FindError::Other { seems: Seems::default(), source: error.into() })?;
    let weights =
        candidate.weights(wanted.iter().map(|param| param.name.as_str())).map_err(FindError::Values)?;
    Ok(Found {
        architecture,
        weights,
        prefix: FormatError::quote(candidate.prefix()),
        head: candidate.get(HEAD).map(|tensor| FormatError::quote(&tensor.name)).unwrap_or_default(),
        alternatives: fitting[1..].iter().map(|(other, _)| FormatError::quote(other.prefix())).collect(),
        passed_over: candidate.passed_over(),
    })
}

/// Parameters of a configuration, which do not depend on the size of its input.
fn parameters(architecture: &Architecture) -> Result<Vec<Param>, ArchitectureError> {
    let described = shapes::describe(&ResNet18::new(architecture)?, &[1, architecture.channels, 64, 64]);
    Ok(described.expect("a ResNet18 takes images of this size").params)
}

/// Finds the configuration for which a candidate has all parameters, and nothing else.
fn fit(candidate: &Candidate<'_>, leave_out: impl Fn(&str) -> bool) -> Result<Architecture, Misfit> {
    if let Some((_, [first, second])) = candidate.twice().next() {
        return Err(Misfit::Twice(FormatError::quote(first), FormatError::quote(second)));
    }
    for tensor in candidate.names().filter_map(|name| candidate.get(name)) {
        if let Some(why) = tensor.fault() {
            return Err(Misfit::Tensor { name: FormatError::quote(&tensor.name), why: why.clone() });
        }
    }
    let found = candidate.names().len();
    let missing = |missing: String, all: usize| match 2 * found < all {
        true => Misfit::Few { found, tensors: candidate.tensors().len() },
        false => Misfit::Missing { missing, found, all },
    };
    let plain = parameters(&Architecture { attention: None, ..Architecture::default() })?;
    let shape = |name: &str| candidate.get(name).and_then(StoredTensor::shape);
    let architecture = Architecture::of_shapes(shape).map_err(|error| match error {
        ArchitectureError::NotResNet18(name) => missing(name, plain.len()),
        other => other.into(),
    })?;
    let params = parameters(&architecture)?;
    let all = params.len();
    let own: HashSet<&str> = params.iter().map(|param| param.name.as_str()).collect();
    // Attention of which a part is missing looks like none.
    let others: Vec<_> = candidate.names().filter(|name| !own.contains(name)).collect();
    if let Some(first) = others.first().and_then(|name| candidate.get(name)) {
        return Err(Misfit::LeftOver { first: FormatError::quote(&first.name), tensors: others.len() });
    }
    for Param { name, shape: expected, .. } in &params {
        let Some(tensor) = candidate.get(name) else { return Err(missing(name.clone(), all)) };
        let found = tensor.shape().unwrap_or_default();
        if found != expected {
            let expected = expected.clone();
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
