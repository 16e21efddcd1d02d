//! Gradients added over the ranks in buckets, while the backward pass goes on.
//!
//! As PyTorch's DistributedDataParallel does it (Li et al. 2020, arXiv:2006.15704): parameters are put into buckets in
//! reverse order, because their gradients are complete in about that order, and a bucket is added over the ranks as
//! soon as it is full and all buckets before it have begun. So all ranks add the same buckets in the same order.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use tch::{Device, Tensor};

use super::{DistributedError, Group, Pending};
use crate::error::TorchError;
use crate::native::{self, GradientHook};

/// Size of the first bucket in bytes, which is small so that adding begins early, and of the others; a bucket is full
/// when it has at least as many. They are PyTorch's.
const BUCKET_BYTES: [usize; 2] = [1 << 20, 25 << 20];

/// Adds the gradients of parameters over all ranks.
///
/// On the CPU the buckets are added while the backward pass goes on. On a GPU all of them are added after it, on the stream
/// of the step: so a CUDA graph can record them, and no stream has to wait for another.
#[derive(Debug)]
pub struct Reducer {
    parts: Rc<Parts>,
    _hooks: Vec<GradientHook>,
}

/// Errors of adding gradients over the ranks.
#[derive(Debug, thiserror::Error)]
pub enum ReduceError {
    /// The ranks could not exchange gradients.
    #[error(transparent)]
    Distributed(#[from] DistributedError),
    /// libtorch failed.
    #[error(transparent)]
    Torch(#[from] TorchError),
}

impl From<tch::TchError> for ReduceError {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error.into())
    }
}

#[derive(Debug)]
struct Parts {
    group: Arc<Group>,
    slots: Vec<Slot>,
    /// Gradients of consecutive slots, in one tensor each.
    buckets: Vec<Tensor>,
    state: RefCell<State>,
}

/// Parameter with its place in a bucket.
#[derive(Debug)]
struct Slot {
    parameter: Tensor,
    /// Part of the bucket, in the shape and layout of the parameter.
    place: Tensor,
    bucket: usize,
}

#[derive(Debug, Default)]
struct State {
    /// True while the gradients of a backward pass are to be added.
    reduces: bool,
    /// True for each slot whose gradient, or zeros, lie in its place.
    ready: Vec<bool>,
    /// True for each slot that has a gradient in this rank.
    has_gradient: Vec<bool>,
    /// Number of slots of each bucket that are not ready.
    missing: Vec<usize>,
    /// Buckets that are being added.
    pending: Vec<Pending>,
    /// First error of the backward pass.
    failed: Option<ReduceError>,
    /// True for each slot that has a gradient in some rank; known after the first pass.
    used: Option<Vec<bool>>,
}

impl Reducer {
    /// Makes buckets for `parameters`, whose order is the same in all ranks; they must be on one device.
    ///
    /// # Errors
    /// [`ReduceError::Torch`] when memory runs out.
    pub fn new(group: Arc<Group>, parameters: &[&Tensor]) -> Result<Self, ReduceError> {
        let order: Vec<&Tensor> = parameters.iter().rev().copied().collect();
        let (mut slots, mut buckets) = (Vec::new(), Vec::new());
        for group in grouped(&order) {
            let count = group.iter().map(|parameter| parameter.numel()).sum::<usize>() as i64;
            let bucket = Tensor::f_zeros([count], (group[0].kind(), group[0].device()))?;
            let mut start = 0;
            for parameter in group {
                let place = bucket.f_as_strided(parameter.size(), parameter.stride(), start)?;
                start += parameter.numel() as i64;
                slots.push(Slot { parameter: parameter.shallow_clone(), place, bucket: buckets.len() });
            }
            buckets.push(bucket);
        }
        let parts = Rc::new(Parts { group, slots, buckets, state: RefCell::default() });
        let overlaps = order.iter().all(|parameter| parameter.device() == Device::Cpu);
        let hook = |(index, slot): (usize, &Slot)| {
            let parts = Rc::clone(&parts);
            GradientHook::new(&slot.parameter, move || parts.complete(index))
        };
        let hooks = match overlaps {
            true => parts.slots.iter().enumerate().map(hook).collect::<Result<_, _>>()?,
            false => Vec::new(),
        };
        Ok(Self { parts, _hooks: hooks })
    }

    /// Lets the next backward pass add its gradients, with those that were accumulated before. [`finish`](Self::finish) has
    /// to follow, in every rank.
    pub fn begin(&self) {
        self.parts.begin();
    }

