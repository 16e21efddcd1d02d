//! The interpretation that computes shapes: names, shapes and initial distributions of all parameters, and what each
//! layer gives and costs.

use std::cell::RefCell;

use indexmap::IndexMap;

use crate::layers::{BatchNorm2d, Conv2d, Linear, MaxPool2d, Param};
use crate::ops::{Module, Ops, Reduce};

/// What a module is for a given input.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// Shape of the output.
    pub output: Vec<usize>,
    /// All parameters and buffers, in the order in which the module uses them.
    pub params: Vec<Param>,
    /// All layers with parameters, in the order in which the module uses them.
    pub layers: Vec<LayerDescription>,
    /// Shapes of what can be [observed](Ops::observe), by name.
    pub observed: IndexMap<String, Vec<usize>>,
}

/// What a layer gives and costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerDescription {
    /// Full name, `backbone.layer1.0.conv1`.
    pub name: String,
    /// Shape of the output, `[N, ...]`.
    pub output: Vec<usize>,
    /// Trainable values.
    pub parameters: usize,
    /// Values that training follows without gradients: the statistics of a batch norm.
    pub buffers: usize,
    /// Multiply-accumulates of one item of the batch, over all uses of the layer. Those of convolutions and linear
    /// layers are counted, as is usual; all else costs little.
    pub macs: u64,
}

/// Shapes and parameters of `module` for an input of shape `input`.
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

/// Shapes that do not fit, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{location}: {problem}")]
pub struct ShapeError {
    /// The layer or part of the network.
    pub location: String,
    /// What does not fit.
    pub problem: String,
}

#[derive(Default)]
struct Shapes {
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
                    return Err(error(layer, format!("{} is defined twice, differently", param.name)));
                }
                _ => known.insert(param.name.clone(), param.clone()),
            };
        }
        Ok(())
    }

    /// A use of a layer: its parameters count once, its multiply-accumulates every time.
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
            return Err(self.here(format!("cannot combine {a:?} with {b:?}")));
        }
        Ok(a.iter().zip(b).map(|(&a, &b)| if a == 1 { b } else { a }).collect())
    }

    fn here(&self, problem: String) -> ShapeError {
        error(&self.scope.borrow(), problem)
    }
}

fn error(location: &str, problem: String) -> ShapeError {
    ShapeError { location: location.into(), problem }
}

/// `[N, C, H, W]`, with `C` as the layer expects it.
fn nchw(layer: &str, x: &Shape, channels: usize) -> Result<[usize; 4], ShapeError> {
    match x[..] {
        [n, c, h, w] if c == channels => Ok([n, c, h, w]),
        _ => Err(error(layer, format!("expects [N, {channels}, H, W], got {x:?}"))),
    }
}

/// Positions of a window of `kernel` over `size` padded on both sides.
fn windows(size: usize, kernel: usize, stride: usize, padding: usize) -> Option<usize> {
    Some((size + 2 * padding).checked_sub(kernel)? / stride + 1)
}

impl Ops for Shapes {
    type Value = Shape;
    type Error = ShapeError;

    fn conv2d(&self, x: &Shape, layer: &Conv2d) -> Result<Shape, ShapeError> {
        let params = layer.params();
        self.register(&layer.name, &params)?;
        let [n, _, h, w] = nchw(&layer.name, x, layer.in_channels)?;
        let out = |size| windows(size, layer.kernel, layer.stride, layer.padding);
        let (Some(h), Some(w)) = (out(h), out(w)) else {
            return Err(error(&layer.name, format!("{h}x{w} is smaller than its kernel")));
        };
        let output = vec![n, layer.out_channels, h, w];
        let macs_per_position = layer.out_channels * layer.in_channels * layer.kernel * layer.kernel;
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

    fn linear(&self, x: &Shape, layer: &Linear) -> Result<Shape, ShapeError> {
        let params = layer.params();
        self.register(&layer.name, &params)?;
        let output = match x[..] {
            [n, features] if features == layer.in_features => vec![n, layer.out_features],
            _ => return Err(error(&layer.name, format!("expects [N, {}], got {x:?}", layer.in_features))),
        };
        self.count(&layer.name, &params, &output, layer.in_features * layer.out_features);
        Ok(output)
    }

    fn max_pool2d(&self, x: &Shape, layer: &MaxPool2d) -> Result<Shape, ShapeError> {
        let &[n, c, h, w] = &x[..] else {
            return Err(self.here(format!("a pool expects [N, C, H, W], got {x:?}")));
        };
        let out = |size| windows(size, layer.kernel, layer.stride, layer.padding);
        match (out(h), out(w)) {
            (Some(h), Some(w)) => Ok(vec![n, c, h, w]),
            _ => Err(self.here(format!("{h}x{w} is smaller than the window of the pool"))),
        }
    }

    fn relu(&self, x: &Shape) -> Result<Shape, ShapeError> {
        Ok(x.clone())
    }

    fn sigmoid(&self, x: &Shape) -> Result<Shape, ShapeError> {
        Ok(x.clone())
    }

    fn add(&self, a: &Shape, b: &Shape) -> Result<Shape, ShapeError> {
        self.broadcast(a, b)
    }

    fn mul(&self, a: &Shape, b: &Shape) -> Result<Shape, ShapeError> {
        self.broadcast(a, b)
    }

    fn reduce(&self, x: &Shape, _: Reduce, axes: &[usize], keep_dims: bool) -> Result<Shape, ShapeError> {
        if let Some(axis) = axes.iter().find(|&&axis| axis >= x.len()) {
            return Err(self.here(format!("axis {axis} does not exist in {x:?}")));
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
        let Some(first) = xs.first().filter(|x| axis < x.len()) else {
            return Err(self.here(format!("nothing to join along axis {axis}")));
        };
        if xs.iter().any(|x| other(x) != other(first)) {
            return Err(self.here(format!("cannot join {xs:?} along axis {axis}")));
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
            .ok_or_else(|| self.here(format!("cannot insert dimensions at {axes:?} into {x:?}")))
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
    use crate::resnet::{Architecture, ResNet18, Stem};

    fn resnet18(attention: bool, stem: Stem, classes: usize, side: usize) -> Description {
        let attention = attention.then(crate::layers::Attention::default);
        let network = ResNet18::new(&Architecture { classes, stem, attention }).unwrap();
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
