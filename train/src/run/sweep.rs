//! Learning-rate finder of a new run: a range test on its first phase.

use ferronnx_infer::preprocess::Preprocessor;
use ferronnx_models::Module;

use super::epoch::Session;
use super::images::Sets;
use super::observer::{Observer, Step};
use super::together::Together;
use super::{Run, RunError, Splits};
use crate::lr_finder::LossCurve;
use crate::trainer::{Sweep, Trainer};

impl<M: Module> Run<M> {
    /// Measures the training loss at rising learning rates; `None` when `observer` breaks off.
    ///
    /// It trains the first phase of a new run with its images, augmentation and optimizer, and writes nothing. Its steps
    /// are the run's own; only their learning rates are those of `sweep`.
    ///
    /// # Errors
    /// [`RunError`] when images cannot be read, the recipe does not fit the network, or libtorch fails.
    pub fn find_learning_rate(
        self,
        sweep: Sweep,
        observer: &mut impl Observer,
    ) -> Result<Option<LossCurve>, RunError> {
        let Self { config, network, params, start, images, folder, .. } = self;
        let mut splits = match images {
            Some((splits, _)) => splits,
            None => Splits::find(&config, &folder)?,
        };
        // Nobody looks at the test images.
        splits.test = None;
        let preprocessor = Preprocessor::new(&config.preprocessing);
        let Some(sets) = Sets::read(splits, &config, &preprocessor, params.device(), observer)? else {
            return Ok(None);
        };
        observer.ready(&sets.counts())?;
        let session = Session {
            config: &config,
            folder: &folder,
            network: &network,
            params: &params,
            sets: &sets,
            preprocessor: &preprocessor,
            together: Together(None),
        };
        let loaders = [session.loader(&sets.train), session.loader(&sets.validation)];
        let options = config.trainer_options();
        let mut trainer = Trainer::new(&network, &params, &config.recipe, loaders, &start.new, options)?;
        if let Some((phase, Some(plan))) = trainer.enter()? {
            observer.phase(phase, &plan.record(&phase.name))?;
        }
        let mut curve = LossCurve::new(sweep);
        let mut interrupted = false;
        let images = sets.train.len();
        trainer.sweep(sweep, |progress, loss| {
            let go_on = curve.push(loss);
            interrupted = observer.step(&Step { epoch: 1, epochs: 1, images, progress }).is_break();
            go_on && !interrupted
        })?;
        curve.ended();
        Ok((!interrupted).then_some(curve))
    }
}
