//! A file's weights apart from its graph, for a runtime to use where they lie.
//!
//! ONNX Runtime copies the weights inside a file several times before a session is ready, which takes most of the time
//! until the first picture. Weights that the format calls [external] it takes as they are.
//!
//! [external]: https://onnx.ai/onnx/repo-docs/ExternalData.html

use prost::Message;
use prost::bytes::Bytes;

use super::fuse::{self, Fusion};
use super::proto::tensor_proto::{DataLocation, DataType};
use super::proto::{ModelProto, StringStringEntryProto, TensorProto};

/// Smaller tensors stay: shapes and axes have to be in the graph, for a runtime reads them while it builds.
const SMALLEST: usize = 1024;

/// Of the beginning of each tensor in the memory that holds them all; every type of value is content with it.
const ALIGNMENT: usize = 16;

/// A file in two parts.
#[derive(Debug, Clone)]
pub struct Detached {
    /// The file without its larger weights.
    pub graph: Vec<u8>,
    /// What became of its CBAM.
    pub fusion: Fusion,
    /// Whether some of the larger weights are of half precision.
    pub half: bool,
    /// What the graph calls the file of its weights.
    pub location: &'static str,
    /// The content of that file; each tensor begins at a multiple of 16 bytes.
    pub weights: Vec<u8>,
}

/// Takes the larger weights out of a file; `None` when it is no ONNX file, or one whose weights are elsewhere already.
///
/// With `fuse`, CBAM becomes one operator, see [`mod@fuse`].
///
/// Nothing is copied: they stay in the memory of `file`, but for the few bytes that they are moved to be aligned.
pub fn detach(file: Vec<u8>, fuse: bool) -> Option<Detached> {
    const LOCATION: &str = "weights-in-memory";
    let file = Bytes::from(file);
    let mut model = ModelProto::decode(file.clone()).ok()?;
    let tensors = &mut model.graph.as_mut()?.initializer;
    if tensors.iter().any(|tensor| tensor.data_location() == DataLocation::External) {
        return None;
    }
    let fusion = if fuse { fuse::attention(&mut model) } else { Fusion::default() };
    let tensors = &mut model.graph.as_mut()?.initializer;
    let (mut half, mut end) = (false, 0);
    let mut moves = Vec::new();
    let memory = file.as_ptr_range();
    for tensor in tensors.iter_mut().filter(|tensor| tensor.raw_data().len() >= SMALLEST) {
        let data = tensor.raw_data.as_ref()?;
        if !memory.contains(&data.as_ptr()) {
            continue; // made while fusing
        }
        let from = data.as_ptr() as usize - memory.start as usize;
        let to = from - from % ALIGNMENT;
        // What stands between two tensors is longer than this, unless a file was made to be odd.
        if to < end {
            return None;
        }
        end = from + data.len();
        half |= tensor.data_type() == DataType::Float16 as i32;
        let length = data.len();
        refer(tensor, LOCATION, to, length);
        moves.push((from..end, to));
        tensor.raw_data = None;
    }
    let graph = model.encode_to_vec();
    drop(model);
    let mut weights = Vec::from(file);
    moves.into_iter().for_each(|(from, to)| weights.copy_within(from, to));
    Some(Detached { graph, fusion, half, location: LOCATION, weights })
}

fn refer(tensor: &mut TensorProto, location: &str, offset: usize, length: usize) {
    let (offset, length) = (offset.to_string(), length.to_string());
    let entries = [("location", location), ("offset", &offset), ("length", &length)];
    let entry = |(key, value): (&str, &str)| StringStringEntryProto {
        key: Some(key.into()),
        value: Some(value.into()),
    };
    tensor.external_data = entries.map(entry).into();
    tensor.set_data_location(DataLocation::External);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Attention, Cbam};
    use crate::onnx::{Graph, Interface, Opset, append_metadata, encode, trace};
    use crate::testing;

    fn graph() -> Graph {
        let cbam = Cbam::new("cbam", 64, Attention { ratio: 4, kernel: 7 });
        let weights = testing::weights(&cbam, &[1, 64, 4, 4]).unwrap();
        trace(&cbam, &weights, &Interface::new([64, 4, 4]), Opset::default()).unwrap()
    }

    #[test]
    fn nothing_is_lost() {
        let file = encode(graph(), &[("key", "value")]);
        let Detached { graph: rest, fusion, half, location, weights } = detach(file.clone(), false).unwrap();
        assert!(!half && fusion == Fusion::default());
        assert!(rest.len() < file.len() / 2, "{} of {}", rest.len(), file.len());
        let mut model = ModelProto::decode(&rest[..]).unwrap();
        let mut taken = 0;
        for tensor in &mut model.graph.as_mut().unwrap().initializer {
            if tensor.data_location() != DataLocation::External {
                assert!(tensor.raw_data().len() < SMALLEST);
                continue;
            }
            let value = |key| {
                tensor.external_data.iter().find(|entry| entry.key() == key).unwrap().value().to_owned()
            };
            let number = |key| value(key).parse::<usize>().unwrap();
            assert_eq!((value("location").as_str(), number("offset") % ALIGNMENT), (location, 0));
            let data = &weights[number("offset")..][..number("length")];
            tensor.raw_data = Some(Bytes::copy_from_slice(data));
            (tensor.external_data, tensor.data_location) = (Vec::new(), None);
            taken += 1;
        }
        assert_eq!(taken, 2, "the two matrices");
        assert!(model == ModelProto::decode(&file[..]).unwrap());
    }

    #[test]
    fn half_precision_is_seen() {
        let mut model = ModelProto::decode(&encode(graph(), &[])[..]).unwrap();
        for tensor in &mut model.graph.as_mut().unwrap().initializer {
            tensor.data_type = Some(DataType::Float16 as i32);
        }
        assert!(detach(model.encode_to_vec(), false).unwrap().half);
    }

    #[test]
    fn what_cannot_be_taken_apart_stays_whole() {
        let file = encode(graph(), &[]);
        let mut damaged = file.clone();
        damaged.truncate(file.len() / 2);
        let mut only_metadata = Vec::new();
        append_metadata(&mut only_metadata, &[("key", "value")]);
        let elsewhere = detach(file, false).unwrap().graph;
        for file in [damaged, only_metadata, elsewhere, b"text".into(), Vec::new()] {
            assert!(detach(file, false).is_none());
        }
    }
}
