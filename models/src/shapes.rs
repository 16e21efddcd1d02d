//! Shape inference: the interpretation of a network that gives its parameters, output shapes and costs.

use std::cell::RefCell;

use indexmap::IndexMap;

use crate::layers::{
    AvgPool2d, BatchNorm2d, Conv1d, Conv2d, LayerNorm, LayerScale, Linear, MaxPool2d, Param,
};
use crate::ops::{Module, Ops, Reduce};

/// Description of a module for a given input shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// Shape of the output.
    pub output: Vec<usize>,
    /// Parameters and buffers, in the order in which the module uses them.
    pub params: Vec<Param>,
    /// Layers with parameters, in the order in which the module uses them.
    pub layers: Vec<LayerDescription>,
    /// Shapes of the values that can be [observed](Ops::observe), by name.
    pub observed: IndexMap<String, Vec<usize>>,
}

/// Output shape and cost of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerDescription {
    /// Full name of the layer, `backbone.layer1.0.conv1`.
    pub name: String,
    /// Shape of the output, `[N, ...]`.
    pub output: Vec<usize>,
    /// Number of trainable values.
    pub parameters: usize,
    /// Number of values without gradients: the running statistics of a batch norm.
    pub buffers: usize,
    /// Multiply-accumulate operations for one item of the batch, over all uses of the layer. As usual, only convolutions
    /// and linear layers are counted.
    pub macs: u64,
}

/// Infers shapes, parameters and costs of `module` for an input of shape `input`.
///
/// # Errors
/// [`ShapeError`] when an operation does not take the shape that it gets.
pub fn describe(module: &impl Module, input: &[usize]) -> Result<Description, ShapeError> {
    let ops = Shapes::default();
    let output = module.forward(&ops, &input.to_vec())?;
    Ok(Description {
        output,
        params: ops.params.into_inner().into_values().collect(),
        layers: ops.layers.into_inner().into_values().collect(),
        observed: ops.observed.into_inner(),
    })
}

/// Shape mismatch, with the layer where it occurs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{location}: {problem}")]
pub struct ShapeError {
    /// Name of the layer or part of the network.
    pub location: String,
    /// Kind of the mismatch.
    pub problem: ShapeProblem,
}

/// Kind of a shape mismatch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShapeProblem {
    /// Two layers of one name have different parameters.
    #[error("{0} is defined twice, differently")]
    Redefined(String),
    /// An elementwise operation has inputs that cannot be broadcast.
    #[error("cannot combine {0:?} with {1:?}")]
    Broadcast(Vec<usize>, Vec<usize>),
    /// A layer takes another rank or another number of channels.
    #[error("expects {expected}, got {found:?}")]
    Input {
        /// Shape that the layer takes.
        expected: String,
        /// Shape that it gets.
        found: Vec<usize>,
    },
    /// An image is smaller than the kernel or window that moves over it.
    #[error("{height}x{width} is smaller than {window}")]
    TooSmall {
        /// Height of the image.
        height: usize,
        /// Width of the image.
        width: usize,
        /// Kernel or window.
        window: &'static str,
    },
    /// A reduction names an axis that the value does not have.
    #[error("axis {axis} does not exist in {shape:?}")]
    Axis {
        /// Axis asked for.
        axis: usize,
        /// Shape of the value.
        shape: Vec<usize>,
    },
    /// Groups of a convolution do not divide its channels.
    #[error("{groups} groups do not divide {in_channels} input and {out_channels} output channels")]
    Groups {
        /// Number of groups.
        groups: usize,
        /// Number of input channels.
        in_channels: usize,
        /// Number of output channels.
        out_channels: usize,
    },
    /// A dimension that is to be removed does not exist, or is not of size 1.
    #[error("cannot remove the dimensions {axes:?} of {shape:?}")]
    Remove {
        /// Dimensions to remove.
        axes: Vec<usize>,
        /// Shape of the value.
        shape: Vec<usize>,
    },
    /// Dimensions are to be ordered by axes that do not name each of them once.
    #[error("the order {axes:?} does not name each dimension of {shape:?} once")]
    Order {
        /// Order of the dimensions.
        axes: Vec<usize>,
        /// Shape of the value.
        shape: Vec<usize>,
    },
    /// A rate of dropout is not in `[0, 1)`.
    #[error("a rate of dropout is at least 0 and less than 1, not {0}")]
    Rate(String),
    /// Values that are joined differ in another axis, or there are none.
    #[error("cannot join {shapes:?} along axis {axis}")]
    Join {
        /// Shapes of the values.
        shapes: Vec<Vec<usize>>,
        /// Axis along which they are joined.
        axis: usize,
    },
    /// Inserted dimensions have impossible positions.
    #[error("cannot insert dimensions at {axes:?} into {shape:?}")]
    Insert {
        /// Positions of the dimensions.
        axes: Vec<usize>,
        /// Shape of the value.
        shape: Vec<usize>,
    },
}

