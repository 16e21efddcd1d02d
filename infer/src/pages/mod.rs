//! HTML pages of evaluations and benchmarks, each one file without scripts or links.

#[cfg(feature = "bench")]
mod benchmark;
mod evaluation;
mod multi_label;

#[cfg(feature = "bench")]
pub use benchmark::benchmark;
pub use evaluation::evaluation;
pub use multi_label::multi_label;
