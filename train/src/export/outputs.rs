//! Further outputs of an exported file: features and feature maps of its classifier head.

use ferronnx_models::Module;
use ferronnx_models::card::OutputRole;
use ferronnx_models::lockstep::LockstepError;
use ferronnx_models::onnx::head::{self, FEATURE_MAPS, FEATURES, Head, HeadError};
use ferronnx_models::onnx::{Interface, Model, TraceError};
use indexmap::IndexMap;

use super::{ExportError, ExportOptions};

/// Adds the outputs that `options` ask for to the graph of `network`, as it was traced.
pub(super) fn add(
    model: &mut Model,
    network: &impl Module,
    interface: &Interface,
    options: &ExportOptions,
) -> Result<(), ExportError> {
    if !options.features && !options.feature_maps {
        return Ok(());
    }
    let head = Head::find(model, &interface.output)?;
    let shapes = head::shapes(network, interface).map_err(|error| match error {
        LockstepError::Names(error) => error,
        LockstepError::Values(error) => TraceError::Shape(error),
    })?;
    let mut output = |value: &str, name: &str| {
        let sizes: Vec<_> = shapes[value][1..].iter().copied().map(Some).collect();
        match head::add_output(model, value, name, &sizes) == name {
            true => Ok(()),
            false => Err(HeadError::Taken(name.into())),
        }
    };
    if options.features {
        output(&head.features, FEATURES)?;
    }
    if options.feature_maps {
        output(head.maps.as_deref().ok_or(HeadError::Maps)?, FEATURE_MAPS)?;
    }
    Ok(())
}

/// Roles of the outputs for the card; none for a file with logits and observed values alone.
pub(super) fn roles(model: &Model, options: &ExportOptions) -> IndexMap<String, OutputRole> {
    let wanted = [
        (FEATURES, OutputRole::Features, options.features),
        (FEATURE_MAPS, OutputRole::FeatureMaps, options.feature_maps),
    ];
    let further = wanted.into_iter().filter(|(.., is_wanted)| *is_wanted);
    let further = further.map(|(name, role, _)| (name.to_owned(), role));
    let scores = (model.graph.outputs[0].name.to_string(), OutputRole::Scores);
    match options.features || options.feature_maps {
        true => std::iter::once(scores).chain(further).collect(),
        false => IndexMap::new(),
    }
}
