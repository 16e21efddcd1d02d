//! Eager execution on libtorch: operations are computed at once and recorded for autograd.

use std::collections::HashSet;
use std::sync::Arc;

use ferronnx_models::layers::{
    AvgPool2d, BatchNorm2d, Conv1d, Conv2d, LayerNorm, LayerScale, Linear, MaxPool2d,
};
use ferronnx_models::{Ops, Reduce};
use tch::Tensor;

use crate::distributed::Group;
use crate::dropout::Draws;
use crate::error::TorchError;
use crate::native;
use crate::params::Params;

/// Runs a network on libtorch with the values of [`Params`].
///
/// Training mode, evaluation mode and frozen layers are state of the interpreter, never of the network.
pub struct Eager<'a> {
    params: &'a Params,
    mode: Mode<'a>,
    /// Ranks whose images batch norm takes its statistics from in training; `None` for those of this process.
    group: Option<Arc<Group>>,
}

enum Mode<'a> {
    Eval,
    Train { frozen_norms: &'a HashSet<String>, draws: Option<Draws> },
}

impl<'a> Eager<'a> {
    /// Evaluates: batch norm uses its running statistics, and dropout does nothing.
    pub fn eval(params: &'a Params) -> Self {
        Self { params, mode: Mode::Eval, group: None }
    }

    /// Trains: batch norm uses and updates the batch's statistics, except in the layers `frozen_norms`. Networks with
    /// dropout or stochastic depth need random numbers too, see [`with_draws`](Self::with_draws).
    pub fn train(params: &'a Params, frozen_norms: &'a HashSet<String>) -> Self {
        Self { params, mode: Mode::Train { frozen_norms, draws: None }, group: None }
    }

    /// Lets batch norm in training use and update the statistics of the images of all ranks of `group`, each of which runs
    /// the same network at the same time, forwards and backwards; a batch may have no images.
    #[must_use]
    pub fn synchronised(self, group: Arc<Group>) -> Self {
        Self { group: Some(group), ..self }
    }

    /// Takes the masks of dropout and stochastic depth from `numbers`, if it trains; see [`Draws::new`].
    #[must_use]
    pub fn with_draws(mut self, numbers: &Tensor) -> Self {
        if let Mode::Train { draws, .. } = &mut self.mode {
            *draws = Some(Draws::new(numbers));
        }
        self
    }

    /// Multiplies `x` by random factors of `shape`, in training.
    fn drop(&self, operation: &str, x: &Tensor, shape: &[i64], rate: f32) -> Result<Tensor, EagerError> {
        match &self.mode {
            Mode::Train { draws: Some(draws), .. } if rate > 0.0 => {
                let factors = at(operation, draws.factors(shape, f64::from(rate), x))?;
                at(operation, x.f_mul(&factors))
            }
            Mode::Train { draws: None, .. } if rate > 0.0 => Err(EagerError::NoDraws),
            _ => Ok(x.shallow_clone()),
        }
    }

    fn param(&self, name: &str) -> Result<&Tensor, EagerError> {
        self.params.get(name).ok_or_else(|| EagerError::Missing(name.into()))
    }
}

/// Errors of an operation.
#[derive(Debug, thiserror::Error)]
pub enum EagerError {
    /// The network names a parameter that does not exist.
    #[error("the parameters lack {0}")]
    Missing(String),
    /// The network has dropout, and is trained without random numbers for it.
    #[error("the network has dropout or stochastic depth, and there are no random numbers for it")]
    NoDraws,
    /// libtorch failed.
    #[error("{layer}")]
    Torch {
        /// The layer or operation.
        layer: String,
        /// The reason.
        source: TorchError,
    },
}

/// Names the layer in an error of libtorch.
fn at<T>(layer: &str, result: Result<T, tch::TchError>) -> Result<T, EagerError> {
    result.map_err(|error| EagerError::Torch { layer: layer.into(), source: error.into() })
}

