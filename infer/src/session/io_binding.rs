//! Input and output tensors with a fixed address, for passes on a GPU.
//!
//! Images are copied to pinned host memory and from there to the device in one go, and outputs come back the same way. A
//! CUDA graph is recorded once and replayed with the same addresses. Between passes the content of this memory changes,
//! never its place. The same code is tested on the CPU.

use std::fmt;
use std::thread;

use ferronnx_models::onnx::{Dim, Element, TensorInfo};
use indexmap::IndexMap;
use ndarray::{ArrayD, ArrayViewD};
use ort::session::{IoBinding, NoSelectedOutputs, RunOptions, Session};
use ort::value::{DynTensor, PrimitiveTensorElementType, Shape, TensorElementType};

use super::Input;
use super::device_memory::DeviceMemory;
use super::graph_policy::{GraphPolicy, Kind, Way};
use crate::device::CudaGraphs;

/// Run option with the number of the CUDA graph to record or replay.
pub(super) const GRAPH: &str = "gpu_graph_id";

/// Number of the graph of passes that are not recorded.
pub(super) const NO_GRAPH: &str = "-1";

/// Kinds of passes whose tensors are kept; the one that was used the longest ago makes room for another.
const KEPT: usize = 16;

/// Passes over tensors with a fixed address.
#[derive(Debug)]
pub(super) struct BoundPasses {
    memory: DeviceMemory,
    policy: GraphPolicy,
    /// Tensors by the kind of pass, those used last at the end.
    kept: IndexMap<Kind, BoundTensors>,
}

impl BoundPasses {
    pub(super) fn new(memory: DeviceMemory, policy: GraphPolicy) -> Self {
        Self { memory, policy, kept: IndexMap::new() }
    }

    /// Decision about CUDA graphs.
    pub(super) fn policy(&self) -> &GraphPolicy {
        &self.policy
    }

    /// Records no graphs although `mode` was asked for, for `reason`.
    pub(super) fn refuse_graphs(&mut self, mode: CudaGraphs, reason: String) {
        self.policy = GraphPolicy::new(mode, Some(reason));
    }

    /// Runs a pass and returns the outputs at the places `wanted` of `outputs`.
    pub(super) fn run(
        &mut self,
        session: &mut Session,
        values: &Input<'_>,
        input: &TensorInfo,
        outputs: &[TensorInfo],
        wanted: &[usize],
    ) -> ort::Result<Vec<ArrayD<f32>>> {
        let kind = (values.shape()[0], wanted.to_vec());
        let way = self.policy.decide(&kind, thread::current().id());
        let mut tensors = match self.kept.shift_remove(&kind) {
            Some(tensors) => tensors,
            None => {
                self.make_room();
                let outputs = wanted.iter().map(|&place| &outputs[place]);
                BoundTensors::new(session, &self.memory, kind.0, input, outputs)?
            }
        };
        let found = match tensors.run(session, &self.memory, values, way) {
            Err(error) if way != Way::Plain && self.policy.mode() == CudaGraphs::Auto => {
                self.policy.give_up(format!("recording failed: {error}"));
                tensors.run(session, &self.memory, values, Way::Plain)
            }
            found => found,
        };
        self.kept.insert(kind, tensors);
        found
    }

    /// Drops the tensors that were used the longest ago, if there are as many as are kept and none of a graph.
    fn make_room(&mut self) {
        if self.kept.len() >= KEPT
            && let Some(oldest) = self.kept.keys().position(|kind| !self.policy.is_recorded(kind))
        {
            self.kept.shift_remove_index(oldest);
        }
    }
}

/// Tensor in the memory of the session and its copy in host memory.
struct Pair {
    host: DynTensor,
    device: DynTensor,
}

/// Tensors for the passes of one kind.
struct BoundTensors {
    binding: IoBinding,
    input: Pair,
    outputs: Vec<Pair>,
}

impl fmt::Debug for BoundTensors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundTensors").field("outputs", &self.outputs.len()).finish_non_exhaustive()
    }
}

