//! A digest of all weights, which nothing else in the file changes.
//!
//! It does not depend on metadata, on names of nodes, on the order of tensors, or on which of the format's ways a tool
//! stores their values in: a file that was saved again by another program has the same one.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::graph::Graph;
use super::model::Model;
use super::read::ReadError;
use super::tensor::{Tensor, TensorError};

/// Digests of a model's weights: SHA-256 in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightsDigest {
    /// Digest of all tensors with their names.
    pub sha256: String,
    /// The first 16 digits for each tensor, so that one that was changed can be named; sorted by name.
    pub tensors: IndexMap<String, String>,
}

/// A reason why a file has no digest.
#[derive(Debug, thiserror::Error)]
pub enum DigestError {
    /// The bytes are no model.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A weight tensor lies in another file.
    #[error("the weights of {0} lie in another file")]
    External(String),
    /// Values of a weight tensor cannot be read.
    #[error("the weights of {name} cannot be read")]
    Tensor {
        /// Name of the tensor.
        name: String,
        /// Reason why not.
        source: TensorError,
    },
}

impl WeightsDigest {
    /// Digests the initializers of a graph.
    ///
    /// # Errors
    /// [`DigestError`] when the values of one cannot be read.
    pub fn of_graph(graph: &Graph) -> Result<Self, DigestError> {
        let digest = |(name, stored): (&String, &Tensor)| match tensor(stored) {
            Ok(digest) => Ok((name.clone(), digest)),
            Err(TensorError::External) => Err(DigestError::External(name.clone())),
            Err(source) => Err(DigestError::Tensor { name: name.clone(), source }),
        };
        graph.initializers.iter().map(digest).collect::<Result<_, _>>().map(Self::of_tensors)
    }

    /// Digests the weights in the content of an `.onnx` file.
    ///
    /// # Errors
    /// [`DigestError`] when it is no such file, or its weights are not in it.
    pub fn of_file(file: &[u8]) -> Result<Self, DigestError> {
        Self::of_graph(&Model::from_slice(file)?.graph)
    }

    fn of_tensors(mut tensors: Vec<(String, String)>) -> Self {
        tensors.sort();
        let mut hasher = Sha256::new();
        for (name, digest) in &tensors {
            hasher.update((name.len() as u64).to_le_bytes());
            hasher.update(name);
            hasher.update(digest);
        }
        let short = |(name, digest): (String, String)| (name, digest[..16].to_owned());
        Self { sha256: hex(hasher), tensors: tensors.into_iter().map(short).collect() }
    }

    /// Lists the tensors that are not the same in `other`, or in one of the two only, by name.
    pub fn differing<'a>(&'a self, other: &'a Self) -> Vec<&'a str> {
        let changed = self.tensors.iter().filter(|(name, digest)| other.tensors.get(*name) != Some(*digest));
        let added = other.tensors.keys().filter(|name| !self.tensors.contains_key(*name));
        changed.map(|(name, _)| name).chain(added).map(String::as_str).collect()
    }
}

/// Computes the SHA-256 of `bytes`, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(Sha256::new().chain_update(bytes))
}

fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Digest of element type, dimensions and values.
fn tensor(tensor: &Tensor) -> Result<String, TensorError> {
    let mut hasher = Sha256::new();
    hasher.update(tensor.element().code().to_le_bytes());
    hasher.update((tensor.dims().len() as u64).to_le_bytes());
    tensor.dims().iter().for_each(|size| hasher.update(size.to_le_bytes()));
    Ok(hex(hasher.chain_update(tensor.bytes()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Attention, Cbam};
    use crate::onnx::{Interface, Opset, Text, append_metadata, encode, passes, trace};
    use crate::testing;

    fn graph() -> Model {
        let cbam = Cbam::new("cbam", 16, Attention { ratio: 4, kernel: 3 });
        let weights = testing::weights(&cbam, &[1, 16, 4, 4]).unwrap();
        trace(&cbam, &weights, &Interface::new([16, 4, 4]), Opset::new(18).unwrap()).unwrap()
    }

    #[test]
    fn a_graph_and_its_file_have_the_same() {
        let mut half = graph();
        passes::half_precision(&mut half).unwrap();
        for graph in [graph(), half] {
            let digest = WeightsDigest::of_graph(&graph.graph).unwrap();
            assert_eq!(digest.sha256.len(), 64);
            assert_eq!(digest.tensors.len(), graph.graph.initializers.len());
            assert_eq!(WeightsDigest::of_file(&encode(graph, &[])).unwrap(), digest);
        }
    }

    #[test]
    fn only_weights_count() {
        let before = WeightsDigest::of_file(&encode(graph(), &[])).unwrap();
        let mut bytes = encode(graph(), &[("author", "someone")]);
        append_metadata(&mut bytes, &[("more", "text")]);
        let mut model = Model::from_slice(&bytes).unwrap();
        let metadata: Vec<_> = model.metadata.iter().map(|(key, _)| key).collect();
        assert_eq!(metadata, ["author", "more"]);
        // As another tool may write it.
        let graph = &mut model.graph;
        graph.initializers.reverse();
        graph.nodes.iter_mut().for_each(|node| node.name = Text::default());
        for Tensor(tensor) in graph.initializers.values_mut() {
            let raw = tensor.raw_data.take().unwrap().to_vec();
            match tensor.data_type() {
                1 => {
                    tensor.float_data =
                        raw.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
                }
                _ => {
                    tensor.int64_data =
                        raw.chunks(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect();
                }
            }
        }
        assert_eq!(WeightsDigest::of_file(&model.encode()).unwrap(), before);
    }

    #[test]
    fn what_was_changed_is_named() {
        let before = WeightsDigest::of_graph(&graph().graph).unwrap();
        let mut after = graph().graph;
        let kernel = &mut after.initializers["cbam.spatial_attn.conv.weight"];
        let mut values = kernel.to_array::<f32>().unwrap();
        values[[0, 0, 0, 0]] = f32::from_bits(values[[0, 0, 0, 0]].to_bits() ^ 1);
        *kernel = values.into();
        let axes = after.initializers.shift_remove("axes_1").unwrap();
        after.initializers.insert("extra".into(), axes);
        let after = WeightsDigest::of_graph(&after).unwrap();
        assert_ne!(after.sha256, before.sha256);
        assert_eq!(before.differing(&after), ["axes_1", "cbam.spatial_attn.conv.weight", "extra"]);
        assert!(before.differing(&before).is_empty());
    }

    #[test]
    fn what_is_no_file_of_its_own_is_refused() {
        assert!(matches!(WeightsDigest::of_file(b"text"), Err(DigestError::Read(_))));
        let mut model = graph();
        model.graph.initializers[0].externalize("elsewhere", 0, 4);
        let error = WeightsDigest::of_file(&model.encode()).unwrap_err().to_string();
        assert_eq!(error, "the weights of cbam.channel_attn.fc.0.weight lie in another file");
    }
}
