//! HTML pages of evaluations and benchmarks, each one file without scripts or links.

#[cfg(feature = "bench")]
mod benchmark;
mod evaluation;

#[cfg(feature = "bench")]
pub use benchmark::benchmark;
pub use evaluation::evaluation;
