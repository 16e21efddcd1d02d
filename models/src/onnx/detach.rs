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

/// Takes the larger weights out of a file; `None` when it is no ONNX file, or one whose weights cannot be found.
///
/// Weights that are in another file already are asked of `open`, which gives the content of a file beside this one. With
/// `fuse`, attention becomes one operator, see [`mod@fuse`].
///
/// Nothing is copied: they stay in the memory of their file, but for the few bytes that they are moved to be aligned.
pub fn detach(file: Vec<u8>, open: impl FnOnce(&str) -> Option<Vec<u8>>, fuse: bool) -> Option<Detached> {
    const LOCATION: &str = "weights-in-memory";
    let file = Bytes::from(file);
    let mut model = ModelProto::decode(file.clone()).ok()?;
    let memory = match location(&model.graph.as_ref()?.initializer)? {
        Some(location) => Bytes::from(open(&location)?),
        None => file,
    };
    for tensor in &mut model.graph.as_mut()?.initializer {
        fetch(tensor, &memory)?;
    }
    let fusion = if fuse { fuse::attention(&mut model) } else { Fusion::default() };
    let (mut half, mut places) = (false, Vec::new());
    let held = memory.as_ptr_range();
    for tensor in &mut model.graph.as_mut()?.initializer {
        let Some(data) =
            tensor.raw_data.take_if(|data| data.len() >= SMALLEST && held.contains(&data.as_ptr()))
        else {
            continue; // too small, or made while fusing
        };
        let from = data.as_ptr() as usize - held.start as usize;
        let to = from - from % ALIGNMENT;
        half |= tensor.data_type() == DataType::Float16 as i32;
        refer(tensor, LOCATION, to, data.len());
        places.push((from..from + data.len(), to));
    }
    places.sort_by_key(|(from, _)| from.start);
    places.dedup(); // several tensors of the same values
    // What stands between two tensors is longer than what one is moved by, unless a file was made to be odd.
    if places.windows(2).any(|pair| pair[1].1 < pair[0].0.end) {
        return None;
    }
    let graph = model.encode_to_vec();
    drop(model);
    let mut weights = Vec::from(memory);
    places.into_iter().for_each(|(from, to)| weights.copy_within(from, to));
    Some(Detached { graph, fusion, half, location: LOCATION, weights })
}

fn entry<'a>(tensor: &'a TensorProto, key: &str) -> Option<&'a str> {
    tensor.external_data.iter().find(|entry| entry.key() == key).map(|entry| entry.value())
}

/// The one file that external weights are in, if there are any; `None` when they are in several.
fn location(tensors: &[TensorProto]) -> Option<Option<String>> {
    let external = |tensor: &&TensorProto| tensor.data_location() == DataLocation::External;
    let mut locations = tensors.iter().filter(external).map(|tensor| entry(tensor, "location"));
    let Some(first) = locations.next() else { return Some(None) };
    let first = first?;
    locations.all(|other| other == Some(first)).then(|| Some(first.to_owned()))
}

/// Puts external weights into their tensor, as a part of `memory`.
fn fetch(tensor: &mut TensorProto, memory: &Bytes) -> Option<()> {
    if tensor.data_location() == DataLocation::External {
        let number = |text: &str| text.parse::<usize>().ok();
        let start = entry(tensor, "offset").map_or(Some(0), number)?;
        let length = number(entry(tensor, "length")?)?;
        let end = start.checked_add(length).filter(|&end| end <= memory.len())?;
        tensor.raw_data = Some(memory.slice(start..end));
        (tensor.external_data, tensor.data_location) = (Vec::new(), None);
    }
    Some(())
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
        let Detached { graph: rest, fusion, half, location, weights } =
            detach(file.clone(), |_| None, false).unwrap();
        assert!(!half && fusion == Fusion::default());
        assert!(rest.len() < file.len() / 2, "{} of {}", rest.len(), file.len());
        let mut model = ModelProto::decode(&rest[..]).unwrap();
        let mut taken = 0;
        for tensor in &mut model.graph.as_mut().unwrap().initializer {
            if tensor.data_location() != DataLocation::External {
                assert!(tensor.raw_data().len() < SMALLEST);
                continue;
            }
            assert_eq!(entry(tensor, "location"), Some(location));
            assert_eq!(entry(tensor, "offset").unwrap().parse::<usize>().unwrap() % ALIGNMENT, 0);
            fetch(tensor, &Bytes::from(weights.clone())).unwrap();
            taken += 1;
        }
        assert_eq!(taken, 2, "the two matrices");
        assert!(model == ModelProto::decode(&file[..]).unwrap());
    }

    #[test]
    fn weights_of_another_file_are_fetched() {
        let inside = detach(encode(graph(), &[]), |_| None, true).unwrap();
        let apart = detach(encode(graph(), &[]), |_| None, false).unwrap();
        let open = |name: &str| (name == apart.location).then(|| apart.weights.clone());
        let again = detach(apart.graph.clone(), open, true).unwrap();
        assert_eq!((&again.fusion, again.fusion.fused.len()), (&inside.fusion, 1));
        for cut in [|_: &str| None, |_: &str| Some(vec![0; 100])] {
            assert!(detach(apart.graph.clone(), cut, true).is_none());
        }
    }

    #[test]
    fn half_precision_is_seen() {
        let mut model = ModelProto::decode(&encode(graph(), &[])[..]).unwrap();
        for tensor in &mut model.graph.as_mut().unwrap().initializer {
            tensor.data_type = Some(DataType::Float16 as i32);
        }
        assert!(detach(model.encode_to_vec(), |_| None, false).unwrap().half);
    }

    #[test]
    fn what_cannot_be_taken_apart_stays_whole() {
        let file = encode(graph(), &[]);
        let mut damaged = file.clone();
        damaged.truncate(file.len() / 2);
        let mut only_metadata = Vec::new();
        append_metadata(&mut only_metadata, &[("key", "value")]);
        let elsewhere = detach(file, |_| None, false).unwrap().graph;
        for file in [damaged, only_metadata, elsewhere, b"text".into(), Vec::new()] {
            assert!(detach(file, |_| None, false).is_none());
        }
    }
}
