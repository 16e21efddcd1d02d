//! Configuration of a run: everything needed to repeat it.

use std::path::{Path, PathBuf};

use ferronnx_models::card::Preprocessing;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::RunError;
use crate::data::folder::{self, ImageFolder};
use crate::data::images::Loading;
use crate::device::DeviceRequest;
use crate::error::SettingError;
use crate::pretrained::StemInit;
use crate::recipe::{BestBy, Recipe};
use crate::task::Task;
use crate::trainer::{Amp, Options};

/// Content of `config.toml`: everything needed to repeat a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunConfig {
    /// Version of the program.
    pub version: String,
    /// Folder, list or shards of the images, an absolute path; or a URL.
    pub data: PathBuf,
    /// Digest of the images' names and classes: a run is resumed with the same ones only.
    pub data_digest: String,
    /// Task: `multi-label` for any number of labels an image; absent for exactly one.
    #[serde(default, skip_serializing_if = "Task::is_single_label")]
    pub task: Task,
    /// Largest number of training images and of test images to use; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Seed of every random choice.
    pub seed: u64,
    /// Device to train on.
    pub device: DeviceRequest,
    /// Float type of mixed precision; `None` for full precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amp: Option<Amp>,
    /// True if steps are recorded as CUDA graphs, where the device is a GPU.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub graphs: bool,
    /// True if a GPU computes the same bits every time, which takes longer: with deterministic algorithms, and without
    /// cuDNN's search for the fastest ones. The CPU does so anyway.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deterministic: bool,
    /// Number of processes that train together, each on batches of the recipe's size.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub ranks: usize,
    /// True if batch norm takes mean and variance of the images of all ranks in every step.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sync_bn: bool,
    /// True if images that cannot be decoded are left out instead of being an error.
    #[serde(default)]
    pub skip_bad: bool,
    /// Number of images among which those of shards are shuffled, where they do not fit into memory.
    #[serde(default = "window", skip_serializing_if = "is_window")]
    pub shuffle_window: usize,
    /// Pretrained weights to start from: a checkpoint file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pretrained: Option<PathBuf>,
    /// Key of the pretrained weights, where the file holds several networks; `None` for the best one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pretrained_key: Option<String>,
    /// Initialisation of a stem whose pretrained kernel is larger.
    #[serde(default)]
    pub stem_init: StemInit,
    /// Names of the classes, in the order of the logits.
    pub labels: Vec<String>,
    /// Preprocessing from an image to the input tensor.
    pub preprocessing: Preprocessing,
    /// Description of the network, as in the model card. For people: only programs that build networks from it read it.
    #[serde(default, skip_serializing_if = "Value::is_null", serialize_with = "without_nulls")]
    pub architecture: Value,
    /// Training recipe.
    pub recipe: Recipe,
}

impl RunConfig {
    /// Configures a run on the CPU with seed 42, for square images of `size` pixels; change its fields for other choices.
    pub fn new(data: &ImageFolder, recipe: Recipe, size: u32) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            data: data.root.clone(),
            data_digest: data.digest(),
            task: data.task,
            limit: None,
            seed: 42,
            device: DeviceRequest::Cpu,
            amp: None,
            graphs: true,
            deterministic: false,
            ranks: 1,
            sync_bn: false,
            skip_bad: false,
            shuffle_window: Loading::DEFAULT_WINDOW,
            pretrained: None,
            pretrained_key: None,
            stem_init: StemInit::default(),
            labels: data.classes.clone(),
            preprocessing: Preprocessing::for_size(size),
            architecture: Value::Null,
            recipe,
        }
    }

    /// Checks that the recipe and the preprocessing are in range, and that the recipe fits the classes and the task.
    ///
    /// # Errors
    /// [`RunError::Preprocessing`] or [`RunError::Recipe`].
    pub fn check(&self) -> Result<(), RunError> {
        self.preprocessing.check()?;
        self.recipe.check().map_err(|source| self.recipe_error(source))?;
        self.best_by().map_err(|source| self.recipe_error(source.into()))?;
        let Some(weights) = &self.recipe.loss.class_weights else { return Ok(()) };
        weights.check(&self.labels).map_err(|source| self.recipe_error(source.into()))
    }

    /// Options of a trainer.
    pub(super) fn trainer_options(&self) -> Options<'_> {
        Options { seed: self.seed, amp: self.amp, labels: &self.labels, graphs: self.graphs }
    }

    /// Metric that chooses the best epoch.
    pub(crate) fn best_by(&self) -> Result<BestBy, SettingError> {
        BestBy::of(self.recipe.best, self.task)
    }

    pub(crate) fn recipe_error(&self, source: crate::recipe::RecipeFault) -> RunError {
        RunError::Recipe { recipe: self.recipe.name.clone(), source: source.into() }
    }

    /// Name of the data set: the last part of its path.
    pub fn dataset(&self) -> String {
        folder::name(&self.data)
    }

    /// Shortens the path of an image to the part below the data set's folder, or below that of its list.
    pub fn short<'p>(&self, image: &'p Path) -> &'p Path {
        let below = |folder: &Path| image.strip_prefix(folder).ok();
        below(&self.data).or_else(|| below(self.data.parent()?)).unwrap_or(image)
    }
}

