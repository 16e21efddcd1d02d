//! Metrics of image classifiers, and the parts of self-contained HTML reports.
//!
//! | module | gives |
//! |---|---|
//! | [`metrics`] | accuracy, precision, recall, F1, confusion matrix, calibration error |
//! | [`html`] | pages, charts, matrices and image tiles that need no script and no network |
//!
//! Training reports and `infer`'s pages are made of the same parts; this crate depends on neither.

#![warn(clippy::print_stdout, clippy::print_stderr)]

#[cfg(feature = "html")]
pub mod html;
pub mod metrics;
