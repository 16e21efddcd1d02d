//! Search for a built-in network, with its configuration, in a checkpoint.

use std::collections::HashSet;

use super::error::FormatError;
use super::families::Seems;
use super::{Candidate, Checkpoint, Misfit, PassedOver, Sought, StoredTensor};
use crate::layers::{Attention, Param};
use crate::networks::{
    Architecture, ArchitectureError, AttentionKind, Classifier, Network, PlacedAttention, Placement, Stem,
};
use crate::{Module, Weights, shapes};

/// Network of a checkpoint.
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
    /// Prefixes of other whole networks in the file.
    pub alternatives: Vec<String>,
    /// Everything else in the file.
    pub passed_over: PassedOver,
}

/// Failure to find a network in a checkpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// The checkpoint is of another network.
    #[error("its tensors are not exactly those of a network that is built in{seems}")]
    Other {
        /// Network that it seems to be of.
        seems: Seems,
        /// First reason found.
        source: Misfit,
    },
    /// The values of a parameter cannot be read.
    #[error("its network cannot be read")]
    Values(#[source] FormatError),
}

/// Finds the built-in network in a checkpoint: all its parameters, in their shapes, with nothing left over.
///
/// The one of several that [`Checkpoint::candidates`] lists first is taken; the others are named. `leave_out` allows
/// tensors beside the network, by their names in the file.
///
/// # Errors
/// [`FindError::Other`] says why the best candidate does not fit, and which network the file seems to hold.
pub fn find(checkpoint: &Checkpoint<'_>, leave_out: impl Fn(&str) -> bool) -> Result<Found, FindError> {
    let mut fitting = Vec::new();
    let mut nearest: Option<(usize, Misfit)> = None;
    for network in Network::ALL {
        let plain = plain(network);
        for candidate in checkpoint.candidates(&sought(network)) {
            match fit(network, &candidate, &leave_out) {
                Ok(architecture) => fitting.push((candidate, architecture)),
                Err(misfit) => {
                    let missing = plain.iter().filter(|param| candidate.get(&param.name).is_none()).count();
                    let distance = missing + candidate.inside().len();
                    if nearest.as_ref().is_none_or(|(least, _)| distance < *least) {
                        nearest = Some((distance, misfit));
                    }
                }
            }
        }
    }
    // Stable, so that the first of equals stays first.
    fitting.sort_by_key(|(candidate, _)| std::cmp::Reverse(candidate.names().len()));
    let Some((candidate, architecture)) = fitting.first() else {
        let source = nearest.map_or(Misfit::Nothing(checkpoint.tensors().len()), |(_, misfit)| misfit);
        return Err(FindError::Other { seems: Seems::of(checkpoint), source });
    };
    let wanted = parameters(architecture)
        .map_err(|error| FindError::Other { seems: Seems::default(), source: error.into() })?;
    let head = candidate.get(architecture.network.head_weight());
    Ok(Found {
        architecture: *architecture,
        weights: weights(candidate, &wanted).map_err(FindError::Values)?,
        prefix: FormatError::quote(candidate.prefix()),
        head: head.map(|tensor| FormatError::quote(&tensor.name)).unwrap_or_default(),
        alternatives: fitting[1..].iter().map(|(other, _)| FormatError::quote(other.prefix())).collect(),
        passed_over: candidate.passed_over(),
    })
}

/// Names of a network with every kind of attention at every place.
fn sought(network: Network) -> Sought {
    let kinds = [
        AttentionKind::Cbam(Attention { ratio: 1, kernel: 1 }),
        AttentionKind::Se { ratio: 1 },
        AttentionKind::Eca { kernel: 1 },
    ];
    let placed = kinds.iter().flat_map(|&kind| {
        [Placement::Blocks, Placement::default()].map(|at| Some(PlacedAttention { kind, at }))
    });
    let names: HashSet<String> = placed
        .map(|attention| Architecture { attention, ..usual(network) })
        .flat_map(|architecture| parameters(&architecture).expect("a ratio of 1 fits every network"))
        .map(|param| param.name)
        .collect();
    let roles = Classifier::new(&usual(network)).expect("the usual network exists").roles();
    Sought::new(names.iter().map(String::as_str), &roles)
}

fn usual(network: Network) -> Architecture {
    Architecture { network, stem: Stem::Imagenet, attention: None, ..Architecture::default() }
}

/// Parameters of a network without attention.
fn plain(network: Network) -> Vec<Param> {
    parameters(&usual(network)).expect("the usual network exists")
}

/// Parameters of a configuration, which do not depend on the size of its input.
fn parameters(architecture: &Architecture) -> Result<Vec<Param>, ArchitectureError> {
    let described = shapes::describe(&Classifier::new(architecture)?, &[1, architecture.channels, 64, 64]);
    Ok(described.expect("the networks take images of this size").params)
}

/// Values of the parameters, in the shapes that the network has for them.
fn weights(candidate: &Candidate<'_>, wanted: &[Param]) -> Result<Weights, FormatError> {
    let mut weights = candidate.weights(wanted.iter().map(|param| param.name.as_str()))?;
    for Param { name, shape, .. } in wanted {
        if let Some(values) = weights.get_mut(name).filter(|values| values.shape() != shape) {
            let reshaped = std::mem::take(values).into_shape_with_order(shape.as_slice());
            *values = reshaped.expect("the shapes differ in ones only");
        }
    }
    Ok(weights)
}

/// Finds the configuration for which a candidate has all parameters, and nothing else.
fn fit(
    network: Network,
    candidate: &Candidate<'_>,
    leave_out: impl Fn(&str) -> bool,
) -> Result<Architecture, Misfit> {
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
    let shape = |name: &str| candidate.get(name).and_then(StoredTensor::shape);
    let architecture = Architecture::of_shapes(network, shape).map_err(|error| match error {
        ArchitectureError::Missing(name) => missing(name, plain(network).len()),
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
        if !same_values(found, expected) {
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

/// Tells whether shapes differ at most in ones at their ends: a 1x1 convolution `[O, I, 1, 1]` has the values of a linear
/// layer `[O, I]`.
pub fn same_values(found: &[usize], expected: &[usize]) -> bool {
    let core = |shape: &[usize]| shape.iter().rposition(|&size| size != 1).map_or(0, |last| last + 1);
    found == expected || (found.len() != expected.len() && found[..core(found)] == expected[..core(expected)])
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

#[cfg(test)]
mod tests {
    use super::same_values;

    #[test]
    fn a_convolution_of_one_pixel_is_a_linear_layer_and_nothing_else_is() {
        assert!(same_values(&[4, 64, 1, 1], &[4, 64]));
        assert!(same_values(&[1, 1, 3], &[1, 1, 3]));
        for (found, expected) in [
            (&[64, 4, 1, 1][..], &[4, 64][..]),
            (&[16, 1, 3, 3], &[16, 3, 3]),
            (&[1, 4, 64], &[4, 64]),
            (&[4, 1], &[1, 4]),
        ] {
            assert!(!same_values(found, expected), "{found:?} {expected:?}");
        }
    }
}