impl BoundTensors {
    /// Allocates the tensors for `batch` items.
    fn new<'a>(
        session: &Session,
        memory: &DeviceMemory,
        batch: usize,
        input: &TensorInfo,
        outputs: impl Iterator<Item = &'a TensorInfo>,
    ) -> ort::Result<Self> {
        let (host, device) = (memory.host_allocator(session), memory.device_allocator(session)?);
        let pair = |value: &TensorInfo| {
            let element = match value.element {
                Element::Uint8 => TensorElementType::Uint8,
                _ => TensorElementType::Float32,
            };
            let shape = || shape(value, batch).map_err(ort::Error::wrap);
            let host = DynTensor::new(&host, element, shape()?)?;
            Ok::<_, ort::Error>(Pair { host, device: DynTensor::new(&device, element, shape()?)? })
        };
        let mut binding = session.create_binding()?;
        let bound = pair(input)?;
        binding.bind_input(&input.name, &bound.device)?;
        let mut pairs = Vec::new();
        for output in outputs {
            let mut bound = pair(output)?;
            binding.bind_output(&output.name, &mut bound.device)?;
            pairs.push(bound);
        }
        Ok(Self { binding, input: bound, outputs: pairs })
    }

    /// Runs a pass and returns all outputs, in order.
    fn run(
        &mut self,
        session: &mut Session,
        memory: &DeviceMemory,
        values: &Input<'_>,
        way: Way,
    ) -> ort::Result<Vec<ArrayD<f32>>> {
        match values {
            Input::Float(values) => fill(&mut self.input.host, values)?,
            Input::Bytes(values) => fill(&mut self.input.host, values)?,
        }
        memory.upload(&self.input.host, &mut self.input.device)?;
        session.run_binding_with_options(&self.binding, &options(way)?)?;
        let fetch = |Pair { host, device }: &mut Pair| {
            memory.download(device, host)?;
            let (shape, values) = host.try_extract_tensor::<f32>()?;
            super::array(shape, values.to_vec())
        };
        self.outputs.iter_mut().map(fetch).collect()
    }
}

fn options(way: Way) -> ort::Result<RunOptions<NoSelectedOutputs>> {
    let mut options = RunOptions::new()?;
    match way {
        Way::Plain => options.set(GRAPH, NO_GRAPH)?,
        Way::Graph(number) => options.set(GRAPH, number.to_string())?,
    };
    Ok(options)
}

/// Copies `values` to a tensor of the same shape in host memory.
fn fill<T: PrimitiveTensorElementType + Copy + fmt::Debug + 'static>(
    tensor: &mut DynTensor,
    values: &ArrayViewD<'_, T>,
) -> ort::Result<()> {
    let (_, host) = tensor.try_extract_tensor_mut::<T>()?;
    match values.as_slice() {
        Some(values) => host.copy_from_slice(values),
        None => host.iter_mut().zip(values).for_each(|(place, value)| *place = *value),
    }
    Ok(())
}

/// Tells whether the tensors of passes can be allocated before a pass: all sizes but the batch are known, and each output
/// has one row an item.
pub(super) fn is_bindable(input: &TensorInfo, outputs: &[TensorInfo]) -> bool {
    let Some(batch) = input.shape.first() else { return false };
    let is_plain = |info: &TensorInfo| matches!(info.element, Element::Float | Element::Uint8);
    let has_batch = |info: &TensorInfo| match info.shape.first() {
        Some(Dim::Symbol(name)) => !name.is_empty() && Some(&Dim::Symbol(name.clone())) == Some(batch),
        fixed => fixed == Some(batch),
    };
    let all = || outputs.iter().chain([input]);
    all().all(|info| is_plain(info) && has_batch(info) && shape(info, 1).is_ok())
}

/// Dimension without a fixed size.
#[derive(Debug, thiserror::Error)]
#[error("{value}: the size `{dimension}` is not known, tensors with a fixed address need all")]
struct UnknownSize {
    value: String,
    dimension: String,
}

/// Shape of a tensor whose first dimension is `batch`.
fn shape(value: &TensorInfo, batch: usize) -> Result<Shape, UnknownSize> {
    let mut sizes = vec![batch as i64];
    for dim in value.shape.iter().skip(1) {
        match dim {
            Dim::Fixed(size) => sizes.push(*size as i64),
            Dim::Symbol(name) => {
                return Err(UnknownSize { value: value.name.clone(), dimension: name.clone() });
            }
        }
    }
    Ok(Shape::new(sizes))
}