#[derive(Default)]
pub(crate) struct Shapes {
    params: RefCell<IndexMap<String, Param>>,
    layers: RefCell<IndexMap<String, LayerDescription>>,
    observed: RefCell<IndexMap<String, Shape>>,
    scope: RefCell<String>,
}

type Shape = Vec<usize>;

impl Shapes {
    fn register(&self, layer: &str, params: &[Param]) -> Result<(), ShapeError> {
        for param in params {
            let mut known = self.params.borrow_mut();
            match known.get(&param.name) {
                // A layer may be applied twice; two layers may not share a name.
                Some(previous) if previous != param => {
                    return Err(error(layer, ShapeProblem::Redefined(param.name.clone())));
                }
                _ => known.insert(param.name.clone(), param.clone()),
            };
        }
        Ok(())
    }

    /// Counts a use of a layer: its parameters once, its multiply-accumulates every time.
    fn count(&self, name: &str, params: &[Param], output: &Shape, macs: usize) {
        let values = |trainable: bool| -> usize {
            let wanted = params.iter().filter(|param| param.trainable == trainable);
            wanted.map(|param| param.shape.iter().product::<usize>()).sum()
        };
        let mut layers = self.layers.borrow_mut();
        let layer = layers.entry(name.to_owned()).or_insert_with(|| LayerDescription {
            name: name.to_owned(),
            output: output.clone(),
            parameters: values(true),
            buffers: values(false),
            macs: 0,
        });
        layer.macs += macs as u64;
    }

    fn broadcast(&self, a: &Shape, b: &Shape) -> Result<Shape, ShapeError> {
        let fits = |(&a, &b): (&usize, &usize)| a == b || a == 1 || b == 1;
        if a.len() != b.len() || !a.iter().zip(b).all(fits) {
            return Err(self.here(ShapeProblem::Broadcast(a.clone(), b.clone())));
        }
        Ok(a.iter().zip(b).map(|(&a, &b)| if a == 1 { b } else { a }).collect())
    }

    fn pool(&self, x: &Shape, kernel: usize, stride: usize, padding: usize) -> Result<Shape, ShapeError> {
        let &[n, c, h, w] = &x[..] else {
            return Err(self.here(unexpected("[N, C, H, W] for a pool", x)));
        };
        let out = |size| windows(size, kernel, stride, padding);
        match (out(h), out(w)) {
            (Some(h), Some(w)) => Ok(vec![n, c, h, w]),
            _ => {
                let window = "the window of the pool";
                Err(self.here(ShapeProblem::TooSmall { height: h, width: w, window }))
            }
        }
    }

    fn here(&self, problem: ShapeProblem) -> ShapeError {
        error(&self.scope.borrow(), problem)
    }
}

fn error(location: &str, problem: ShapeProblem) -> ShapeError {
    ShapeError { location: location.into(), problem }
}

/// Mismatch of a layer's input.
fn unexpected(expected: impl Into<String>, found: &Shape) -> ShapeProblem {
    ShapeProblem::Input { expected: expected.into(), found: found.clone() }
}

/// Splits a shape `[N, C, H, W]` with the `C` that the layer expects.
fn nchw(layer: &str, x: &Shape, channels: usize) -> Result<[usize; 4], ShapeError> {
    match x[..] {
        [n, c, h, w] if c == channels => Ok([n, c, h, w]),
        _ => Err(error(layer, unexpected(format!("[N, {channels}, H, W]"), x))),
    }
}

/// Number of positions of a window of `kernel` over `size` padded on both sides; none if it does not fit.
fn windows(size: usize, kernel: usize, stride: usize, padding: usize) -> Option<usize> {
    Some((size + 2 * padding).checked_sub(kernel)? / stride + 1)
}

impl Ops for Shapes {
    type Value = Shape;
    type Error = ShapeError;

    fn conv2d(&self, x: &Shape, layer: &Conv2d) -> Result<Shape, ShapeError> {
        let Conv2d { groups, in_channels, out_channels, .. } = *layer;
        let divides = |channels: usize| groups > 0 && channels.is_multiple_of(groups);
        if !divides(in_channels) || !divides(out_channels) {
            return Err(error(&layer.name, ShapeProblem::Groups { groups, in_channels, out_channels }));
        }
        let params = layer.params();
        self.register(&layer.name, &params)?;
        let [n, _, h, w] = nchw(&layer.name, x, in_channels)?;
        let out = |size| windows(size, layer.extent(), layer.stride, layer.padding);
        let (Some(h), Some(w)) = (out(h), out(w)) else {
            let problem = ShapeProblem::TooSmall { height: h, width: w, window: "its kernel" };
            return Err(error(&layer.name, problem));
        };
        let output = vec![n, out_channels, h, w];
        let macs_per_position = layer.weight_shape().iter().product::<usize>();
        self.count(&layer.name, &params, &output, macs_per_position * h * w);
        Ok(output)
    }

