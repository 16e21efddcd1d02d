//! Exponential moving average of the weights (Polyak and Juditsky 1992; as timm's and TensorFlow's EMA).

use tch::Tensor;

use crate::error::TorchError;
use crate::native;
use crate::params::Params;

/// Moving average of a network's parameters and statistics.
#[derive(Debug)]
pub(super) struct Average {
    params: Params,
    decay: f64,
}

impl Average {
    /// Begins with the values of `params`.
    pub fn new(params: &Params, decay: f64) -> Result<Self, TorchError> {
        Ok(Self { params: params.duplicate()?, decay })
    }

    /// Averaged values.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Share of the way to the parameters that update number `updates` goes, counted from 1: more in the first ones,
    /// since a short run would keep its random weights otherwise.
    pub fn weight(&self, updates: usize) -> f64 {
        1.0 - self.decay.min((1 + updates) as f64 / (10 + updates) as f64)
    }

    /// Moves towards `params` by the share `weight`.
    pub fn update(&self, params: &Params, weight: f64) -> Result<(), TorchError> {
        let _guard = tch::no_grad_guard();
        for (average, tensor) in self.pairs(params) {
            let _ = average.shallow_clone().f_lerp_(tensor, weight)?;
        }
        Ok(())
    }

    /// Moves towards `params` by the share `weight` `[]`, which lies on the device.
    pub fn update_on_device(&self, params: &Params, weight: &Tensor) -> Result<(), TorchError> {
        let _guard = tch::no_grad_guard();
        native::average(&self.pairs(params).collect::<Vec<_>>(), weight)
    }

    fn pairs<'p>(&'p self, params: &'p Params) -> impl Iterator<Item = (&'p Tensor, &'p Tensor)> {
        params.all().filter_map(|(name, tensor)| Some((self.params.get(name)?, tensor)))
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use ferronnx_models::layers::{Init, Param};

    #[test]
    fn a_weight_of_the_device_averages_as_one_of_the_host() {
        let described = [Param {
            name: "w".into(),
            shape: vec![3, 4],
            init: Init::Uniform { bound: 1.0 },
            trainable: true,
        }];
        let params = |seed| Params::initialise(&described, seed, Device::Cpu).unwrap();
        let [host, device] = [(), ()].map(|()| Average::new(&params(1), 0.9).unwrap());
        assert!((host.weight(1) - 9.0 / 11.0).abs() < 1e-12 && (host.weight(1_000) - 0.1).abs() < 1e-12);
        for seed in 2..5 {
            host.update(&params(seed), 0.3).unwrap();
            device.update_on_device(&params(seed), &Tensor::from(0.3_f32)).unwrap();
        }
        let value = |average: &Average| average.params().get("w").unwrap().copy();
        assert!((value(&host) - value(&device)).abs().max().double_value(&[]) < 1e-6);
        assert!((value(&host) - params(1).get("w").unwrap()).abs().max().double_value(&[]) > 0.01);
    }
}
