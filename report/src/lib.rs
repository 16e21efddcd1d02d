//! Metrics of image classifiers, and their presentation in HTML reports and on terminals.
//!
//! | module | contains |
//! |---|---|
//! | [`metrics`] | accuracy, precision, recall, F1, confusion matrix |
//! | [`scored`] | negative log-likelihood, Brier score |
//! | [`ranking`] | ROC and precision-recall curves with their areas |
//! | [`calibration`] | calibration error and reliability |
//! | [`temperature`] | temperature scaling of logits |
//! | [`interval`] | confidence intervals |
//! | [`activation`] | softmax and sigmoid |
//! | [`multi_label`] | mean average precision and the like, where several classes are right for an image |
//! | [`thresholds`] | the probability from which a class is selected, by the highest F1 |
//! | `html` | pages, charts, matrices and image tiles that need no script and no network |
//! | `text` | tables and lists for terminals |
//!
//! Both programs use it; it depends on neither. `html` and `text` are features.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod activation;
pub mod calibration;
#[cfg(feature = "html")]
pub mod html;
pub mod interval;
pub mod metrics;
pub mod multi_label;
pub mod ranking;
pub mod scored;
pub mod temperature;
#[cfg(feature = "text")]
pub mod text;
pub mod thresholds;
