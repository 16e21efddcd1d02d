//! Input and outputs that stay where they are on the device.
//!
//! A CUDA graph is recorded once and replayed with the addresses it was recorded with, so that what changes between
//! passes is the content of this memory, never its place. Not run on a GPU; the same code is tested on the CPU.

use std::fmt;

use ferronnx_models::onnx::{Dim, Element, TensorInfo};
use ndarray::{ArrayD, ArrayViewD};
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, NoSelectedOutputs, RunOptions, Session};
use ort::value::{DynTensor, PrimitiveTensorElementType, Shape, Tensor, TensorElementType};

use super::Input;

/// ONNX Runtime's setting of a pass: the number of the graph that it records or replays.
const GRAPH: &str = "gpu_graph_id";

/// The memory for passes of one size.
pub(super) struct BoundTensors {
    binding: IoBinding,
    /// Where the input is gathered. Not a view of the caller's: `ort` copies those under a lock that it then waits for.
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
    /// Memory on `device` for `batch` items.
    pub(super) fn new(
        session: &Session,
        (device, index): (AllocationDevice, i32),
        batch: usize,
        input: &TensorInfo,
        outputs: &[TensorInfo],
    ) -> ort::Result<Self> {
        let sizes = |value| shape(value, batch).map_err(ort::Error::new);
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

    /// A pass: all outputs, in their order.
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

/// With the first dimension chosen.
fn shape(value: &TensorInfo, batch: usize) -> Result<Shape, String> {
    let mut sizes = vec![batch as i64];
    for dim in &value.shape[1..] {
        match dim {
            Dim::Fixed(size) => sizes.push(*size as i64),
            Dim::Symbol(name) => {
                let value = &value.name;
                return Err(format!("{value}: the size `{name}` is not known, a CUDA graph needs all"));
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

    /// What a GPU would be given, on the CPU: a pass sees the input of its own, and gives what other passes give.
    #[test]
    fn passes_over_memory_that_stays() {
        let cbam = Cbam::new("cbam", 16, Attention { ratio: 4, kernel: 3 });
        let weights = testing::weights(&cbam, &[1, 16, 4, 4]).unwrap();
        let graph =
            onnx::trace(&cbam, &weights, &Interface::new([16, 4, 4]).observed(true), Opset::default());
        let options = Options { device: Device::Cpu, ..Options::default() };
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
        assert!(shape(&[Dim::Symbol("width".into())]).unwrap_err().contains("`width`"));
    }
}
