//! Lockstep execution of two interpretations: values of one, keyed by the names of the other.

use std::cell::RefCell;
use std::rc::Rc;

use crate::layers::{AvgPool2d, BatchNorm2d, Conv1d, Conv2d, LayerNorm, LayerScale, Linear, MaxPool2d};
use crate::ops::{Ops, Reduce};

/// Interpretation that runs every operation in `A`, which gives the name, and in `B`, which gives the value.
pub struct Lockstep<'a, A: Ops<Value = String>, B: Ops> {
    names: &'a A,
    values: &'a B,
    seen: RefCell<Vec<(String, Rc<B::Value>)>>,
}

/// Failure of one of the two interpretations.
#[derive(Debug, thiserror::Error)]
pub enum LockstepError<A, B> {
    /// The interpretation that gives names failed.
    #[error(transparent)]
    Names(A),
    /// The interpretation that gives values failed.
    #[error(transparent)]
    Values(B),
}

type Both<B> = (String, Rc<<B as Ops>::Value>);
type Outcome<A, B> = Result<Both<B>, LockstepError<<A as Ops>::Error, <B as Ops>::Error>>;

impl<'a, A: Ops<Value = String>, B: Ops> Lockstep<'a, A, B> {
    /// Combines two interpretations.
    pub fn new(names: &'a A, values: &'a B) -> Self {
        Self { names, values, seen: RefCell::default() }
    }

    /// Results of all operations so far with their names, in order.
    pub fn into_seen(self) -> Vec<(String, Rc<B::Value>)> {
        self.seen.into_inner()
    }

    fn keep(&self, name: Result<String, A::Error>, value: Result<B::Value, B::Error>) -> Outcome<A, B> {
        let both = (name.map_err(LockstepError::Names)?, Rc::new(value.map_err(LockstepError::Values)?));
        self.seen.borrow_mut().push(both.clone());
        Ok(both)
    }
}

impl<A: Ops<Value = String>, B: Ops> Ops for Lockstep<'_, A, B> {
    type Value = Both<B>;
    type Error = LockstepError<A::Error, B::Error>;

    fn conv2d(&self, (name, x): &Both<B>, layer: &Conv2d) -> Outcome<A, B> {
        self.keep(self.names.conv2d(name, layer), self.values.conv2d(x, layer))
    }

    fn batch_norm(&self, (name, x): &Both<B>, layer: &BatchNorm2d) -> Outcome<A, B> {
        self.keep(self.names.batch_norm(name, layer), self.values.batch_norm(x, layer))
    }

    fn layer_norm(&self, (name, x): &Both<B>, layer: &LayerNorm) -> Outcome<A, B> {
        self.keep(self.names.layer_norm(name, layer), self.values.layer_norm(x, layer))
    }

    fn layer_scale(&self, (name, x): &Both<B>, layer: &LayerScale) -> Outcome<A, B> {
        self.keep(self.names.layer_scale(name, layer), self.values.layer_scale(x, layer))
    }

    fn linear(&self, (name, x): &Both<B>, layer: &Linear) -> Outcome<A, B> {
        self.keep(self.names.linear(name, layer), self.values.linear(x, layer))
    }

    fn max_pool2d(&self, (name, x): &Both<B>, layer: &MaxPool2d) -> Outcome<A, B> {
        self.keep(self.names.max_pool2d(name, layer), self.values.max_pool2d(x, layer))
    }

    fn conv1d(&self, (name, x): &Both<B>, layer: &Conv1d) -> Outcome<A, B> {
        self.keep(self.names.conv1d(name, layer), self.values.conv1d(x, layer))
    }

    fn avg_pool2d(&self, (name, x): &Both<B>, layer: &AvgPool2d) -> Outcome<A, B> {
        self.keep(self.names.avg_pool2d(name, layer), self.values.avg_pool2d(x, layer))
    }

    fn relu(&self, (name, x): &Both<B>) -> Outcome<A, B> {
        self.keep(self.names.relu(name), self.values.relu(x))
    }

    fn sigmoid(&self, (name, x): &Both<B>) -> Outcome<A, B> {
        self.keep(self.names.sigmoid(name), self.values.sigmoid(x))
    }

    fn hard_sigmoid(&self, (name, x): &Both<B>) -> Outcome<A, B> {
        self.keep(self.names.hard_sigmoid(name), self.values.hard_sigmoid(x))
    }

    fn hard_swish(&self, (name, x): &Both<B>) -> Outcome<A, B> {
        self.keep(self.names.hard_swish(name), self.values.hard_swish(x))
    }

    fn gelu(&self, (name, x): &Both<B>) -> Outcome<A, B> {
        self.keep(self.names.gelu(name), self.values.gelu(x))
    }

    fn add(&self, (name_a, a): &Both<B>, (name_b, b): &Both<B>) -> Outcome<A, B> {
        self.keep(self.names.add(name_a, name_b), self.values.add(a, b))
    }

    fn mul(&self, (name_a, a): &Both<B>, (name_b, b): &Both<B>) -> Outcome<A, B> {
        self.keep(self.names.mul(name_a, name_b), self.values.mul(a, b))
    }

    fn divide(&self, (name, x): &Both<B>, divisor: f32) -> Outcome<A, B> {
        self.keep(self.names.divide(name, divisor), self.values.divide(x, divisor))
    }

    fn reduce(&self, (name, x): &Both<B>, how: Reduce, axes: &[usize], keep_dims: bool) -> Outcome<A, B> {
        self.keep(self.names.reduce(name, how, axes, keep_dims), self.values.reduce(x, how, axes, keep_dims))
    }

    fn concat(&self, xs: &[&Both<B>], axis: usize) -> Outcome<A, B> {
        let names: Vec<&String> = xs.iter().map(|(name, _)| name).collect();
        let values: Vec<&B::Value> = xs.iter().map(|(_, value)| &**value).collect();
        self.keep(self.names.concat(&names, axis), self.values.concat(&values, axis))
    }

    fn unsqueeze(&self, (name, x): &Both<B>, axes: &[usize]) -> Outcome<A, B> {
        self.keep(self.names.unsqueeze(name, axes), self.values.unsqueeze(x, axes))
    }

    fn squeeze(&self, (name, x): &Both<B>, axes: &[usize]) -> Outcome<A, B> {
        self.keep(self.names.squeeze(name, axes), self.values.squeeze(x, axes))
    }

    fn permute(&self, (name, x): &Both<B>, axes: &[usize]) -> Outcome<A, B> {
        self.keep(self.names.permute(name, axes), self.values.permute(x, axes))
    }

    fn dropout(&self, (name, x): &Both<B>, rate: f32) -> Outcome<A, B> {
        self.keep(self.names.dropout(name, rate), self.values.dropout(x, rate))
    }

    fn drop_path(&self, (name, x): &Both<B>, rate: f32) -> Outcome<A, B> {
        self.keep(self.names.drop_path(name, rate), self.values.drop_path(x, rate))
    }

    fn scope<T>(&self, name: &str, body: impl FnOnce() -> Result<T, Self::Error>) -> Result<T, Self::Error> {
        // Both interpretations enter the scope, and the body runs once.
        let mut result = None;
        let entered = self.names.scope(name, || {
            Ok(self.values.scope(name, || {
                result = Some(body());
                Ok(())
            }))
        });
        entered.map_err(LockstepError::Names)?.map_err(LockstepError::Values)?;
        result.expect("a scope runs its body")
    }

    fn observe(&self, name: &str, (graph_name, value): &Both<B>) {
        self.names.observe(name, graph_name);
        self.values.observe(name, value);
    }
}