    fn batch_norm(&self, x: &Shape, layer: &BatchNorm2d) -> Result<Shape, ShapeError> {
        let params = layer.params();
        self.register(&layer.name, &params)?;
        let output = nchw(&layer.name, x, layer.channels)?.to_vec();
        self.count(&layer.name, &params, &output, 0);
        Ok(output)
    }

    fn layer_norm(&self, x: &Shape, layer: &LayerNorm) -> Result<Shape, ShapeError> {
        let params = layer.params();
        self.register(&layer.name, &params)?;
        if x.last() != Some(&layer.size) {
            return Err(error(&layer.name, unexpected(format!("[..., {}]", layer.size), x)));
        }
        self.count(&layer.name, &params, x, 0);
        Ok(x.clone())
    }

    fn layer_scale(&self, x: &Shape, layer: &LayerScale) -> Result<Shape, ShapeError> {
        let params = layer.params();
        self.register(&layer.name, &params)?;
        let output = nchw(&layer.name, x, layer.channels)?.to_vec();
        self.count(&layer.name, &params, &output, 0);
        Ok(output)
    }

    fn linear(&self, x: &Shape, layer: &Linear) -> Result<Shape, ShapeError> {
        let params = layer.params();
        self.register(&layer.name, &params)?;
        let output = match x[..] {
            [n, features] if features == layer.in_features => vec![n, layer.out_features],
            _ => return Err(error(&layer.name, unexpected(format!("[N, {}]", layer.in_features), x))),
        };
        self.count(&layer.name, &params, &output, layer.in_features * layer.out_features);
        Ok(output)
    }

    fn conv1d(&self, x: &Shape, layer: &Conv1d) -> Result<Shape, ShapeError> {
        let params = layer.params();
        self.register(&layer.name, &params)?;
        let &[n, channels, length] = &x[..] else {
            return Err(error(&layer.name, unexpected(format!("[N, {}, L]", layer.in_channels), x)));
        };
        if channels != layer.in_channels || layer.kernel.is_multiple_of(2) {
            let expected = format!("[N, {}, L] and an odd kernel", layer.in_channels);
            return Err(error(&layer.name, unexpected(expected, x)));
        }
        let output = vec![n, layer.out_channels, length];
        self.count(&layer.name, &params, &output, layer.out_channels * channels * layer.kernel * length);
        Ok(output)
    }

    fn max_pool2d(
        &self,
        x: &Shape,
        &MaxPool2d { kernel, stride, padding }: &MaxPool2d,
    ) -> Result<Shape, ShapeError> {
        self.pool(x, kernel, stride, padding)
    }

    fn avg_pool2d(
        &self,
        x: &Shape,
        &AvgPool2d { kernel, stride, padding }: &AvgPool2d,
    ) -> Result<Shape, ShapeError> {
        self.pool(x, kernel, stride, padding)
    }

    fn relu(&self, x: &Shape) -> Result<Shape, ShapeError> {
        Ok(x.clone())
    }

    fn sigmoid(&self, x: &Shape) -> Result<Shape, ShapeError> {
        Ok(x.clone())
    }

    fn hard_sigmoid(&self, x: &Shape) -> Result<Shape, ShapeError> {
        Ok(x.clone())
    }

    fn hard_swish(&self, x: &Shape) -> Result<Shape, ShapeError> {
        Ok(x.clone())
    }

    fn gelu(&self, x: &Shape) -> Result<Shape, ShapeError> {
        Ok(x.clone())
    }

    fn add(&self, a: &Shape, b: &Shape) -> Result<Shape, ShapeError> {
        self.broadcast(a, b)
    }

    fn mul(&self, a: &Shape, b: &Shape) -> Result<Shape, ShapeError> {
        self.broadcast(a, b)
    }

    fn divide(&self, x: &Shape, _: f32) -> Result<Shape, ShapeError> {
        Ok(x.clone())
    }

    fn reduce(&self, x: &Shape, _: Reduce, axes: &[usize], keep_dims: bool) -> Result<Shape, ShapeError> {
        if let Some(&axis) = axes.iter().find(|&&axis| axis >= x.len()) {
            return Err(self.here(ShapeProblem::Axis { axis, shape: x.clone() }));
        }
        let kept = x.iter().enumerate().filter_map(|(axis, &size)| match axes.contains(&axis) {
            true => keep_dims.then_some(1),
            false => Some(size),
        });
        Ok(kept.collect())
    }

