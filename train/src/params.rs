//! Parameters of a network on libtorch, by PyTorch's names.

use std::sync::{Mutex, PoisonError};

use ferronnx_models::Weights;
use ferronnx_models::layers::{Init, Param};
use indexmap::IndexMap;
use ndarray::ArrayD;
use tch::{Device, Kind, Tensor};

use crate::error::TorchError;
use crate::native;

/// Parameters and buffers of a network on a device.
#[derive(Debug)]
pub struct Params {
    tensors: IndexMap<String, Parameter>,
    device: Device,
}

#[derive(Debug)]
struct Parameter {
    tensor: Tensor,
    trainable: bool,
}

impl Params {
    /// Draws initial values from the distributions that the layers name.
    ///
    /// # Errors
    /// [`TorchError`] when memory runs out, or the system has no random numbers (`/dev/urandom`).
    pub fn initialise(params: &[Param], seed: u64, device: Device) -> Result<Self, TorchError> {
        // libtorch has one generator for the process: nobody else draws between the seed and the last value.
        static GENERATOR: Mutex<()> = Mutex::new(());
        let _drawing = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
        native::seed(seed)?;
        let draw = |param: &Param| -> Result<(String, Parameter), TorchError> {
            let shape: Vec<i64> = param.shape.iter().map(|&size| size as i64).collect();
            let mut values = Tensor::f_zeros(&shape, (Kind::Float, Device::Cpu))?;
            let _ = match param.init {
                Init::Constant(value) => values.f_fill_(value)?,
                Init::Uniform { bound } => values.f_uniform_(-bound, bound)?,
                Init::Normal { std } => values.f_normal_(0.0, std)?,
            };
            let tensor = values.f_to_device(device)?;
            Ok((param.name.clone(), Parameter { tensor, trainable: param.trainable }))
        };
        Ok(Self { tensors: params.iter().map(draw).collect::<Result<_, _>>()?, device })
    }

    /// Device of the tensors.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Tensor of this name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name).map(|parameter| &parameter.tensor)
    }

    /// Names of all parameters and buffers.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Names and tensors that an optimizer may change, without running statistics.
    pub fn trainable(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors
            .iter()
            .filter(|(_, parameter)| parameter.trainable)
            .map(|(name, parameter)| (name.as_str(), &parameter.tensor))
    }

    /// Overwrites the tensor `name`, which exists in this shape.
    ///
    /// # Errors
    /// [`TorchError`] when the number of values differs.
    pub fn assign(&self, name: &str, values: &ArrayD<f32>) -> Result<(), TorchError> {
        let tensor = &self.tensors[name].tensor;
        let values = to_tensor(values)?.f_view(&tensor.size()[..])?;
        let _guard = tch::no_grad_guard();
        tensor.shallow_clone().f_copy_(&values)?;
        Ok(())
    }

    /// Running statistics, which no optimizer changes.
    pub(crate) fn buffers(&self) -> impl Iterator<Item = &Tensor> {
        self.tensors.values().filter(|parameter| !parameter.trainable).map(|parameter| &parameter.tensor)
    }

    /// Names and tensors, running statistics included.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, parameter)| (name.as_str(), &parameter.tensor))
    }

    /// Overwrites the tensors that `weights` names; names that the network lacks are ignored.
    ///
    /// # Errors
    /// [`TorchError`] when the number of values differs.
    pub fn assign_all(&self, weights: &Weights) -> Result<(), TorchError> {
        weights
            .iter()
            .filter(|(name, _)| self.tensors.contains_key(*name))
            .try_for_each(|(name, values)| self.assign(name, values))
    }

    /// Copies all tensors into memory of their own, without gradients.
    ///
    /// # Errors
    /// [`TorchError`] when memory runs out.
    pub fn duplicate(&self) -> Result<Self, TorchError> {
        let copy = |(name, parameter): (&String, &Parameter)| {
            let tensor = copied(&parameter.tensor)?;
            Ok((name.clone(), Parameter { tensor, trainable: parameter.trainable }))
        };
        Ok(Self {
            tensors: self.tensors.iter().map(copy).collect::<Result<_, TorchError>>()?,
            device: self.device,
        })
    }

    /// Lays convolution kernels out as `[N, H, W, C]`, which GPUs compute faster; shapes stay the same.
    ///
    /// # Errors
    /// [`TorchError`] when memory runs out.
    pub fn to_channels_last(&self) -> Result<(), TorchError> {
        for parameter in self.tensors.values().filter(|parameter| parameter.tensor.dim() == 4) {
            let laid_out = channels_last(&parameter.tensor.f_detach()?)?;
            parameter.tensor.shallow_clone().f_set_data(&laid_out)?;
        }
        Ok(())
    }

    /// Copies all values to memory.
    ///
    /// # Errors
    /// [`TorchError`] when libtorch fails.
    pub fn to_weights(&self) -> Result<Weights, TorchError> {
        self.tensors
            .iter()
            .map(|(name, parameter)| Ok((name.clone(), to_array(&parameter.tensor)?)))
            .collect()
    }
}

