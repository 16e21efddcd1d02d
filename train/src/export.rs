//! The export: write the ONNX file, run it against libtorch, and only then put it in place.

use std::io;
use std::path::{Path, PathBuf};

use infer::Session;
use infer::session::Options;
use models::card::{CARD_KEY, ModelCard};
use models::onnx::{self, Interface, Opset, TraceError, passes};
use models::{Module, Weights, shapes};
use ndarray::{Array2, Ix2};
use tch::{Device, Tensor};

use crate::error::TorchError;
use crate::params::Params;
use crate::trainer::{TrainError, logits};

/// How a file is written and what it must hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExportOptions {
    /// Version of the operators.
    pub opset: Opset,
    /// Whether batch norm is merged into the convolutions.
    pub fold: bool,
    /// Largest difference to libtorch, relative to the largest logit.
    pub tolerance: f64,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self { opset: Opset::default(), fold: true, tolerance: 1e-4 }
    }
}

/// How an exported file compares with libtorch.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Verification {
    /// Pictures compared.
    pub images: usize,
    /// Largest difference between two logits.
    pub max_difference: f64,
    /// The same, relative to the largest logit.
    pub max_relative_difference: f64,
    /// Pictures for which both name the same class.
    pub agreeing: usize,
    /// Pictures for which they do not, but whose two best logits are closer than the tolerance.
    pub ties: usize,
    /// Size of the file.
    pub bytes: u64,
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The network and its weights make no graph.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The weights are not this network's.
    #[error("these are not the weights of this network: {0}")]
    Weights(String),
    /// libtorch could not run it.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// ONNX Runtime could not run it.
    #[error(transparent)]
    Infer(#[from] infer::Error),
    /// The file cannot be written.
    #[error("cannot write {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file does not compute what libtorch does.
    #[error(
        "the exported file does not agree with libtorch, and was not kept: largest relative difference {relative:.2e} \
         (allowed {tolerance:.0e}), top-1 agreement {agreeing} of {images}",
        relative = .found.max_relative_difference, agreeing = .found.agreeing, images = .found.images
    )]
    Disagrees {
        /// What was found.
        found: Verification,
        /// What is allowed.
        tolerance: f64,
    },
}

impl From<TorchError> for ExportError {
    fn from(error: TorchError) -> Self {
        Self::Train(error.into())
    }
}

/// A network with its weights, ready to export.
pub struct Trained<'a, M> {
    /// The network.
    pub network: &'a M,
    /// Its weights.
    pub weights: &'a Weights,
    /// Everything else about it.
    pub card: &'a ModelCard,
}

impl<M: Module> Trained<'_, M> {
    /// Writes the model to `path` once ONNX Runtime and libtorch agree on `batches` of images `[N, 3, H, W]`.
    ///
    /// On any failure `path` is as it was.
    pub fn export(
        &self,
        path: &Path,
        batches: &[Tensor],
        options: &ExportOptions,
    ) -> Result<Verification, ExportError> {
        let side = self.card.preprocessing.crop as usize;
        let interface = Interface::new([3, side, side]).output("logits");
        let params = self.params(side)?;
        let mut graph = onnx::trace(self.network, self.weights, &interface, options.opset)?;
        if options.fold {
            passes::fold_batch_norm(&mut graph);
        }
        let (card, names, class_names) = (self.card.to_json(), self.card.names(), self.card.class_names());
        let metadata = [(CARD_KEY, &card[..]), ("names", &names), ("class_names", &class_names)];
        let bytes = onnx::encode(graph, &metadata);

        let io = |source| ExportError::Io { path: path.into(), source };
        let cpu = Options { device: infer::Device::Cpu, ..Options::default() };
        let mut session = Session::from_bytes(&bytes, &cpu)?;
        let mut found = Verification { bytes: bytes.len() as u64, ..Verification::default() };
        for images in batches {
            let ours = run(&mut session, images)?;
            found.compare(&ours, &logits(self.network, &params, images)?, options.tolerance);
        }
        if !found.holds(options.tolerance) {
            return Err(ExportError::Disagrees { found, tolerance: options.tolerance });
        }
        infer::files::write_atomically(path, |out| out.write_all(&bytes)).map_err(io)?;
        Ok(found)
    }

    /// The weights on libtorch, after checking that they are exactly this network's.
    fn params(&self, side: usize) -> Result<Params, ExportError> {
        let described = shapes::describe(self.network, &[1, 3, side, side]).map_err(TraceError::from)?;
        let classes = described.output.last().copied().unwrap_or(0);
        if classes != self.card.labels.len() {
            return Err(ExportError::Weights(format!(
                "{} labels for {classes} classes",
                self.card.labels.len()
            )));
        }
        let known = |name: &String| described.params.iter().any(|param| param.name == *name);
        if let Some(name) = self.weights.keys().find(|name| !known(name)) {
            return Err(ExportError::Weights(format!("it has no {name}")));
        }
        let params = Params::initialise(&described.params, 0, Device::Cpu)?;
        for param in &described.params {
            match self.weights.get(&param.name) {
                Some(values) if values.shape() == param.shape => params.assign(&param.name, values)?,
                Some(values) => {
                    let (name, found) = (&param.name, values.shape());
                    return Err(ExportError::Weights(format!("{name} is {found:?}, not {:?}", param.shape)));
                }
                None => return Err(ExportError::Weights(format!("{} is missing", param.name))),
            }
        }
        Ok(params)
    }
}