    fn concat(&self, xs: &[&Shape], axis: usize) -> Result<Shape, ShapeError> {
        let other = |x: &Shape| -> Shape {
            x.iter().enumerate().map(|(i, &size)| if i == axis { 0 } else { size }).collect()
        };
        let mismatch = || {
            let shapes = xs.iter().map(|&x| x.clone()).collect();
            self.here(ShapeProblem::Join { shapes, axis })
        };
        let first = *xs.first().filter(|x| axis < x.len()).ok_or_else(mismatch)?;
        if xs.iter().any(|x| other(x) != other(first)) {
            return Err(mismatch());
        }
        let mut joined = other(first);
        joined[axis] = xs.iter().map(|x| x[axis]).sum();
        Ok(joined)
    }

    fn unsqueeze(&self, x: &Shape, axes: &[usize]) -> Result<Shape, ShapeError> {
        let rank = x.len() + axes.len();
        let mut old = x.iter();
        let inserted: Option<Shape> =
            (0..rank).map(|axis| if axes.contains(&axis) { Some(1) } else { old.next().copied() }).collect();
        inserted
            .filter(|_| old.next().is_none())
            .ok_or_else(|| self.here(ShapeProblem::Insert { axes: axes.into(), shape: x.clone() }))
    }

    fn squeeze(&self, x: &Shape, axes: &[usize]) -> Result<Shape, ShapeError> {
        if axes.iter().any(|&axis| x.get(axis) != Some(&1)) {
            return Err(self.here(ShapeProblem::Remove { axes: axes.into(), shape: x.clone() }));
        }
        let kept = x.iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
        Ok(kept.map(|(_, &size)| size).collect())
    }

    fn permute(&self, x: &Shape, axes: &[usize]) -> Result<Shape, ShapeError> {
        let mut sorted = axes.to_vec();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..x.len()) {
            return Err(self.here(ShapeProblem::Order { axes: axes.into(), shape: x.clone() }));
        }
        Ok(axes.iter().map(|&axis| x[axis]).collect())
    }

    fn dropout(&self, x: &Shape, rate: f32) -> Result<Shape, ShapeError> {
        match (0.0..1.0).contains(&rate) {
            true => Ok(x.clone()),
            false => Err(self.here(ShapeProblem::Rate(rate.to_string()))),
        }
    }

    fn drop_path(&self, x: &Shape, rate: f32) -> Result<Shape, ShapeError> {
        self.dropout(x, rate)
    }

    fn observe(&self, name: &str, value: &Shape) {
        self.observed.borrow_mut().insert(name.into(), value.clone());
    }

    fn scope<T>(&self, name: &str, body: impl FnOnce() -> Result<T, ShapeError>) -> Result<T, ShapeError> {
        let outer = self.scope.replace(name.into());
        let result = body();
        self.scope.replace(outer);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networks::{Architecture, Classifier, Stem};

    fn resnet18(attention: bool, stem: Stem, classes: usize, side: usize) -> Description {
        let attention = attention.then(|| crate::layers::Attention::default().into());
        let network =
            Classifier::new(&Architecture { classes, stem, attention, ..Architecture::default() }).unwrap();
        describe(&network, &[1, 3, side, side]).unwrap()
    }

    #[test]
    fn torchvisions_resnet18_costs_what_is_known_of_it() {
        let layers = resnet18(false, Stem::Imagenet, 1000, 224).layers;
        assert_eq!(layers.iter().map(|layer| layer.parameters).sum::<usize>(), 11_689_512);
        assert_eq!(layers.iter().map(|layer| layer.buffers).sum::<usize>(), 2 * 4800);
        // fvcore counts 1.814 GMACs for its convolutions and the head.
        assert_eq!(layers.iter().map(|layer| layer.macs).sum::<u64>(), 1_814_073_344);
        assert_eq!(layers[0].output, [1, 64, 112, 112]);
        assert_eq!(layers[0].macs, 64 * 3 * 49 * 112 * 112);
    }

    #[test]
    fn a_layer_that_is_used_twice_counts_twice_and_has_its_parameters_once() {
        let layers = resnet18(true, Stem::Cifar, 10, 32).layers;
        let mlp = layers.iter().find(|layer| layer.name == "cbam_layer1.channel_attn.fc.0").unwrap();
        assert_eq!((mlp.parameters, mlp.macs), (64 * 4, 2 * 64 * 4));
        assert_eq!(mlp.output, [1, 4]);
    }

    #[test]
    fn the_batch_does_not_change_what_an_item_costs() {
        let linear = Linear::new("fc", 3, 5);
        struct One(Linear);
        impl Module for One {
            fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
                ops.linear(x, &self.0)
            }
        }
        let layers = describe(&One(linear), &[7, 3]).unwrap().layers;
        assert_eq!((layers[0].macs, layers[0].parameters, &layers[0].output[..]), (15, 20, &[7, 5][..]));
    }
}