fn window() -> usize {
    Loading::DEFAULT_WINDOW
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_window(images: &usize) -> bool {
    *images == Loading::DEFAULT_WINDOW
}

fn one() -> usize {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_one(ranks: &usize) -> bool {
    *ranks == 1
}

fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_true(value: &bool) -> bool {
    *value
}

/// Describes an architecture on one line: `resnet18, classes 10, attention (kernel 7, ratio 16)`.
pub fn in_words(architecture: &Value) -> String {
    let Value::Object(fields) = architecture else { return plain(architecture) };
    let name = fields.get("network").map(plain);
    let others = fields.iter().filter(|(key, value)| *key != "network" && !value.is_null());
    let others = others.map(|(key, value)| match value {
        Value::Object(_) => format!("{key} ({})", in_words(value)),
        _ => format!("{key} {}", plain(value)),
    });
    name.into_iter().chain(others).collect::<Vec<_>>().join(", ")
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "network".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Leaves out null fields, which TOML cannot hold; they read as null again.
fn without_nulls<S: Serializer>(value: &Value, serializer: S) -> Result<S::Ok, S::Error> {
    pruned(value).serialize(serializer)
}

fn pruned(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key.clone(), pruned(value))).collect())
        }
        Value::Array(items) => {
            Value::Array(items.iter().filter(|item| !item.is_null()).map(pruned).collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use ferronnx_models::networks::{Architecture, Stem};
    use serde_json::json;

    use super::*;

    fn config(architecture: Value) -> RunConfig {
        let data = ImageFolder {
            root: "photos".into(),
            classes: vec!["a".into(), "b".into()],
            ..ImageFolder::default()
        };
        let recipe = Recipe::load("from-scratch").unwrap();
        RunConfig { architecture, ..RunConfig::new(&data, recipe, 32) }
    }

    #[test]
    fn any_architecture_survives_a_round_trip_and_reads_as_the_typed_one_did() {
        for (channels, attention) in [(3, None), (1, None), (3, Architecture::default().attention)] {
            let stem = Stem::Imagenet;
            let typed = Architecture { classes: 2, channels, stem, attention, ..Architecture::default() };
            let config = config(serde_json::to_value(typed).unwrap());
            let text = toml::to_string(&config).unwrap();
            let read: RunConfig = toml::from_str(&text).unwrap();
            assert_eq!(serde_json::from_value::<Architecture>(read.architecture).unwrap(), typed);
            // As programs before this form wrote it.
            let table = toml::to_string(&typed).unwrap();
            assert_eq!(toml::from_str::<Value>(&table).unwrap(), pruned(&config.architecture));
        }
        let null = config(Value::Null);
        assert_eq!(toml::from_str::<RunConfig>(&toml::to_string(&null).unwrap()).unwrap(), null);
    }

    #[test]
    fn an_architecture_is_described_on_one_line() {
        let value = json!({"network": "resnet18", "classes": 3, "attention": {"ratio": 16, "kernel": 7}});
        assert_eq!(in_words(&value), "resnet18, attention (kernel 7, ratio 16), classes 3");
        assert_eq!(in_words(&json!({"network": "resnet18", "attention": null})), "resnet18");
        assert_eq!(in_words(&json!("a small CNN")), "a small CNN");
        assert_eq!(in_words(&Value::Null), "network");
    }
}
