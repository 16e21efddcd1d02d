//! Input and output tensors with a fixed address on the device, for CUDA graphs.
//!
//! A CUDA graph is recorded once and replayed with the same addresses. Between passes the content of this memory changes,
//! never its place. Not tried on a GPU; the same code is tested on the CPU.

use std::fmt;

use ferronnx_models::onnx::{Dim, Element, TensorInfo};
use ndarray::{ArrayD, ArrayViewD};
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, NoSelectedOutputs, RunOptions, Session};
use ort::value::{DynTensor, PrimitiveTensorElementType, Shape, Tensor, TensorElementType};

use super::Input;

/// Run option with the number of the CUDA graph to record or replay.
const GRAPH: &str = "gpu_graph_id";

/// Tensors for the passes of one batch size.
pub(super) struct BoundTensors {
    binding: IoBinding,
    /// Host memory that the input is copied to first. A view of the caller's array cannot be used: `ort` copies it under a
    /// lock that it then waits for.
    host: DynTensor,
    input: DynTensor,
    outputs: Vec<String>,
    options: RunOptions<NoSelectedOutputs>,
}

impl fmt::Debug for BoundTensors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundTensors").field("outputs", &self.outputs).finish_non_exhaustive()
    }
}

impl BoundTensors {
    /// Allocates the tensors for `batch` items on `device`.
    pub(super) fn new(
        session: &Session,
        (device, index): (AllocationDevice, i32),
        batch: usize,
        input: &TensorInfo,
        outputs: &[TensorInfo],
    ) -> ort::Result<Self> {
        let sizes = |value| shape(value, batch).map_err(ort::Error::wrap);
        let memory = MemoryInfo::new(device, index, AllocatorType::Device, MemoryType::Default)?;
        let allocator = Allocator::new(session, memory)?;
        let element = match input.element {
            Element::Uint8 => TensorElementType::Uint8,
            _ => TensorElementType::Float32,
        };
        let mut binding = session.create_binding()?;
        let bound = DynTensor::new(&allocator, element, sizes(input)?)?;
        binding.bind_input(&input.name, &bound)?;
        for output in outputs {
            binding.bind_output(&output.name, Tensor::<f32>::new(&allocator, sizes(output)?)?)?;
        }
        let mut options = RunOptions::new()?;
        options.set(GRAPH, batch.to_string())?;
        let outputs = outputs.iter().map(|output| output.name.clone()).collect();
        let host = DynTensor::new(&Allocator::default(), element, sizes(input)?)?;
        Ok(Self { binding, host, input: bound, outputs, options })
    }

    /// Runs a pass and returns all outputs, in order.
    pub(super) fn run(&mut self, session: &mut Session, input: &Input<'_>) -> ort::Result<Vec<ArrayD<f32>>> {
        match input {
            Input::Float(values) => self.fill(values)?,
            Input::Bytes(values) => self.fill(values)?,
        }
        let mut results = session.run_binding_with_options(&self.binding, &self.options)?;
        let fetched = self.outputs.iter().map(|name| {
            let output: Tensor<f32> = results.remove(name).expect("every output is bound").downcast()?;
            super::floats_of(&output.to(AllocationDevice::CPU, 0)?.into_dyn())
        });
        fetched.collect()
    }

    fn fill<T: PrimitiveTensorElementType + Copy + fmt::Debug + 'static>(
        &mut self,
        values: &ArrayViewD<'_, T>,
    ) -> ort::Result<()> {
        let (_, host) = self.host.try_extract_tensor_mut::<T>()?;
        host.iter_mut().zip(values).for_each(|(place, value)| *place = *value);
        self.host.copy_into(&mut self.input)
    }
}

/// Dimension without a fixed size.
#[derive(Debug, thiserror::Error)]
#[error("{value}: the size `{dimension}` is not known, a CUDA graph needs all")]
struct UnknownSize {
    value: String,
    dimension: String,
}

/// Shape of a tensor whose first dimension is `batch`.
fn shape(value: &TensorInfo, batch: usize) -> Result<Shape, UnknownSize> {
    let mut sizes = vec![batch as i64];
    for dim in &value.shape[1..] {
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

    use super::*;
    use crate::Device;
    use crate::session::{self, Options};

    /// Runs on the CPU as on a GPU: each pass sees its own input, and gives the same as an ordinary pass.
    #[test]
    fn passes_over_memory_that_stays() {
        let cbam = Cbam::new("cbam", 16, Attention { ratio: 4, kernel: 3 });
        let weights = testing::weights(&cbam, &[1, 16, 4, 4]).unwrap();
        let graph =
            onnx::trace(&cbam, &weights, &Interface::new([16, 4, 4]).observed(true), Opset::default());
        let options = Options::default().device(Device::Cpu);
        let session = session::Session::from_bytes(&onnx::encode(graph.unwrap(), &[]), &options).unwrap();
        let names: Vec<_> = session.outputs().iter().map(|output| &output.name[..]).collect();
        assert_eq!(names.len(), 3);
        let mut lock = session.lock();
        let device = (AllocationDevice::CPU, 0);
        let mut bound = BoundTensors::new(&lock, device, 3, session.input(), session.outputs()).unwrap();
        let inputs = [1.0, -2.0].map(|scale| testing::input(&[3, 16, 4, 4]).mapv(|value| scale * value));
        let found = inputs.each_ref().map(|input| bound.run(&mut lock, &input.view().into()).unwrap());
        drop(lock);
        for (input, found) in inputs.iter().zip(found) {
            assert_eq!(found, session.fetch(input.view(), &names).unwrap());
        }
    }

    #[test]
    fn sizes_have_to_be_known() {
        let shape = |rest: &[Dim]| {
            let shape = [&[Dim::Symbol("batch".into())], rest].concat();
            super::shape(&TensorInfo { name: "x".into(), element: Element::Float, shape }, 2)
        };
        assert_eq!(*shape(&[Dim::Fixed(5)]).unwrap(), [2, 5]);
        assert!(shape(&[Dim::Symbol("width".into())]).unwrap_err().to_string().contains("`width`"));
    }
}
