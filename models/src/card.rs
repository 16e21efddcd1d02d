//! Model card: labels, preprocessing and origin of an exported model, stored inside the file.
//!
//! It is JSON in the ONNX metadata under [`CARD_KEY`]. Training writes it and inference reads it, so that labels and
//! preprocessing have one definition.
//!
//! Format 2 adds what format 1 has one answer for: how an image is [fitted](Fit) to the input, other
//! [filters](ResizeFilter) and [channel orders](ColorOrder), inputs that are not square ([`Size`]), the
//! [layout](Layout) of the input, the [activation](Activation) and [threshold](Threshold) of the scores, and the
//! [roles](OutputRole) of outputs. A card that needs none of them is written as format 1.

mod outputs;
mod preprocessing;
mod temperature;

use std::fmt;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

pub use outputs::{Activation, OutputRole, ParseActivationError, Threshold};
pub use preprocessing::{
    Border, CentreRounding, ColorOrder, Fit, IMAGENET_MIN_SIZE, Layout, ParseSizeError, Preprocessing,
    PreprocessingError, ResizeFilter, Size,
};
pub use temperature::{CalibrationErrors, TemperatureScaling};

/// Metadata key of the card.
pub const CARD_KEY: &str = "ferronnx.card";

/// Newest version of the card's layout; a reader refuses a newer one.
pub const CARD_FORMAT: u32 = 2;

/// Description of a model: everything that its graph does not contain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// Version of the layout: the lowest that has all that the card says, see [`with_format`](Self::with_format).
    pub format: u32,
    /// Names of the classes, in the order of the logits.
    pub labels: Vec<String>,
    /// Steps from a decoded image to the input tensor.
    pub preprocessing: Preprocessing,
    /// Form of the input.
    #[serde(default)]
    pub input: InputForm,
    /// Precision of the computation.
    #[serde(default)]
    pub precision: Precision,
    /// Step from the scores of the network to probabilities.
    #[serde(default, skip_serializing_if = "is_default")]
    pub activation: Activation,
    /// Probability from which a class is selected, of a model whose classes do not exclude each other; 0.5 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<Threshold>,
    /// Roles of outputs by name. Without them the first output has the scores, and [`observed`](Self::observed) names
    /// the masks.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub outputs: IndexMap<String, OutputRole>,
    /// Names of additional outputs: intermediate values that the network [marks as observable](crate::Ops::observe).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observed: Vec<String>,
    /// Configuration of the network, as its own type serialises it. Running the file does not need it.
    pub architecture: serde_json::Value,
    /// Summary of the training run; absent for a bare checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainingSummary>,
    /// Temperature that is part of the file's logits; absent where they are the network's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature_scaling: Option<TemperatureScaling>,
    /// Origin of the file.
    pub provenance: Provenance,
}

/// Element type and layout of a model's input: normalised floats or raw bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputForm {
    /// Normalised images as floats, `[N, C, H, W]` unless the card names another [layout](Layout).
    #[default]
    Float,
    /// Images as bytes, `[N, H, W, C]` unless the card names another [layout](Layout); the file normalises them itself.
    Uint8,
}

impl InputForm {
    /// Layout of such an input unless the card names another.
    pub fn usual_layout(self) -> Layout {
        match self {
            Self::Float => Layout::Nchw,
            Self::Uint8 => Layout::Nhwc,
        }
    }
}

/// Precision of a network's computation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    Fp32,
    /// 16-bit floats, except for numerically sensitive operators.
    Fp16,
    /// 8-bit integers, except for numerically sensitive operators.
    Int8,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Int8 => "int8",
        })
    }
}

/// Summary of the training run that gave the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingSummary {
    /// Name of the recipe.
    pub recipe: String,
    /// Name of the data set, never its path.
    pub dataset: String,
    /// Number of training images, without validation.
    pub train_images: usize,
    /// Number of epochs completed when the weights were saved.
    pub epoch: usize,
    /// Accuracy on the validation split, in [0, 1].
    pub validation_accuracy: f64,
    /// Accuracy on the test set, in [0, 1], if there is one.
    pub test_accuracy: Option<f64>,
    /// Mean average precision on the validation split (mAP), of a multi-label model; its accuracies are shares of right
    /// decisions among all images and classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_map: Option<f64>,
    /// Mean average precision on the test set, of a multi-label model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_map: Option<f64>,
    /// Seed of the run.
    pub seed: u64,
}