#[cfg(test)]
mod tests {
    use ferronnx_models::layers::{Attention, Cbam};
    use ferronnx_models::onnx::{self, Interface, Opset};
    use ferronnx_models::testing;
    use ndarray::s;

    use super::*;
    use crate::Device;
    use crate::session::{self, Options};

    fn cbam() -> session::Session {
        let cbam = Cbam::new("cbam", 16, Attention { ratio: 4, kernel: 3 });
        let weights = testing::weights(&cbam, &[1, 16, 4, 4]).unwrap();
        let graph =
            onnx::trace(&cbam, &weights, &Interface::new([16, 4, 4]).observed(true), Opset::default());
        let options = Options::default().device(Device::Cpu);
        session::Session::from_bytes(&onnx::encode(graph.unwrap(), &[]), &options).unwrap()
    }

    /// Runs on the CPU as on a GPU: each pass sees its own input, whatever ran before, recorded or not.
    #[test]
    fn passes_over_memory_that_stays() {
        let session = cbam();
        let names: Vec<_> = session.outputs().iter().map(|output| &output.name[..]).collect();
        assert_eq!(names.len(), 3);
        let policy = GraphPolicy::new(CudaGraphs::Auto, None);
        let mut passes = BoundPasses::new(DeviceMemory::Host, policy);
        let all = testing::input(&[6, 16, 4, 4]);
        for step in 0..5 {
            for (batch, wanted) in [(3, vec![0, 1, 2]), (1, vec![2, 0]), (3, vec![1])] {
                let input = all.slice(s![step..step + 1; 1, .., .., ..]).to_owned();
                let input = ndarray::concatenate(ndarray::Axis(0), &vec![input.view(); batch]).unwrap();
                let input = input.mapv(|value| value - step as f32);
                let values = Input::from(input.view());
                let mut lock = session.lock();
                let found = passes.run(&mut lock, &values, session.input(), session.outputs(), &wanted);
                drop(lock);
                let names: Vec<_> = wanted.iter().map(|&place| names[place]).collect();
                assert_eq!(found.unwrap(), session.fetch(input.view(), &names).unwrap());
            }
        }
        assert!(passes.policy().is_recorded(&(3, vec![0, 1, 2])));
    }

    #[test]
    fn the_tensors_used_longest_ago_make_room() {
        let session = cbam();
        let mut passes = BoundPasses::new(DeviceMemory::Host, GraphPolicy::new(CudaGraphs::Off, None));
        for batch in 1..=KEPT + 3 {
            let input = testing::input(&[batch, 16, 4, 4]);
            let mut lock = session.lock();
            passes.run(&mut lock, &input.view().into(), session.input(), session.outputs(), &[0]).unwrap();
        }
        assert_eq!(passes.kept.len(), KEPT);
        assert_eq!(passes.kept.keys().next(), Some(&(4, vec![0])));
    }

    #[test]
    fn sizes_have_to_be_known() {
        let info =
            |shape: &[Dim]| TensorInfo { name: "x".into(), element: Element::Float, shape: shape.to_vec() };
        let batch = Dim::Symbol("batch".into());
        let known = info(&[batch.clone(), Dim::Fixed(5)]);
        assert_eq!(*shape(&known, 2).unwrap(), [2, 5]);
        let unknown = info(&[batch, Dim::Symbol("width".into())]);
        assert!(shape(&unknown, 2).unwrap_err().to_string().contains("`width`"));
        assert!(is_bindable(&known, std::slice::from_ref(&known)));
        assert!(!is_bindable(&known, &[unknown]));
        // A row that is not an item's: the number of rows is not known before the pass.
        assert!(!is_bindable(&known, &[info(&[Dim::Symbol("rows".into()), Dim::Fixed(5)])]));
        assert!(!is_bindable(&known, &[info(&[Dim::Fixed(1), Dim::Fixed(5)])]));
    }
}