    /// Waits until all gradients are added; each parameter then has the sum over the ranks as its gradient.
    ///
    /// A parameter without a gradient in this rank counts as zeros; one without a gradient in any rank has none after it.
    ///
    /// # Errors
    /// [`ReduceError`] of the first bucket that could not be added.
    pub fn finish(&self) -> Result<(), ReduceError> {
        self.parts.finish()
    }
}

/// Splits parameters into buckets of one float type each.
fn grouped<'t>(order: &[&'t Tensor]) -> Vec<Vec<&'t Tensor>> {
    let mut groups: Vec<Vec<&Tensor>> = Vec::new();
    let mut bytes = 0;
    for parameter in order {
        let limit = BUCKET_BYTES[usize::from(groups.len() > 1)];
        match groups.last_mut() {
            Some(group) if bytes < limit && group[0].kind() == parameter.kind() => group.push(parameter),
            _ => {
                groups.push(vec![parameter]);
                bytes = 0;
            }
        }
        bytes += parameter.numel() * parameter.kind().elt_size_in_bytes();
    }
    groups
}

impl Parts {
    fn begin(&self) {
        let mut state = self.state.borrow_mut();
        state.reduces = true;
        state.ready = vec![false; self.slots.len()];
        state.has_gradient = vec![false; self.slots.len()];
        state.missing = vec![0; self.buckets.len()];
        for slot in &self.slots {
            state.missing[slot.bucket] += 1;
        }
    }

    /// Takes the complete gradient of a slot in a backward pass.
    fn complete(&self, index: usize) {
        let mut state = self.state.borrow_mut();
        if !state.reduces || state.failed.is_some() {
            return;
        }
        let taken = self.take(&mut state, &[index]).and_then(|()| self.add_full(&mut state));
        // A hook cannot fail; `finish` does.
        state.failed = taken.err();
    }

    /// Copies the gradients of slots to their places, or zeros where there are none.
    fn take(&self, state: &mut State, indices: &[usize]) -> Result<(), ReduceError> {
        let _guard = tch::no_grad_guard();
        let mut gradients = Vec::new();
        for &index in indices {
            let Slot { parameter, place, bucket } = &self.slots[index];
            let gradient = native::gradient(parameter)?;
            state.has_gradient[index] = gradient.is_some();
            match gradient {
                Some(gradient) => gradients.push((place, gradient)),
                None => drop(place.shallow_clone().f_zero_()?),
            }
            if !std::mem::replace(&mut state.ready[index], true) {
                state.missing[*bucket] -= 1;
            }
        }
        let pairs: Vec<_> = gradients.iter().map(|(place, gradient)| (*place, gradient)).collect();
        Ok(native::copy_all(&pairs)?)
    }

    /// Begins to add the next buckets that are full.
    fn add_full(&self, state: &mut State) -> Result<(), ReduceError> {
        while state.pending.len() < self.buckets.len() && state.missing[state.pending.len()] == 0 {
            let pending = self.group.all_reduce_start(&self.buckets[state.pending.len()])?;
            state.pending.push(pending);
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), ReduceError> {
        let state = &mut *self.state.borrow_mut();
        state.reduces = false;
        if let Some(error) = state.failed.take() {
            return Err(error);
        }
        let rest: Vec<usize> = (0..self.slots.len()).filter(|&index| !state.ready[index]).collect();
        self.take(state, &rest)?;
        self.add_full(state)?;
        for pending in std::mem::take(&mut state.pending) {
            pending.wait()?;
        }
        let used = match &mut state.used {
            Some(used) => used,
            // A network does the same in every step, so once is enough.
            none => none.insert(self.used_anywhere(&state.has_gradient)?),
        };
        let used = self.slots.iter().zip(used).filter(|(_, used)| **used);
        let pairs: Vec<_> = used.map(|(slot, _)| (&slot.parameter, &slot.place)).collect();
        Ok(native::set_gradients(&pairs)?)
    }

    /// Tells for each slot whether it has a gradient in some rank.
    fn used_anywhere(&self, has_gradient: &[bool]) -> Result<Vec<bool>, ReduceError> {
        let own: Vec<u8> = has_gradient.iter().map(|&has| has.into()).collect();
        let all = self.group.all_gather(&own)?;
        Ok((0..own.len()).map(|index| all.iter().any(|rank| rank.get(index) == Some(&1))).collect())
    }
}