/// Origin of a model file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Program and version that wrote the file.
    pub producer: String,
    /// Training engine and version.
    pub engine: String,
    /// Time of the export, as RFC 3339 in UTC.
    pub created: String,
}

/// Reason why a card cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CardError {
    /// The text is not the JSON of a card.
    #[error("the model card is not readable")]
    Json(#[from] serde_json::Error),
    /// A newer version wrote the card.
    #[error("the model card has format {found}, this version reads up to {CARD_FORMAT}: update ferronnx")]
    Format {
        /// Layout version of the card.
        found: u32,
    },
    /// The card has fewer than two labels.
    #[error("the model card is inconsistent: {0} labels")]
    Labels(usize),
    /// The preprocessing cannot be carried out.
    #[error("the model card is inconsistent")]
    Preprocessing(#[from] PreprocessingError),
    /// The threshold is not one for each class, or not a probability.
    #[error("the model card is inconsistent: a threshold of {0} for {1} labels")]
    Threshold(Threshold, usize),
}

/// Tells whether `value` is what a card without the field says.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl ModelCard {
    /// Makes a card of the first format: 32-bit floats in and logits out.
    pub fn new(labels: Vec<String>, preprocessing: Preprocessing, provenance: Provenance) -> Self {
        Self {
            format: 1,
            labels,
            preprocessing,
            input: InputForm::default(),
            precision: Precision::default(),
            activation: Activation::default(),
            threshold: None,
            outputs: IndexMap::new(),
            observed: Vec::new(),
            architecture: serde_json::Value::Null,
            training: None,
            temperature_scaling: None,
            provenance,
        }
    }

    /// Parses and checks a card.
    ///
    /// # Errors
    /// [`CardError`] when the text is not a card, of a newer format, or inconsistent.
    pub fn from_json(text: &str) -> Result<Self, CardError> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let found = serde_json::from_str::<Version>(text)?.format;
        if found > CARD_FORMAT {
            return Err(CardError::Format { found });
        }
        let card: Self = serde_json::from_str(text)?;
        card.check()?;
        Ok(card)
    }

    /// Text of the card, as it is stored.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a card has no map with keys other than strings")
    }

    /// Sets [`format`](Self::format) to the lowest version that has all that the card says.
    #[must_use]
    pub fn with_format(mut self) -> Self {
        let is_new = self.preprocessing.needs_format_2()
            || self.activation != Activation::default()
            || self.threshold.is_some()
            || !self.outputs.is_empty();
        self.format = if is_new { 2 } else { 1 };
        self
    }

    /// Checks that the card is consistent.
    ///
    /// # Errors
    /// [`CardError::Labels`], [`CardError::Threshold`] or [`CardError::Preprocessing`].
    pub fn check(&self) -> Result<(), CardError> {
        let classes = self.labels.len();
        if classes < 2 {
            return Err(CardError::Labels(classes));
        }
        if let Some(threshold) = self.threshold.as_ref().filter(|threshold| !threshold.suits(classes)) {
            return Err(CardError::Threshold(threshold.clone(), classes));
        }
        Ok(self.preprocessing.check()?)
    }

    /// Layout of the input: the one that the card names, else the usual one of the input's form.
    pub fn layout(&self) -> Layout {
        self.preprocessing.layout.unwrap_or(self.input.usual_layout())
    }

    /// Tells whether classes do not exclude each other, so that any number of them is right for an image.
    pub fn is_multi_label(&self) -> bool {
        self.activation == Activation::Sigmoid || self.threshold.is_some()
    }

    /// Name of the output with the scores, if the card names one.
    pub fn scores(&self) -> Option<&str> {
        self.output(OutputRole::Scores)
    }

    /// Name of the first output with this role, if the card names one.
    pub fn output(&self, role: OutputRole) -> Option<&str> {
        let mut roles = self.outputs.iter();
        roles.find(|(_, found)| **found == role).map(|(name, _)| name.as_str())
    }

    /// Labels as Ultralytics' tools read them from `names`: the text of a Python dict, `{0: 'cat', 1: 'dog'}`.
    pub fn names(&self) -> String {
        let quote = |label: &str| label.replace('\\', "\\\\").replace('\'', "\\'").replace('\n', "\\n");
        let entries: Vec<_> =
            self.labels.iter().enumerate().map(|(i, label)| format!("{i}: '{}'", quote(label))).collect();
        format!("{{{}}}", entries.join(", "))
    }

    /// Labels as other tools read them from `class_names`: a JSON array.
    pub fn class_names(&self) -> String {
        serde_json::to_string(&self.labels).expect("strings always serialise")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> ModelCard {
        let provenance = Provenance {
            producer: "ferronnx 0.1.0".into(),
            engine: "libtorch".into(),
            created: "2026-01-01T00:00:00Z".into(),
        };
        let labels = vec!["cat".into(), "dog's".into()];
        ModelCard {
            input: InputForm::Uint8,
            precision: Precision::Int8,
            observed: vec!["mask".into()],
            architecture: serde_json::json!({ "classes": 2 }),
            ..ModelCard::new(labels, Preprocessing::for_size(32), provenance)
        }
    }

    #[test]
    fn survives_a_round_trip() {
        assert_eq!(ModelCard::from_json(&card().to_json()).unwrap(), card());
    }

    #[test]
    fn names_for_other_tools() {
        assert_eq!(card().names(), r"{0: 'cat', 1: 'dog\'s'}");
        assert_eq!(card().class_names(), r#"["cat","dog's"]"#);
    }

    #[test]
    fn a_card_without_a_form_has_the_first_one() {
        let mut old = serde_json::to_value(card()).unwrap();
        for field in ["input", "precision", "observed"] {
            old.as_object_mut().unwrap().remove(field).unwrap();
        }
        let read = ModelCard::from_json(&old.to_string()).unwrap();
        assert_eq!((read.input, read.precision), (InputForm::Float, Precision::Fp32));
        assert!(read.observed.is_empty());
    }

    #[test]
    fn refuses_what_it_cannot_trust() {
        let newer = card().to_json().replace("\"format\":1", "\"format\":3");
        assert!(matches!(ModelCard::from_json(&newer), Err(CardError::Format { found: 3 })));
        let mut wrong = card();
        wrong.labels.pop();
        assert!(ModelCard::from_json(&wrong.to_json()).unwrap_err().to_string().contains("1 labels"));
        let mut wrong = card();
        wrong.preprocessing.std[1] = 0.0;
        assert!(matches!(
            ModelCard::from_json(&wrong.to_json()),
            Err(CardError::Preprocessing(PreprocessingError::Std(_)))
        ));
        assert!(matches!(ModelCard::from_json("{"), Err(CardError::Json(_))));
    }

    #[test]
    fn what_format_1_cannot_say_is_format_2() {
        assert_eq!(card().with_format().format, 1);
        let changes: [fn(&mut ModelCard); 11] = [
            |card| card.preprocessing.fit = Fit::Squash,
            |card| card.preprocessing.color = ColorOrder::Bgr,
            |card| card.preprocessing.filter = ResizeFilter::Nearest,
            |card| card.preprocessing.layout = Some(Layout::Nhwc),
            |card| card.preprocessing.crop = Size { height: 2, width: 3 },
            |card| card.preprocessing.centre = CentreRounding::Down,
            |card| (card.preprocessing.fit, card.preprocessing.border) = (Fit::Letterbox, Border([0; 3])),
            |card| card.activation = Activation::Sigmoid,
            |card| card.threshold = Some(Threshold::All(0.5)),
            |card| card.threshold = Some(Threshold::Each(vec![0.5, 0.25])),
            |card| card.outputs = IndexMap::from([("y".into(), OutputRole::Scores)]),
        ];
        for change in changes {
            let mut changed = card();
            change(&mut changed);
            let changed = changed.with_format();
            assert_eq!(changed.format, 2, "{changed:?}");
            assert_eq!(ModelCard::from_json(&changed.to_json()).unwrap(), changed);
        }
    }

    #[test]
    fn a_threshold_is_a_probability_for_each_class() {
        for wrong in [Threshold::All(1.5), Threshold::All(f32::NAN), Threshold::Each(vec![0.5])] {
            let wrong = ModelCard { threshold: Some(wrong), ..card() };
            assert!(matches!(wrong.check(), Err(CardError::Threshold(..))), "{wrong:?}");
        }
    }
}