/// Lays `[N, C, H, W]` out with the channels next to each other in memory.
pub(crate) fn channels_last(tensor: &Tensor) -> Result<Tensor, TorchError> {
    Ok(tensor.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])?)
}

/// Copies a tensor, without its gradient, to memory of its own in the same layout.
pub(crate) fn copied(tensor: &Tensor) -> Result<Tensor, TorchError> {
    let tensor = tensor.f_detach()?;
    let mut copy = tensor.f_empty_like()?;
    copy.f_copy_(&tensor)?;
    Ok(copy)
}

/// Makes a float tensor in memory from an array.
///
/// # Errors
/// [`TorchError`] when memory runs out.
pub fn to_tensor(values: &ArrayD<f32>) -> Result<Tensor, TorchError> {
    let shape: Vec<i64> = values.shape().iter().map(|&size| size as i64).collect();
    Ok(Tensor::f_from_slice(values.as_standard_layout().as_slice().unwrap_or_default())?
        .f_view(&shape[..])?)
}

/// Copies a float tensor of any device to an array.
///
/// # Errors
/// [`TorchError`] when it does not hold floats.
pub fn to_array(tensor: &Tensor) -> Result<ArrayD<f32>, TorchError> {
    let shape: Vec<usize> = tensor.size().iter().map(|&size| size as usize).collect();
    let flat = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?.f_view(-1)?;
    let values = Vec::<f32>::try_from(&flat)?;
    Ok(ArrayD::from_shape_vec(shape, values).expect("as many values as the shape has"))
}

#[cfg(test)]
mod tests {
    use ferronnx_models::Module;
    use ferronnx_models::layers::{Conv2d, Linear};
    use ferronnx_models::shapes;

    use super::*;
    use crate::eager::Eager;

    struct Small(Conv2d, Linear);

    impl Module for Small {
        fn forward<O: ferronnx_models::Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
            let x = ops.relu(&ops.conv2d(x, &self.0)?)?;
            ops.linear(&ops.reduce(&x, ferronnx_models::Reduce::Mean, &[2, 3], false)?, &self.1)
        }
    }

    fn small() -> (Small, Params) {
        let fc = Linear::new("fc", 8, 2);
        let network = Small(Conv2d::new("conv", 3, 8, 3), fc);
        let described = shapes::describe(&network, &[1, 3, 6, 6]).unwrap().params;
        let params = Params::initialise(&described, 1, Device::Cpu).unwrap();
        (network, params)
    }

    #[test]
    fn the_layout_changes_neither_values_nor_results() {
        let (network, params) = small();
        let before = params.to_weights().unwrap();
        let images = Tensor::randn([4, 3, 6, 6], (Kind::Float, Device::Cpu));
        let logits = |images: &Tensor| network.forward(&Eager::eval(&params), images).unwrap();
        let planar = logits(&images);
        params.to_channels_last().unwrap();
        assert_eq!(params.get("conv.weight").unwrap().stride(), [27, 1, 9, 3], "channels are neighbours");
        assert_eq!(params.to_weights().unwrap(), before);
        let found = logits(&channels_last(&images).unwrap());
        assert!((found - planar).abs().max().double_value(&[]) < 1e-6);
        params.assign_all(&before).unwrap();
        assert_eq!(params.to_weights().unwrap(), before);
    }

    #[test]
    fn a_duplicate_has_memory_of_its_own() {
        let (_, params) = small();
        let copy = params.duplicate().unwrap();
        assert_eq!(copy.to_weights().unwrap(), params.to_weights().unwrap());
        let _ = tch::no_grad(|| params.get("fc.bias").unwrap().shallow_clone().fill_(7.0));
        assert_ne!(copy.to_weights().unwrap()["fc.bias"], params.to_weights().unwrap()["fc.bias"]);
    }
}
