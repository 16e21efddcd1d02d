//! Model card: labels, preprocessing and origin of an exported model, stored inside the file.
//!
//! It is JSON in the ONNX metadata under [`CARD_KEY`]. Training writes it and inference reads it, so that labels and
//! preprocessing have one definition.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Metadata key of the card.
pub const CARD_KEY: &str = "ferronnx.card";

/// Version of the card's layout; a reader refuses a newer one.
pub const CARD_FORMAT: u32 = 1;

/// Description of a model: everything that its graph does not contain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// Version of the layout, [`CARD_FORMAT`].
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
    /// Names of additional outputs: intermediate values that the network [marks as observable](crate::Ops::observe).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observed: Vec<String>,
    /// Configuration of the network, as its own type serialises it. Running the file does not need it.
    pub architecture: serde_json::Value,
    /// Summary of the training run; absent for a bare checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainingSummary>,
    /// Origin of the file.
    pub provenance: Provenance,
}

/// Element type and layout of a model's input: normalised floats or raw bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputForm {
    /// Normalised images, `[N, 3, H, W]` of 32-bit floats.
    #[default]
    Float,
    /// Images as bytes, `[N, H, W, 3]`; the file normalises them itself.
    Uint8,
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

/// Preprocessing of an image to the input tensor `[N, 3, size, size]`; the steps are in the order of the fields.
///
/// RGB8 is resized to a shorter side of `resize` (antialiased triangle filter, aspect ratio kept). The centre `crop` x
/// `crop` is cut out. Values are divided by 255 and become `(x - mean) / std` per channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// Channel order of the input tensor.
    pub color: ColorOrder,
    /// Length of the shorter side after resizing, in pixels.
    pub resize: u32,
    /// Resampling filter.
    pub filter: ResizeFilter,
    /// Side of the centre crop, in pixels: height and width of the input tensor.
    pub crop: u32,
    /// Mean per channel, for values in [0, 1].
    pub mean: [f32; 3],
    /// Standard deviation per channel, for values in [0, 1].
    pub std: [f32; 3],
}

/// Channel order of the input tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColorOrder {
    /// Red, green, blue.
    Rgb,
}

/// Resampling filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResizeFilter {
    /// Triangle (bilinear) filter whose support grows with the reduction, as Pillow's `BILINEAR`.
    BilinearAntialias,
}

/// Smallest image size for which the ImageNet conventions apply: its stem, its statistics and the 256/224 margin of the
/// crop.
pub const IMAGENET_MIN_SIZE: u32 = 64;

impl Preprocessing {
    /// Usual preprocessing for this image size: CIFAR-10's statistics and no margin for small images, ImageNet's statistics
    /// and its 256/224 margin from [`IMAGENET_MIN_SIZE`] on.
    pub fn for_size(size: u32) -> Self {
        let (resize, mean, std) = if size < IMAGENET_MIN_SIZE {
            (size, [0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010])
        } else {
            ((size * 256).div_ceil(224), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        };
        let (color, filter) = (ColorOrder::Rgb, ResizeFilter::BilinearAntialias);
        Self { color, resize, filter, crop: size, mean, std }
    }

    /// Checks that the steps can be carried out.
    ///
    /// # Errors
    /// [`PreprocessingError`] for an impossible crop, or statistics that are not finite or not positive.
    pub fn check(&self) -> Result<(), PreprocessingError> {
        let Self { resize, crop, mean, std, .. } = *self;
        if crop == 0 || resize < crop {
            return Err(PreprocessingError::Crop { crop, resize });
        }
        if !mean.iter().all(|mean| mean.is_finite()) {
            return Err(PreprocessingError::Mean(mean));
        }
        if !std.iter().all(|std| std.is_finite() && *std > 0.0) {
            return Err(PreprocessingError::Std(std));
        }
        Ok(())
    }
}

/// Reason why preprocessing cannot be carried out.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PreprocessingError {
    /// The crop is empty or larger than the resized image.
    #[error("a crop of {crop} from a shorter side of {resize}")]
    Crop {
        /// Side of the crop, in pixels.
        crop: u32,
        /// Length of the shorter side, in pixels.
        resize: u32,
    },
    /// A mean is infinite or NaN.
    #[error("a mean of {0:?}")]
    Mean([f32; 3]),
    /// A standard deviation is not positive, or infinite or NaN.
    #[error("a standard deviation of {0:?}")]
    Std([f32; 3]),
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
}

impl ModelCard {
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

    /// Checks that the card is consistent.
    ///
    /// # Errors
    /// [`CardError::Labels`] or [`CardError::Preprocessing`].
    pub fn check(&self) -> Result<(), CardError> {
        if self.labels.len() < 2 {
            return Err(CardError::Labels(self.labels.len()));
        }
        Ok(self.preprocessing.check()?)
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

/// Parses the labels in `names` or `class_names` of another tool: a JSON array, or the text of a Python dict or list.
pub fn labels_in(text: &str) -> Option<Vec<String>> {
    if let Ok(labels) = serde_json::from_str(text) {
        return Some(labels);
    }
    let body = text.trim().strip_prefix(['{', '['])?.strip_suffix(['}', ']'])?;
    let (mut labels, mut rest) = (Vec::new(), body.chars());
    while let Some(quote) = rest.find(|sign| matches!(sign, '\'' | '"')) {
        let mut label = String::new();
        loop {
            match rest.next()? {
                end if end == quote => break,
                '\\' => label.push(match rest.next()? {
                    'n' => '\n',
                    't' => '\t',
                    sign => sign,
                }),
                sign => label.push(sign),
            }
        }
        labels.push(label);
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> ModelCard {
        ModelCard {
            format: CARD_FORMAT,
            labels: vec!["cat".into(), "dog's".into()],
            preprocessing: Preprocessing::for_size(32),
            input: InputForm::Uint8,
            precision: Precision::Int8,
            observed: vec!["mask".into()],
            architecture: serde_json::json!({ "classes": 2 }),
            training: None,
            provenance: Provenance {
                producer: "ferronnx 0.1.0".into(),
                engine: "libtorch".into(),
                created: "2026-01-01T00:00:00Z".into(),
            },
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
    fn labels_of_other_tools() {
        let labels = card().labels;
        for text in [card().names(), card().class_names(), "{0: 'cat', 1: \"dog's\"}".into()] {
            assert_eq!(labels_in(&text).as_ref(), Some(&labels), "{text}");
        }
        assert_eq!(labels_in("{0: 'a\\\\b\\n'}").unwrap(), ["a\\b\n"]);
        for text in ["", "cat", "{0: 'cat", "{0: 'cat\\"] {
            assert_eq!(labels_in(text), None, "{text}");
        }
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
        let newer = card().to_json().replace("\"format\":1", "\"format\":2");
        assert!(matches!(ModelCard::from_json(&newer), Err(CardError::Format { found: 2 })));
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
    fn large_images_get_imagenets_margin() {
        let photo = Preprocessing::for_size(224);
        assert_eq!((photo.resize, photo.crop), (256, 224));
        let small = Preprocessing::for_size(32);
        assert_eq!((small.resize, small.crop), (32, 32));
    }
}
