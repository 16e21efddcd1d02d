//! A digest of all weights, which nothing else in the file changes.
//!
//! It does not depend on metadata, on names of nodes, on the order of tensors, or on which of the format's ways a tool
//! stores their values in: a file that was saved again by another program has the same one.

use indexmap::IndexMap;
use prost::Message;
use prost::bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::graph::Graph;
use super::proto::tensor_proto::DataLocation;
use super::proto::{ModelProto, TensorProto};

/// Digests of a file's weights: SHA-256 in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightsDigest {
    /// Of all tensors with their names.
    pub sha256: String,
    /// The first 16 digits for each tensor, so that one that was changed can be named; sorted by name.
    pub tensors: IndexMap<String, String>,
}

/// Why a file has no digest.
#[derive(Debug, thiserror::Error)]
pub enum DigestError {
    /// Not an ONNX file.
    #[error("not an ONNX file: {0}")]
    Decode(#[from] prost::DecodeError),
    /// Weights in another file.
    #[error("the weights of {0} lie in another file")]
    External(String),
    /// A type that is not known here.
    #[error("the type of {name} is number {code}, which is not known")]
    Type {
        /// The tensor.
        name: String,
        /// `TensorProto.DataType`.
        code: i32,
    },
}

impl WeightsDigest {
    /// Of a graph that has not been written yet.
    pub fn of_graph(graph: &Graph) -> Self {
        let tensor = |(name, values): (&String, &super::Initializer)| {
            let shape = values.shape().iter().map(|&size| size as i64);
            (name.clone(), tensor(values.element().code() as i32, shape, &values.to_bytes()))
        };
        Self::of_tensors(graph.initializers.iter().map(tensor).collect())
    }

    /// Of the content of an `.onnx` file.
    ///
    /// # Errors
    /// When it is no such file, or its weights are not in it.
    pub fn of_file(bytes: &[u8]) -> Result<Self, DigestError> {
        let graph = ModelProto::decode(bytes)?.graph.unwrap_or_default();
        let digest = |stored: TensorProto| {
            let dims = stored.dims.iter().copied();
            let digest = tensor(stored.data_type(), dims, &values(&stored)?);
            Ok((stored.name.unwrap_or_default(), digest))
        };
        graph.initializer.into_iter().map(digest).collect::<Result<_, _>>().map(Self::of_tensors)
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

    /// Names of the tensors that are not the same in `other`, or in one of the two only.
    pub fn differing<'a>(&'a self, other: &'a Self) -> Vec<&'a str> {
        let changed = self.tensors.iter().filter(|(name, digest)| other.tensors.get(*name) != Some(*digest));
        let added = other.tensors.keys().filter(|name| !self.tensors.contains_key(*name));
        changed.map(|(name, _)| name).chain(added).map(String::as_str).collect()
    }
}

/// SHA-256 of `bytes` in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(Sha256::new().chain_update(bytes))
}

fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn tensor(code: i32, shape: impl ExactSizeIterator<Item = i64>, values: &[u8]) -> String {
    let mut hasher =
        Sha256::new().chain_update(code.to_le_bytes()).chain_update((shape.len() as u64).to_le_bytes());
    shape.for_each(|size| hasher.update(size.to_le_bytes()));
    hex(hasher.chain_update(values))
}

/// The values in row-major order, little-endian.
fn values(tensor: &TensorProto) -> Result<Bytes, DigestError> {
    let name = || tensor.name().to_owned();
    if tensor.data_location() == DataLocation::External {
        return Err(DigestError::External(name()));
    }
    if let Some(raw) = &tensor.raw_data {
        return Ok(raw.clone());
    }
    // Small types share a field of 32-bit integers.
    let width = match tensor.data_type() {
        2 | 3 | 9 => 1,
        4 | 5 | 10 | 16 => 2,
        1 | 6 | 7 | 11 => 4,
        code => return Err(DigestError::Type { name: name(), code }),
    };
    let floats = tensor.float_data.iter().flat_map(|value| value.to_le_bytes());
    let doubles = tensor.double_data.iter().flat_map(|value| value.to_le_bytes());
    let longs = tensor.int64_data.iter().flat_map(|value| value.to_le_bytes());
    let ints = tensor.int32_data.iter().flat_map(|value| value.to_le_bytes().into_iter().take(width));
    Ok(floats.chain(doubles).chain(longs).chain(ints).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Attention, Cbam};
    use crate::onnx::{Interface, Opset, append_metadata, encode, passes, trace};
    use crate::testing;

    fn graph() -> Graph {
        let cbam = Cbam::new("cbam", 16, Attention { ratio: 4, kernel: 3 });
        let weights = testing::weights(&cbam, &[1, 16, 4, 4]).unwrap();
        trace(&cbam, &weights, &Interface::new([16, 4, 4]), Opset::new(18).unwrap()).unwrap()
    }

    #[test]
    fn a_graph_and_its_file_have_the_same() {
        let mut half = graph();
        passes::half_precision(&mut half).unwrap();
        for graph in [graph(), half] {
            let digest = WeightsDigest::of_graph(&graph);
            assert_eq!(digest.sha256.len(), 64);
            assert_eq!(digest.tensors.len(), graph.initializers.len());
            assert_eq!(WeightsDigest::of_file(&encode(graph, &[])).unwrap(), digest);
        }
    }

    #[test]
    fn only_weights_count() {
        let before = WeightsDigest::of_file(&encode(graph(), &[])).unwrap();
        let mut bytes = encode(graph(), &[("author", "someone")]);
        append_metadata(&mut bytes, &[("more", "text")]);
        let mut model = ModelProto::decode(&bytes[..]).unwrap();
        let metadata: Vec<_> = model.metadata_props.iter().map(|entry| entry.key()).collect();
        assert_eq!(metadata, ["author", "more"]);
        // As another tool may write it.
        let graph = model.graph.as_mut().unwrap();
        graph.initializer.reverse();
        graph.node.iter_mut().for_each(|node| node.name = None);
        for tensor in &mut graph.initializer {
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
        assert_eq!(WeightsDigest::of_file(&model.encode_to_vec()).unwrap(), before);
    }

    #[test]
    fn what_was_changed_is_named() {
        let before = WeightsDigest::of_graph(&graph());
        let mut after = graph();
        let super::super::Initializer::Float(kernel) =
            &mut after.initializers["cbam.spatial_attn.conv.weight"]
        else {
            panic!("floats")
        };
        kernel[[0, 0, 0, 0]] = f32::from_bits(kernel[[0, 0, 0, 0]].to_bits() ^ 1);
        let axes = after.initializers.shift_remove("axes_1").unwrap();
        after.initializers.insert("extra".into(), axes);
        let after = WeightsDigest::of_graph(&after);
        assert_ne!(after.sha256, before.sha256);
        assert_eq!(before.differing(&after), ["axes_1", "cbam.spatial_attn.conv.weight", "extra"]);
        assert!(before.differing(&before).is_empty());
    }

    #[test]
    fn what_is_no_file_of_its_own_is_refused() {
        assert!(matches!(WeightsDigest::of_file(b"text"), Err(DigestError::Decode(_))));
        let mut model = ModelProto::decode(&encode(graph(), &[])[..]).unwrap();
        model.graph.as_mut().unwrap().initializer[0].set_data_location(DataLocation::External);
        let error = WeightsDigest::of_file(&model.encode_to_vec()).unwrap_err().to_string();
        assert_eq!(error, "the weights of cbam.channel_attn.fc.0.weight lie in another file");
    }
}
