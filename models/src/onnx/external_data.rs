//! Weights apart from their graph, for a runtime to use where they lie in memory.
//!
//! ONNX Runtime copies the weights inside a file several times before a session is ready, which takes most of the time
//! until the first image. Weights that the format calls [external] it takes as they are.
//!
//! [external]: https://onnx.ai/onnx/repo-docs/ExternalData.html

use prost::bytes::Bytes;

use super::element::Element;
use super::model::Model;
use super::read::ReadError;
use super::tensor::{External, Tensor};

/// Size in bytes from which on tensors are taken out. Shapes and axes are smaller, and a runtime reads them in the graph
/// while it builds.
const SMALLEST: usize = 1024;

/// Alignment of each tensor in the buffer, in bytes; sufficient for every element type.
const ALIGNMENT: usize = 16;

/// Name by which the graph knows the buffer of its weights.
const LOCATION: &str = "weights-in-memory";

/// A model whose weights are slices of one buffer: of its own file, or of the one beside it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The model, all of whose weights have values.
    pub model: Model,
    buffer: Bytes,
}

/// A file in two parts.
#[derive(Debug, Clone)]
pub struct Separated {
    /// The file without its larger weights.
    pub graph: Vec<u8>,
    /// True if some of the larger weights are of half precision.
    pub half: bool,
    /// Name by which the graph knows the buffer.
    pub location: &'static str,
    /// The buffer of the weights; each tensor begins at a multiple of 16 bytes.
    pub weights: Vec<u8>,
}

/// A reason why weights cannot be taken out of a file.
#[derive(Debug, thiserror::Error)]
pub enum ExternalDataError {
    /// The file is no model.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The model has no outputs.
    #[error("the model has no graph that gives anything")]
    Empty,
    /// A tensor's entries are incomplete.
    #[error("the values of {0} lie in another file, but not where in it")]
    Incomplete(String),
    /// The weights lie in more than one other file.
    #[error("the weights lie in several files, {0} and {1} among them")]
    SeveralFiles(String, String),
    /// The other file cannot be read.
    #[error("the file of the weights, {0}, cannot be read")]
    Missing(String),
    /// A tensor goes beyond the end of the other file.
    #[error("the values of {0} lie beyond the end of their file")]
    Outside(String),
    /// Tensors overlap, so that they cannot be aligned where they are.
    #[error("the weights overlap, and cannot be aligned in place")]
    Overlap,
}

impl Loaded {
    /// Reads the content of a file. Weights in another file are asked of `open`, which gives the content of a file beside
    /// this one. Nothing is copied.
    ///
    /// # Errors
    /// [`ExternalDataError`]: the file is none, or its weights are not to be found.
    pub fn read(
        file: Vec<u8>,
        open: impl FnOnce(&str) -> Option<Vec<u8>>,
    ) -> Result<Self, ExternalDataError> {
        let file = Bytes::from(file);
        let mut model = Model::decode(file.clone())?;
        if model.graph.outputs.is_empty() {
            return Err(ExternalDataError::Empty);
        }
        let buffer = match location(&mut model)? {
            Some(location) => open(&location).ok_or(ExternalDataError::Missing(location))?.into(),
            None => file,
        };
        model.each_tensor(&mut |name, tensor| fetch(name, tensor, &buffer))?;
        Ok(Self { model, buffer })
    }

    /// Takes the larger weights out of the model. They stay in their buffer, but for the few bytes by which they are moved
    /// to be aligned.
    ///
    /// # Errors
    /// [`ExternalDataError::Overlap`].
    pub fn separate(self) -> Result<Separated, ExternalDataError> {
        let Self { mut model, buffer } = self;
        let (mut half, mut places) = (false, Vec::new());
        let held = buffer.as_ptr_range();
        for tensor in model.graph.initializers.values_mut() {
            let large = |data: &&Bytes| data.len() >= SMALLEST && held.contains(&data.as_ptr());
            let Some(data) = tensor.raw().filter(large) else {
                continue; // too small, or made by a pass
            };
            let (from, length) = (data.as_ptr() as usize - held.start as usize, data.len());
            let to = from - from % ALIGNMENT;
            half |= tensor.element() == Element::Float16;
            tensor.externalize(LOCATION, to, length);
            places.push((from..from + length, to));
        }
        places.sort_by_key(|(from, _)| from.start);
        places.dedup(); // several tensors of the same values
        // What stands between two tensors is longer than what one is moved by, unless a file was made to be odd.
        if places.windows(2).any(|pair| pair[1].1 < pair[0].0.end) {
            return Err(ExternalDataError::Overlap);
        }
        let graph = model.encode();
        let mut weights = Vec::from(buffer);
        places.into_iter().for_each(|(from, to)| weights.copy_within(from, to));
        Ok(Separated { graph, half, location: LOCATION, weights })
    }
}

/// The one file that external weights are in, if there are any.
fn location(model: &mut Model) -> Result<Option<String>, ExternalDataError> {
    let mut files = locations(model)?.into_iter();
    match (files.next(), files.next()) {
        (Some(one), Some(other)) => Err(ExternalDataError::SeveralFiles(one, other)),
        (one, _) => Ok(one),
    }
}