fn run(session: &mut Session, images: &Tensor) -> Result<Array2<f32>, ExportError> {
    let logits = session.run(crate::params::to_array(images)?.view())?;
    logits
        .into_dimensionality::<Ix2>()
        .map_err(|error| ExportError::Weights(format!("its output is not [batch, classes]: {error}")))
}

impl Verification {
    fn compare(&mut self, ours: &Array2<f32>, reference: &Array2<f32>, tolerance: f64) {
        let scale = reference.iter().fold(0.0, |max: f64, &value| max.max(f64::from(value).abs()));
        for (ours, reference) in ours.rows().into_iter().zip(reference.rows()) {
            for (&a, &b) in ours.iter().zip(reference) {
                let difference = (f64::from(a) - f64::from(b)).abs();
                // NaN compares as smaller than everything and must not pass.
                let difference = if difference.is_nan() { f64::INFINITY } else { difference };
                self.max_difference = self.max_difference.max(difference);
                let relative = difference / scale.max(f64::MIN_POSITIVE);
                self.max_relative_difference = self.max_relative_difference.max(relative);
            }
            let (best, margin) = best_and_margin(reference.iter().copied());
            self.images += 1;
            if best_and_margin(ours.iter().copied()).0 == best {
                self.agreeing += 1;
            } else if margin <= tolerance * scale {
                self.ties += 1;
            }
        }
    }

    fn holds(&self, tolerance: f64) -> bool {
        self.images > 0
            && self.max_relative_difference <= tolerance
            && self.agreeing + self.ties == self.images
    }
}

/// Index of the largest value, and its distance to the second.
fn best_and_margin(values: impl Iterator<Item = f32>) -> (usize, f64) {
    let mut sorted: Vec<(usize, f32)> = values.enumerate().collect();
    sorted.sort_by(|a, b| b.1.total_cmp(&a.1));
    let margin = sorted.get(1).map_or(f64::INFINITY, |second| f64::from(sorted[0].1 - second.1));
    (sorted.first().map_or(0, |best| best.0), margin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn verified(ours: &Array2<f32>, reference: &Array2<f32>) -> Verification {
        let mut found = Verification::default();
        found.compare(ours, reference, 1e-4);
        found
    }

    #[test]
    fn small_differences_hold_and_large_ones_do_not() {
        let reference = array![[10.0, 0.0], [1.0, 2.0]];
        assert!(verified(&array![[10.0005, 0.0], [1.0, 2.0]], &reference).holds(1e-4));
        let off = verified(&array![[10.0, 0.0], [1.002, 2.0]], &reference);
        assert!(!off.holds(1e-4));
        assert!((off.max_relative_difference - 2e-4).abs() < 1e-6);
    }

    #[test]
    fn another_class_fails_unless_it_is_a_tie() {
        let reference = array![[10.0, 0.0], [2.0, 2.0001]];
        let tie = verified(&array![[10.0, 0.0], [2.0001, 2.0]], &reference);
        assert_eq!((tie.agreeing, tie.ties), (1, 1));
        assert!(tie.holds(1e-4));
        let wrong = Verification { ties: 0, ..tie };
        assert!(!wrong.holds(1e-4));
    }

    #[test]
    fn nothing_and_not_a_number_prove_nothing() {
        let none = Array2::zeros((0, 2));
        assert!(!verified(&none, &none).holds(1e-4));
        assert!(!verified(&array![[f32::NAN, 0.0]], &array![[1.0, 0.0]]).holds(1e-4));
    }
}
