//! Passes over a graph. Each keeps what the graph computes.

mod fold_batch_norm;
mod remove_unused;

pub use fold_batch_norm::fold_batch_norm;
pub use remove_unused::remove_unused;