fn both(size: usize) -> [i64; 2] {
    [size as i64; 2]
}

fn ints(axes: &[usize]) -> Vec<i64> {
    axes.iter().map(|&axis| axis as i64).collect()
}

impl Ops for Eager<'_> {
    type Value = Tensor;
    type Error = EagerError;

    fn conv2d(&self, x: &Tensor, layer: &Conv2d) -> Result<Tensor, EagerError> {
        let weight = self.param(&layer.weight_name())?;
        let bias = layer.bias_name().map(|name| self.param(&name)).transpose()?;
        let (stride, padding, dilation) = (both(layer.stride), both(layer.padding), both(layer.dilation));
        at(&layer.name, x.f_conv2d(weight, bias, stride, padding, dilation, layer.groups as i64))
    }

    fn conv1d(&self, x: &Tensor, layer: &Conv1d) -> Result<Tensor, EagerError> {
        let weight = self.param(&layer.weight_name())?;
        at(&layer.name, x.f_conv1d(weight, None::<Tensor>, 1, layer.padding() as i64, 1, 1))
    }

    fn batch_norm(&self, x: &Tensor, layer: &BatchNorm2d) -> Result<Tensor, EagerError> {
        let training = match &self.mode {
            Mode::Eval => false,
            Mode::Train { frozen_norms, .. } => !frozen_norms.contains(&layer.name),
        };
        let [weight, bias, mean, var] = layer.names();
        let (weight, bias) = (self.param(&weight)?, self.param(&bias)?);
        let (mean, var) = (self.param(&mean)?, self.param(&var)?);
        let BatchNorm2d { momentum, eps, .. } = *layer;
        if let (true, Some(group)) = (training, &self.group) {
            let group = Arc::clone(group);
            let sum = Arc::new(move |tensor: &Tensor| group.all_reduce(tensor));
            let y = native::sync_batch_norm(x, [weight, bias, mean, var], momentum, eps, sum);
            return y.map_err(|source| EagerError::Torch { layer: layer.name.clone(), source });
        }
        let y =
            x.f_batch_norm(Some(weight), Some(bias), Some(mean), Some(var), training, momentum, eps, true);
        at(&layer.name, y)
    }

    fn layer_norm(&self, x: &Tensor, layer: &LayerNorm) -> Result<Tensor, EagerError> {
        let [weight, bias] = layer.names();
        let (weight, bias) = (self.param(&weight)?, self.param(&bias)?);
        at(&layer.name, x.f_layer_norm([layer.size as i64], Some(weight), Some(bias), layer.eps, true))
    }

    fn layer_scale(&self, x: &Tensor, layer: &LayerScale) -> Result<Tensor, EagerError> {
        let factors = at(&layer.name, self.param(&layer.gamma_name())?.f_view([-1, 1, 1]))?;
        at(&layer.name, x.f_mul(&factors))
    }

    fn linear(&self, x: &Tensor, layer: &Linear) -> Result<Tensor, EagerError> {
        let weight = self.param(&layer.weight_name())?;
        let bias = layer.bias_name().map(|name| self.param(&name)).transpose()?;
        at(&layer.name, x.f_linear(weight, bias))
    }

    fn max_pool2d(&self, x: &Tensor, layer: &MaxPool2d) -> Result<Tensor, EagerError> {
        let MaxPool2d { kernel, stride, padding } = *layer;
        at("max_pool2d", x.f_max_pool2d(both(kernel), both(stride), both(padding), both(1), false))
    }

    fn avg_pool2d(&self, x: &Tensor, layer: &AvgPool2d) -> Result<Tensor, EagerError> {
        let AvgPool2d { kernel, stride, padding } = *layer;
        at("avg_pool2d", x.f_avg_pool2d(both(kernel), both(stride), both(padding), false, true, None))
    }

    fn relu(&self, x: &Tensor) -> Result<Tensor, EagerError> {
        at("relu", x.f_relu())
    }

    fn sigmoid(&self, x: &Tensor) -> Result<Tensor, EagerError> {
        at("sigmoid", x.f_sigmoid())
    }

    fn hard_sigmoid(&self, x: &Tensor) -> Result<Tensor, EagerError> {
        at("hard_sigmoid", x.f_hardsigmoid())
    }

    fn hard_swish(&self, x: &Tensor) -> Result<Tensor, EagerError> {
        at("hard_swish", x.f_hardswish())
    }

    fn silu(&self, x: &Tensor) -> Result<Tensor, EagerError> {
        at("silu", x.f_silu())
    }

    fn gelu(&self, x: &Tensor) -> Result<Tensor, EagerError> {
        at("gelu", x.f_gelu("none"))
    }

    fn add(&self, a: &Tensor, b: &Tensor) -> Result<Tensor, EagerError> {
        at("add", a.f_add(b))
    }

    fn mul(&self, a: &Tensor, b: &Tensor) -> Result<Tensor, EagerError> {
        at("mul", a.f_mul(b))
    }

    fn divide(&self, x: &Tensor, divisor: f32) -> Result<Tensor, EagerError> {
        at("divide", x.f_div_scalar(f64::from(divisor)))
    }

    /// The gradient of a maximum goes to one element, as in the reference; `amax` would share it among equals, which
    /// are many after a ReLU. `amax` takes a tenth of the time, so it is used where there is no gradient.
    fn reduce(&self, x: &Tensor, how: Reduce, axes: &[usize], keep_dims: bool) -> Result<Tensor, EagerError> {
        match (how, axes) {
            (Reduce::Mean, _) => at("mean", x.f_mean_dim(ints(axes), keep_dims, None)),
            (Reduce::Max, _) if !x.requires_grad() => at("max", x.f_amax(ints(axes), keep_dims)),
            // Both axes at once take half the time of one after the other.
            (Reduce::Max, [2, 3]) => {
                let (max, _) = at("max", at("max", x.f_flatten(2, 3))?.f_max_dim(2, keep_dims))?;
                if keep_dims { at("max", max.f_unsqueeze(3)) } else { Ok(max) }
            }
            (Reduce::Max, _) => {
                let mut axes = ints(axes);
                axes.sort_unstable_by(|a, b| b.cmp(a));
                axes.iter()
                    .try_fold(x.shallow_clone(), |x, &axis| Ok(at("max", x.f_max_dim(axis, keep_dims))?.0))
            }
        }
    }

    fn concat(&self, xs: &[&Tensor], axis: usize) -> Result<Tensor, EagerError> {
        at("concat", Tensor::f_cat(xs, axis as i64))
    }

    fn unsqueeze(&self, x: &Tensor, axes: &[usize]) -> Result<Tensor, EagerError> {
        let mut axes = ints(axes);
        axes.sort_unstable();
        axes.iter().try_fold(x.shallow_clone(), |x, &axis| at("unsqueeze", x.f_unsqueeze(axis)))
    }

    fn squeeze(&self, x: &Tensor, axes: &[usize]) -> Result<Tensor, EagerError> {
        let mut axes = ints(axes);
        axes.sort_unstable_by(|a, b| b.cmp(a));
        axes.iter().try_fold(x.shallow_clone(), |x, &axis| at("squeeze", x.f_squeeze_dim(axis)))
    }

    fn permute(&self, x: &Tensor, axes: &[usize]) -> Result<Tensor, EagerError> {
        at("permute", x.f_permute(ints(axes)))
    }

    fn dropout(&self, x: &Tensor, rate: f32) -> Result<Tensor, EagerError> {
        self.drop("dropout", x, &x.size(), rate)
    }

    fn drop_path(&self, x: &Tensor, rate: f32) -> Result<Tensor, EagerError> {
        let mut shape = vec![1; x.dim()];
        if let (Some(first), Some(&items)) = (shape.first_mut(), x.size().first()) {
            *first = items;
        }
        self.drop("drop_path", x, &shape, rate)
    }
}
