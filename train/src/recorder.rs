//! Functions of tensors that are recorded as CUDA graphs after a few calls, and replayed from then on.
//!
//! A small batch takes a GPU less time than launching its kernels one by one takes the CPU. A graph is launched at once.
//! It computes on the same memory each time, so inputs are copied to where they were when it was recorded.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use tch::{Device, Tensor};

use crate::error::TorchError;
use crate::native::Graph;
use crate::params::copied;

/// Calls with inputs of one form before the next one is recorded: libraries choose their algorithms meanwhile.
const WARM_UP: usize = 3;

/// Largest number of graphs that are kept; each has memory of its own.
const MOST: usize = 8;

/// Key of a call: a name, numbers that its work depends on, and the shapes and types of its inputs.
type Key = (&'static str, Vec<i64>);

/// Memory of recorded functions.
///
/// A function that is called through a recorder reads and writes, besides its inputs and outputs, only tensors that
/// stay in their place, and does nothing else that a replay would have to repeat.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// Number of the GPU; `None` where nothing is recorded.
    gpu: Option<usize>,
    calls: RefCell<HashMap<Key, Call>>,
    refusal: RefCell<Option<String>>,
    recorded: Cell<usize>,
}

#[derive(Debug)]
enum Call {
    Seen(usize),
    Recorded {
        graph: Graph,
        inputs: Vec<Tensor>,
        outputs: Vec<Tensor>,
    },
    /// Cannot be recorded.
    Plain,
}

impl Recorder {
    /// Records functions on `device` if it is a CUDA device and graphs are `wanted`.
    pub fn new(device: Device, wanted: bool) -> Self {
        let gpu = match device {
            Device::Cuda(index) if wanted => Some(index),
            _ => None,
        };
        Self { gpu, calls: RefCell::default(), refusal: RefCell::default(), recorded: Cell::new(0) }
    }

    /// Forgets all recordings, because tensors that they use are about to go.
    pub fn clear(&self) {
        self.calls.borrow_mut().clear();
    }

    /// Number of graphs that were recorded so far.
    pub fn recorded(&self) -> usize {
        self.recorded.get()
    }

    /// Reason for which a function could not be recorded, the first time it is asked for.
    pub fn refusal(&self) -> Option<String> {
        self.refusal.borrow_mut().take()
    }

    /// Computes `body` of `inputs`, or replays it.
    ///
    /// `name` and `constants` tell apart functions of inputs with the same shapes. The outputs of a replay lie in the
    /// memory of the graph: they are valid until the next call of the same function.
    ///
    /// # Errors
    /// Those of `body`.
    pub fn call<E: From<TorchError> + std::error::Error>(
        &self,
        name: &'static str,
        constants: &[i64],
        inputs: &[Tensor],
        body: impl Fn(&[Tensor]) -> Result<Vec<Tensor>, E>,
    ) -> Result<Vec<Tensor>, E> {
        let Some(gpu) = self.gpu else { return body(inputs) };
        let key = key(name, constants, inputs);
        let mut calls = self.calls.borrow_mut();
        let graphs = calls.values().filter(|call| matches!(call, Call::Recorded { .. })).count();
        let call = calls.entry(key).or_insert(Call::Seen(0));
        match call {
            Call::Recorded { graph, inputs: places, outputs } => {
                replay(graph, places, inputs)?;
                return Ok(outputs.iter().map(Tensor::shallow_clone).collect());
            }
            Call::Seen(count) if *count >= WARM_UP && graphs < MOST => {
                let places = inputs.iter().map(copied).collect::<Result<Vec<_>, _>>()?;
                match Graph::record(gpu, || body(&places)) {
                    Ok((graph, outputs)) => {
                        replay(&graph, &places, inputs)?;
                        let result = outputs.iter().map(Tensor::shallow_clone).collect();
                        *call = Call::Recorded { graph, inputs: places, outputs };
                        self.recorded.set(self.recorded.get() + 1);
                        return Ok(result);
                    }
                    Err(error) => {
                        *call = Call::Plain;
                        *self.refusal.borrow_mut() = Some(crate::error::chain(&error));
                    }
                }
            }
            Call::Seen(count) => *count += 1,
            Call::Plain => {}
        }
        body(inputs)
    }
}

fn replay(graph: &Graph, places: &[Tensor], inputs: &[Tensor]) -> Result<(), TorchError> {
    for (place, input) in places.iter().zip(inputs) {
        place.shallow_clone().f_copy_(input)?;
    }
    graph.replay()
}

fn key(name: &'static str, constants: &[i64], inputs: &[Tensor]) -> Key {
    let mut numbers = constants.to_vec();
    for input in inputs {
        numbers.push(input.kind() as i64);
        numbers.push(input.dim() as i64);
        numbers.extend(input.size());
        numbers.extend(input.stride());
    }
    (name, numbers)
}
