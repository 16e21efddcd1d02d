//! Passes over models. Each keeps what the model computes, as far as its precision goes.
//!
//! They take models of any program. Where a pass does not know for sure that it may change something, it leaves it as it
//! is: operators of other domains, values that graphs inside nodes read, constants that the caller may replace.

mod add_intermediate_outputs;
mod deduplicate_initializers;
mod eliminate_dead_nodes;
mod embed_preprocessing;
mod fold_batch_norm;
mod half_precision;
mod quantize;
mod remove_quantization;
mod replace_zip_maps;

pub use add_intermediate_outputs::{IntermediateOutput, add_intermediate_outputs};
pub use deduplicate_initializers::deduplicate_initializers;
pub use eliminate_dead_nodes::eliminate_dead_nodes;
pub use embed_preprocessing::{EmbedError, embed_preprocessing};
pub use fold_batch_norm::fold_batch_norm;
pub use half_precision::{HalfError, half_precision};
pub use quantize::{QuantizeError, Ranges, quantize, quantized_values};
pub use remove_quantization::remove_quantization;
pub use replace_zip_maps::replace_zip_maps;
