//! Metrics of image classifiers, and their presentation in HTML reports and on terminals.
//!
//! | module | contains |
//! |---|---|
//! | [`interval`] | confidence intervals |
//! | [`metrics`] | accuracy, precision, recall, F1, confusion matrix, calibration error |
//! | [`multi_label`] | mean average precision and the like, where several classes are right for an image |
//! | `html` | pages, charts, matrices and image tiles that need no script and no network |
//! | `text` | tables and lists for terminals |
//!
//! Both programs use it; it depends on neither. `html` and `text` are features.

#![warn(clippy::print_stdout, clippy::print_stderr)]

#[cfg(feature = "html")]
pub mod html;
pub mod interval;
pub mod metrics;
pub mod multi_label;
#[cfg(feature = "text")]
pub mod text;
