//! Requests for an inference.

use std::time::Duration;

use super::{Elements, InputError, OutputError, ProtocolError};

/// Request for an inference, as a transport received it.
#[derive(Debug)]
pub struct Request<'a> {
    /// Identifier that the answer repeats; empty if there is none.
    pub id: String,
    /// Time that the client gives the server; none for the server's own.
    pub timeout: Option<Duration>,
    /// Input tensors.
    pub inputs: Vec<Input<'a>>,
    /// Outputs to return; all if there are none.
    pub outputs: Vec<RequestedOutput>,
    /// True if outputs that are not named in `outputs` are returned as binary data.
    pub binary: bool,
}

/// Input tensor of a request, whose elements are not read yet.
#[derive(Debug)]
pub struct Input<'a> {
    /// Name of the input.
    pub name: String,
    /// Name of the datatype.
    pub datatype: String,
    /// Sizes of the dimensions.
    pub shape: Vec<i64>,
    /// Elements in row-major order.
    pub elements: Elements<'a>,
}

/// Output that a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedOutput {
    /// Name of the output.
    pub name: String,
    /// Number of most likely classes to return instead of the values; 0 for the values.
    pub classification: usize,
    /// True if the output is returned as binary data.
    pub binary: bool,
}

impl Input<'_> {
    /// Reads the shape: each size is at least 1, and memory can hold as many bytes as there are elements.
    ///
    /// # Errors
    /// [`InputError::Shape`] with what the model `takes`.
    pub(super) fn sizes(&self, takes: &str) -> Result<Vec<usize>, InputError> {
        let wrong = || InputError::Shape { given: self.shape.clone(), takes: takes.into() };
        let size = |&size: &i64| usize::try_from(size).ok().filter(|&size| size > 0);
        let sizes: Vec<usize> = self.shape.iter().map(size).collect::<Option<_>>().ok_or_else(wrong)?;
        let elements = sizes.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
        elements
            .filter(|&elements| isize::try_from(elements).is_ok_and(|elements| elements < isize::MAX / 8))
            .ok_or_else(wrong)?;
        Ok(sizes)
    }
}

/// Checks that no output is asked for twice.
pub(super) fn check_outputs(outputs: &[RequestedOutput]) -> Result<(), ProtocolError> {
    let mut names: Vec<&str> = outputs.iter().map(|output| &*output.name).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(ProtocolError::output(pair[0], OutputError::Twice)),
        None => Ok(()),
    }
}
