//! ONNX Runtime over input and output tensors that stay on the device.

use anyhow::{Context, Result};
use ferronnx_infer::runtime;
use ndarray::ArrayD;
use ort::ep::{self, ExecutionProvider};
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{IoBinding, Session};
use ort::value::{Shape, Tensor};
use tch::Device;

/// Session whose passes read and write the same memory on the device; nothing is copied to or from the host.
#[derive(Debug)]
pub struct BoundSession {
    session: Session,
    binding: IoBinding,
    output: String,
}

impl BoundSession {
    /// Builds a session for the file in `bytes` on `device`, copies the input there, and binds the first output.
    ///
    /// `sizes` is the output's shape. TensorFloat-32 is off.
    ///
    /// # Errors
    /// When ONNX Runtime is not found or refuses file or device.
    pub fn new(bytes: &[u8], device: Device, input: &ArrayD<f32>, sizes: &[usize]) -> Result<Self> {
        let (place, index) = match device {
            Device::Cuda(index) => (AllocationDevice::CUDA, index as i32),
            _ => (AllocationDevice::CPU, 0),
        };
        let mut builder = Session::builder(runtime::load(None)?.environment())?
            .with_optimization_level(GraphOptimizationLevel::Level3)
            .map_err(ort::Error::<()>::from)?;
        if let Device::Cuda(_) = device {
            ep::CUDA::default().with_device_id(index).with_tf32(false).register(&mut builder)?;
        }
        let session = builder.commit_from_memory(bytes)?;
        let memory = MemoryInfo::new(place, index, AllocatorType::Device, MemoryType::Default)?;
        let allocator = Allocator::new(&session, memory)?;
        let name = |outlets: &[ort::value::Outlet]| -> Result<String> {
            Ok(outlets.first().context("the model has no tensor")?.name().to_owned())
        };
        let (from, output) = (name(session.inputs())?, name(session.outputs())?);
        let mut on_device = Tensor::<f32>::new(&allocator, shape(input.shape()))?;
        Tensor::from_array(input.clone())?.copy_into(&mut on_device)?;
        let mut binding = session.create_binding()?;
        binding.bind_input(&from, &on_device)?;
        binding.bind_output(&output, Tensor::<f32>::new(&allocator, shape(sizes))?)?;
        Ok(Self { session, binding, output })
    }

    /// Runs a pass and waits for the device.
    ///
    /// # Errors
    /// When ONNX Runtime fails.
    pub fn run(&mut self) -> Result<()> {
        self.session.run_binding(&self.binding)?;
        Ok(self.binding.synchronize_outputs()?)
    }

    /// Runs a pass and copies its output to memory.
    ///
    /// # Errors
    /// When ONNX Runtime fails.
    pub fn output(&mut self) -> Result<ArrayD<f32>> {
        let mut results = self.session.run_binding(&self.binding)?;
        let output: Tensor<f32> = results.remove(&self.output).context("the output is bound")?.downcast()?;
        Ok(output.to(AllocationDevice::CPU, 0)?.try_extract_array()?.into_owned())
    }
}

fn shape(sizes: &[usize]) -> Shape {
    Shape::new(sizes.iter().map(|&size| size as i64))
}

#[cfg(test)]
mod tests {
    use ferronnx_models::layers::{Attention, Cbam};
    use ferronnx_models::onnx::{self, Interface, Opset};
    use ferronnx_models::testing;

    use super::*;

    /// The same code runs on the CPU: a bound session computes what an ordinary one does, each time.
    #[test]
    fn bound_tensors_give_the_ordinary_result() {
        let cbam = Cbam::new("cbam", 16, Attention { ratio: 4, kernel: 3 });
        let weights = testing::weights(&cbam, &[1, 16, 4, 4]).unwrap();
        let graph = onnx::trace(&cbam, &weights, &Interface::new([16, 4, 4]), Opset::default()).unwrap();
        let file = onnx::encode(graph, &[]);
        let input = testing::input(&[3, 16, 4, 4]);
        let options = ferronnx_infer::session::Options::default().device(ferronnx_infer::Device::Cpu);
        let expected =
            ferronnx_infer::Session::from_bytes(&file, &options).unwrap().run(input.view()).unwrap();
        let mut bound = BoundSession::new(&file, Device::Cpu, &input, &[3, 16, 4, 4]).unwrap();
        bound.run().unwrap();
        let found = bound.output().unwrap();
        let difference = (&found - &expected).iter().fold(0.0, |max: f32, x| max.max(x.abs()));
        assert!(difference < 1e-6, "{difference}");
    }
}
