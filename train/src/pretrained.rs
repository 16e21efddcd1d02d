//! Starting from weights of another training.

use std::collections::HashSet;

use models::Weights;

use crate::error::TorchError;
use crate::params::Params;

/// What became of each tensor, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Taken from the file.
    pub loaded: Vec<String>,
    /// In the network, and not taken from the file: these keep their initial values, and are never frozen.
    pub new: HashSet<String>,
    /// In the file, and not in the network.
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
    /// Nothing in the file belongs to the network.
    #[error("none of its {0} tensors has a name of this network")]
    Nothing(usize),
    /// libtorch refused.
    #[error(transparent)]
    Torch(#[from] TorchError),
}

const BACKBONE: &str = "backbone.";

/// Copies every tensor whose name and shape match, with or without the `backbone.` prefix.
///
/// A head for other classes and a stem of another kernel are new; any other difference of shape is an error, and
/// nothing has been copied then.
pub fn load(params: &Params, weights: &Weights) -> Result<Loaded, PretrainedError> {
    let mut result = Loaded::default();
    let mut matches = Vec::new();
    for (name, values) in weights {
        let prefixed = format!("{BACKBONE}{name}");
        let own = if params.get(name).is_some() { name } else { &prefixed };
        let Some(tensor) = params.get(own) else {
            result.ignored.push(name.clone());
            continue;
        };
        let expected: Vec<usize> = tensor.size().iter().map(|&size| size as usize).collect();
        if expected == values.shape() {
            matches.push((own.clone(), values));
        } else if own.starts_with("backbone.fc.") || own == "backbone.conv1.weight" {
            result.ignored.push(name.clone());
        } else {
            return Err(PretrainedError::Shape {
                name: name.clone(),
                expected,
                found: values.shape().to_vec(),
            });
        }
    }
    if matches.is_empty() {
        return Err(PretrainedError::Nothing(weights.len()));
    }
    for (name, values) in matches {
        params.assign(&name, values)?;
        result.loaded.push(name);
    }
    result.new = params
        .names()
        .filter(|name| !result.loaded.iter().any(|loaded| loaded == name))
        .map(Into::into)
        .collect();
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::layers::Param;
    use models::resnet::{Architecture, ResNet18, Stem};
    use models::{shapes, testing};
    use tch::Device;

    fn network(architecture: Architecture) -> (Vec<Param>, Weights) {
        let network = ResNet18::new(&architecture).unwrap();
        let params = shapes::describe(&network, &[1, 3, 64, 64]).unwrap().params;
        (params, testing::weights(&network, &[1, 3, 64, 64]).unwrap())
    }

    fn fresh(classes: usize) -> Params {
        Params::initialise(&network(Architecture { classes, ..Architecture::default() }).0, 1, Device::Cpu)
            .unwrap()
    }

    #[test]
    fn a_torchvision_backbone_without_prefix() {
        let (_, weights) = network(Architecture { classes: 10, stem: Stem::Imagenet, attention: None });
        let bare: Weights =
            weights.into_iter().map(|(name, values)| (name.replacen(BACKBONE, "", 1), values)).collect();
        let params = fresh(5);
        let loaded = load(&params, &bare).unwrap();
        assert_eq!(loaded.ignored, ["conv1.weight", "fc.weight", "fc.bias"], "another stem and head");
        assert!(loaded.new.contains("backbone.conv1.weight") && loaded.new.contains("backbone.fc.bias"));
        assert!(loaded.new.contains("cbam_layer4.spatial_attn.conv.weight"));
        assert_eq!(loaded.new.len(), 3 + 12);
        assert_eq!(
            params.to_weights().unwrap()["backbone.layer3.0.conv1.weight"],
            bare["layer3.0.conv1.weight"]
        );
    }

    #[test]
    fn another_architecture_changes_nothing() {
        let (_, mut weights) = network(Architecture::default());
        weights["backbone.layer2.0.conv1.weight"] = ndarray::ArrayD::zeros(vec![128, 64, 1, 1]);
        let params = fresh(10);
        let before = params.to_weights().unwrap();
        let error = load(&params, &weights).unwrap_err().to_string();
        assert!(error.starts_with("backbone.layer2.0.conv1.weight has shape [128, 64, 1, 1]"), "{error}");
        assert_eq!(params.to_weights().unwrap(), before);
        let strange: Weights = [("encoder.weight".to_owned(), ndarray::ArrayD::zeros(vec![2]))].into();
        assert!(load(&params, &strange).unwrap_err().to_string().contains("none of its 1 tensors"));
    }
}