/// Names of the files that hold external values of `model`, each once, in the order of the tensors.
///
/// # Errors
/// [`ExternalDataError::Incomplete`] when a tensor does not name its file.
pub fn locations(model: &mut Model) -> Result<Vec<String>, ExternalDataError> {
    let mut found: Vec<String> = Vec::new();
    model.each_tensor(&mut |name, tensor| -> Result<(), ExternalDataError> {
        let Some(place) = tensor.external() else { return Ok(()) };
        let place = place.ok_or_else(|| ExternalDataError::Incomplete(name.into()))?.location;
        if found.iter().all(|known| known != place) {
            found.push(place.into());
        }
        Ok(())
    })?;
    Ok(found)
}

/// Puts external values into their tensor, as a slice of `buffer`.
fn fetch(name: &str, tensor: &mut Tensor, buffer: &Bytes) -> Result<(), ExternalDataError> {
    let Some(place) = tensor.external() else { return Ok(()) };
    let incomplete = || ExternalDataError::Incomplete(name.into());
    let External { offset, length, .. } = place.ok_or_else(incomplete)?;
    let number = |text: &str| text.parse::<usize>().map_err(|_| incomplete());
    let start = offset.map_or(Ok(0), number)?;
    let length = number(length.ok_or_else(incomplete)?)?;
    let end = start.checked_add(length).filter(|&end| end <= buffer.len());
    let end = end.ok_or_else(|| ExternalDataError::Outside(name.into()))?;
    tensor.internalize(buffer.slice(start..end));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Attention, Cbam};
    use crate::onnx::fuse::{self, Fusion};
    use crate::onnx::{Interface, Opset, append_metadata, encode, trace};
    use crate::testing;

    fn graph() -> Model {
        let cbam = Cbam::new("cbam", 64, Attention { ratio: 4, kernel: 7 });
        let weights = testing::weights(&cbam, &[1, 64, 4, 4]).unwrap();
        trace(&cbam, &weights, &Interface::new([64, 4, 4]), Opset::default()).unwrap()
    }

    fn detach(
        file: Vec<u8>,
        open: impl FnOnce(&str) -> Option<Vec<u8>>,
    ) -> Result<Separated, ExternalDataError> {
        Loaded::read(file, open)?.separate()
    }

    #[test]
    fn nothing_is_lost() {
        let file = encode(graph(), &[("key", "value")]);
        let Separated { graph: rest, half, location, weights } = detach(file.clone(), |_| None).unwrap();
        assert!(!half);
        assert!(rest.len() < file.len() / 2, "{} of {}", rest.len(), file.len());
        let mut model = Model::from_slice(&rest).unwrap();
        let mut taken = 0;
        for (name, tensor) in &mut model.graph.initializers {
            let Some(place) = tensor.external() else {
                assert!(tensor.bytes().unwrap().len() < SMALLEST);
                continue;
            };
            let place = place.unwrap();
            assert_eq!(place.location, location);
            assert_eq!(place.offset.unwrap().parse::<usize>().unwrap() % ALIGNMENT, 0);
            fetch(name, tensor, &Bytes::from(weights.clone())).unwrap();
            taken += 1;
        }
        assert_eq!(taken, 2, "the two matrices");
        assert!(model == Model::from_slice(&file).unwrap());
    }

    #[test]
    fn weights_of_another_file_are_fetched() {
        let fused =
            |mut loaded: Loaded| -> Fusion { fuse::attention(&mut loaded.model, &fuse::Kind::ALL, 16) };
        let inside = fused(Loaded::read(encode(graph(), &[]), |_| None).unwrap());
        let apart = detach(encode(graph(), &[]), |_| None).unwrap();
        let open = |name: &str| (name == apart.location).then(|| apart.weights.clone());
        let again = fused(Loaded::read(apart.graph.clone(), open).unwrap());
        assert_eq!((&again, again.fused.len()), (&inside, 1));
        for cut in [|_: &str| None, |_: &str| Some(vec![0; 100])] {
            assert!(detach(apart.graph.clone(), cut).is_err());
        }
    }

    #[test]
    fn half_precision_is_seen() {
        let mut model = graph();
        for tensor in model.graph.initializers.values_mut() {
            *tensor = Tensor::from_raw(Element::Float16, tensor.dims(), tensor.bytes().unwrap().to_vec());
        }
        assert!(detach(model.encode(), |_| None).unwrap().half);
    }

    #[test]
    fn what_cannot_be_taken_apart_stays_whole() {
        let file = encode(graph(), &[]);
        let mut damaged = file.clone();
        damaged.truncate(file.len() / 2);
        let mut only_metadata = Vec::new();
        append_metadata(&mut only_metadata, &[("key", "value")]);
        let elsewhere = detach(file, |_| None).unwrap().graph;
        for file in [damaged, only_metadata, elsewhere, b"text".into(), Vec::new()] {
            assert!(detach(file, |_| None).is_err());
        }
    }
}
