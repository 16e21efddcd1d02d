//! The interpretation that computes shapes: names, shapes and initial distributions of all parameters.

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
}

/// Shapes and parameters of `module` for an input of shape `input`.
pub fn describe(module: &impl Module, input: &[usize]) -> Result<Description, ShapeError> {
    let ops = Shapes::default();
    let output = module.forward(&ops, &input.to_vec())?;
    Ok(Description { output, params: ops.params.into_inner().into_values().collect() })
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
    scope: RefCell<String>,
}

type Shape = Vec<usize>;

impl Shapes {
    fn register(&self, layer: &str, params: Vec<Param>) -> Result<(), ShapeError> {
        for param in params {
            let mut known = self.params.borrow_mut();
            match known.get(&param.name) {
                // A layer may be applied twice; two layers may not share a name.
                Some(previous) if *previous != param => {
                    return Err(error(layer, format!("{} is defined twice, differently", param.name)));
                }
                _ => known.insert(param.name.clone(), param),
            };
        }
        Ok(())
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
        self.register(&layer.name, layer.params())?;
        let [n, _, h, w] = nchw(&layer.name, x, layer.in_channels)?;
        let out = |size| windows(size, layer.kernel, layer.stride, layer.padding);
        match (out(h), out(w)) {
            (Some(h), Some(w)) => Ok(vec![n, layer.out_channels, h, w]),
            _ => Err(error(&layer.name, format!("{h}x{w} is smaller than its kernel"))),
        }
    }

    fn batch_norm(&self, x: &Shape, layer: &BatchNorm2d) -> Result<Shape, ShapeError> {
        self.register(&layer.name, layer.params())?;
        Ok(nchw(&layer.name, x, layer.channels)?.to_vec())
    }

    fn linear(&self, x: &Shape, layer: &Linear) -> Result<Shape, ShapeError> {
        self.register(&layer.name, layer.params())?;
        match x[..] {
            [n, features] if features == layer.in_features => Ok(vec![n, layer.out_features]),
            _ => Err(error(&layer.name, format!("expects [N, {}], got {x:?}", layer.in_features))),
        }
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

    fn scope<T>(&self, name: &str, body: impl FnOnce() -> Result<T, ShapeError>) -> Result<T, ShapeError> {
        let outer = self.scope.replace(name.into());
        let result = body();
        self.scope.replace(outer);
        result
    }
}
