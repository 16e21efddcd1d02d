//! Errors of recipes.

use std::io;
use std::path::PathBuf;

use super::{BUILT_IN, PatternError};
use crate::error::SettingError;
use crate::loss::WeightsError;

/// Errors of loading a recipe.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The name is not built in, and there is no file of this name.
    #[error("cannot read the recipe {path} (built in: {names})", names = built_in_names())]
    Read {
        /// The name or file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file is not TOML, or has other fields than a recipe.
    #[error("{origin} is not a recipe")]
    Parse {
        /// The name or file.
        origin: String,
        /// The place and the reason.
        source: Box<toml::de::Error>,
    },
    /// A setting is out of range.
    #[error("{origin} is not a recipe")]
    Invalid {
        /// The name or file.
        origin: String,
        /// The setting.
        source: Box<RecipeFault>,
    },
}

fn built_in_names() -> String {
    BUILT_IN.map(|(name, _)| name).join(", ")
}

/// Faults of a recipe, in itself or for a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecipeFault {
    /// A setting is out of range.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The class weights do not fit the classes.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The recipe has no phase.
    #[error("there is no [[phase]]")]
    NoPhase,
    /// Two phases have the same name.
    #[error("two phases have one name: {0:?}")]
    SamePhase(String),
    /// A phase cannot be trained.
    #[error("phase {phase:?}")]
    Phase {
        /// Name of the phase.
        phase: String,
        /// The reason.
        source: PhaseFault,
    },
}

/// Faults of a phase.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PhaseFault {
    /// The phase has no epochs.
    #[error("it has no epochs")]
    NoEpochs,
    /// A setting is out of range.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// Two groups of learning rates have the same name.
    #[error("two groups have one name: {0}")]
    SameGroup(String),
    /// A pattern cannot be used.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// No parameter learns.
    #[error("it trains nothing: no parameter matches {0:?}")]
    TrainsNothing(Vec<String>),
}
