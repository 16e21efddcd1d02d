//! HTML pages of evaluations and benchmarks, each one file without scripts or links.

#[cfg(feature = "bench")]
mod benchmark;
mod evaluation;
mod multi_label;

use std::path::Path;

#[cfg(feature = "bench")]
pub use benchmark::benchmark;
pub use evaluation::evaluation;
pub use multi_label::multi_label;

/// Title of the page of an evaluation on the images in `data`.
fn title(data: &Path) -> String {
    format!("Evaluation on {}", data.file_name().unwrap_or(data.as_os_str()).display())
}
