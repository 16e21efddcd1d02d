//! Passes over a graph. Each keeps what the graph computes, as far as its precision goes.

mod bytes_input;
mod expose;
mod fold_batch_norm;
mod half_precision;
mod quantize;
mod remove_unused;
mod share_constants;

pub use bytes_input::bytes_input;
pub use expose::{Exposed, expose};
pub use fold_batch_norm::fold_batch_norm;
pub use half_precision::{HalfError, half_precision};
pub use quantize::{QuantizeError, Ranges, quantize, quantized_values};
pub use remove_unused::remove_unused;
pub use share_constants::share_constants;
