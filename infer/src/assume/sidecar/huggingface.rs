//! `preprocessor_config.json` and `config.json` of Hugging Face's transformers (read in 5.24.0).

use ferronnx_models::card::{Activation, CentreRounding, ColorOrder, Fit, Size};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::timm::filter;
use super::{SidecarError, json};
use crate::assume::literal::Literal;
use crate::assume::{Facts, Range, Stated, Unusable, names};

const TOOL: &str = "Hugging Face";
const PROCESSOR: &str = "preprocessor_config.json beside the file (Hugging Face)";
const CONFIG: &str = "config.json beside the file (Hugging Face)";

#[derive(Deserialize)]
struct Processor {
    image_processor_type: Option<String>,
    feature_extractor_type: Option<String>,
    do_resize: Option<bool>,
    size: Option<Extent>,
    resample: Option<u8>,
    do_center_crop: Option<bool>,
    crop_size: Option<Extent>,
    crop_pct: Option<f64>,
    do_rescale: Option<bool>,
    rescale_factor: Option<f64>,
    rescale_offset: Option<bool>,
    do_normalize: Option<bool>,
    image_mean: Option<Numbers>,
    image_std: Option<Numbers>,
    do_flip_channel_order: Option<bool>,
    do_pad: Option<bool>,
}

/// Size as the versions of the library have written it.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Extent {
    Side(u32),
    Sides([u32; 2]),
    Exact {
        height: u32,
        width: u32,
    },
    Shortest {
        shortest_edge: u32,
        longest_edge: Option<IgnoredAny>,
    },
    /// Sizes that are of no use here, such as the number of pixels.
    Other(IgnoredAny),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Numbers {
    One(f64),
    Each(Vec<f64>),
}

/// Reads the steps of an image processor: resize, centre crop, rescale, normalise.
pub fn processor(bytes: &[u8]) -> Result<Facts, SidecarError> {
    let processor: Processor = json(bytes, TOOL)?;
    let mut facts = normalization(&processor);
    match geometry(&processor) {
        Ok(Some((fit, resize, size))) => {
            facts.fit = Some(Stated::new(fit, PROCESSOR));
            facts.resize = Some(Stated::new(resize, PROCESSOR));
            facts.size = Some(Stated::new(size, PROCESSOR));
            // `center_crop` of both its backends; torchvision's rounds half to even.
            facts.centre = (resize != size).then(|| Stated::new(CentreRounding::Down, PROCESSOR));
        }
        Ok(None) => {}
        Err(value) => facts.unusable.push(Unusable::new("fit", value, PROCESSOR)),
    }
    const NAMES: [&str; 6] = ["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"];
    if let Some(code) = processor.resample {
        let name = NAMES.get(usize::from(code)).copied().unwrap_or("unknown");
        match filter(name) {
            Ok(filter) => facts.filter = Some(Stated::new(filter, PROCESSOR)),
            Err(_) => facts.unusable.push(Unusable::new(
                "interpolation",
                format!("resample {code} ({name})"),
                PROCESSOR,
            )),
        }
    }
    if processor.do_flip_channel_order == Some(true) {
        facts.channels = Some(Stated::new(ColorOrder::Bgr, PROCESSOR));
    }
    Ok(facts)
}

/// Fit, size after resizing and size of the input; an error names what has no counterpart here.
fn geometry(processor: &Processor) -> Result<Option<(Fit, Size, Size)>, String> {
    let class = processor.image_processor_type.as_deref().or(processor.feature_extractor_type.as_deref());
    let class = class.unwrap_or_default();
    let is = |name: &str| class.starts_with(name);
    if processor.do_resize == Some(false) {
        return Ok(None);
    }
    let Some(extent) = &processor.size else { return Ok(None) };
    if is("Perceiver") || is("ImageGPT") || is("Glpn") || processor.do_pad == Some(true) {
        return Err(format!("the steps of {class}"));
    }
    // Classes that once wrote one number for both sides; the others mean the shorter side.
    let is_exact = ["ViT", "Beit", "DeiT", "Swin", "Pvt", "Segformer", "Efficient"].into_iter().any(is);
    let shortest = match extent {
        Extent::Side(side) if !is_exact => Some(*side),
        Extent::Shortest { shortest_edge, .. } => Some(*shortest_edge),
        _ => None,
    };
    let other = || "a size that depends on the image".to_owned();
    let whole = extent.whole().ok_or_else(other)?;
    let crop = match &processor.crop_size {
        Some(crop) if processor.do_center_crop == Some(true) => Some(crop.whole().ok_or_else(other)?),
        _ => None,
    };
    let cut = |fit: Fit, resize: Size, size: Size| {
        let enough = resize.height >= size.height && resize.width >= size.width;
        if enough { Ok(Some((fit, resize, size))) } else { Err(format!("a crop of {size} from {resize}")) }
    };
    let covers = |side: f64, size: Size| cut(Fit::Crop, Size::from(side as u32), size);
    match (shortest, crop) {
        (Some(side), _) if is("ConvNext") => match side {
            ..384 => covers(f64::from(side) / processor.crop_pct.unwrap_or(224.0 / 256.0), side.into()),
            _ => Ok(Some((Fit::Squash, side.into(), side.into()))),
        },
        (Some(side), Some(size)) if is("Levit") => covers(256.0 / 224.0 * f64::from(side), size),
        (Some(side), Some(size)) if is("PoolFormer") => {
            covers(f64::from(side) / processor.crop_pct.unwrap_or(0.9), size)
        }
        (Some(side), Some(size)) => covers(side.into(), size),
        (Some(side), None) => Err(format!("a shorter side of {side} without a crop")),
        (None, None) => Ok(Some((Fit::Squash, whole, whole))),
        (None, Some(size)) => cut(Fit::Squash, whole, size),
    }
}

impl Extent {
    fn whole(&self) -> Option<Size> {
        match *self {
            Self::Side(side) | Self::Shortest { shortest_edge: side, longest_edge: None } => {
                Some(side.into())
            }
            Self::Sides([height, width]) | Self::Exact { height, width } => Some(Size { height, width }),
            // With a longest side, or as a number of pixels, the size depends on the image.
            Self::Shortest { .. } | Self::Other(_) => None,
        }
    }
}

/// Mean and standard deviation for values from 0 to 1: `(255 f x - o - mean) / std` for a factor `f` and an offset `o`.
fn normalization(processor: &Processor) -> Facts {
    let mut facts = Facts::default();
    let factor = match processor.do_rescale {
        Some(false) => 1.0,
        _ => processor.rescale_factor.unwrap_or(1.0 / 255.0),
    };
    let scale = 255.0 * factor;
    let scale = if (scale - 1.0).abs() < 1e-6 { 1.0 } else { scale };
    let offset = f64::from(u8::from(processor.rescale_offset == Some(true)));
    let (mean, std) = match (processor.do_normalize, &processor.image_mean, &processor.image_std) {
        (Some(false), ..) if (scale, offset) == (1.0, 0.0) => {
            facts.range = Some(Stated::new(Range::One, PROCESSOR));
            return facts;
        }
        (Some(false), ..) => (vec![0.0; 3], vec![1.0; 3]),
        (_, Some(mean), Some(std)) => (mean.all(), std.all()),
        _ => return facts,
    };
    if scale <= 0.0 || !scale.is_finite() {
        facts.unusable.push(Unusable::new("scale", factor, PROCESSOR));
        return facts;
    }
    let narrow = |numbers: Vec<f64>, shift: f64| -> Vec<f32> {
        numbers.into_iter().map(|number| ((number + shift) / scale) as f32).collect()
    };
    facts.range = Some(Stated::new(Range::One, PROCESSOR));
    facts.mean = Some(Stated::new(narrow(mean, offset), PROCESSOR));
    facts.std = Some(Stated::new(narrow(std, 0.0), PROCESSOR));
    facts
}

impl Numbers {
    fn all(&self) -> Vec<f64> {
        match self {
            // The usual number of channels.
            Self::One(number) => vec![*number; 3],
            Self::Each(numbers) => numbers.clone(),
        }
    }
}

#[derive(Deserialize)]
struct Config {
    architectures: Option<Vec<String>>,
    id2label: Option<Literal>,
    problem_type: Option<String>,
    image_size: Option<Extent>,
    num_channels: Option<u32>,
}

/// Reads labels, kind of problem and size; nothing of a file of another tool.
///
/// The activation is that of logits, which such models give.
pub fn config(bytes: &[u8]) -> Result<Facts, SidecarError> {
    let value: serde_json::Value = json(bytes, TOOL)?;
    if value.get("model_type").is_none() && value.get("id2label").is_none() {
        return Ok(Facts::default());
    }
    let config: Config =
        serde_json::from_value(value).map_err(|source| SidecarError::Json { tool: TOOL, source })?;
    if let Some(task) = config.architectures.iter().flatten().find_map(|class| other_task(class)) {
        return Err(SidecarError::Task { tool: TOOL, task: task.into() });
    }
    let mut facts = Facts::default();
    if let Some(labels) = config.id2label {
        match names::of_literal(&labels) {
            Ok(labels) => facts.labels = Some(Stated::new(labels, CONFIG)),
            Err(error) => {
                let unusable = Unusable::new("labels", "id2label", CONFIG);
                facts.unusable.push(Unusable { reason: Some(Box::new(error.into())), ..unusable });
            }
        }
    }
    let activation = match config.problem_type.as_deref() {
        Some("multi_label_classification") => Some(Activation::Sigmoid),
        Some("single_label_classification") => Some(Activation::Softmax),
        _ => None,
    };
    facts.activation = activation.map(|activation| Stated::new(activation, CONFIG));
    facts.size = config.image_size.and_then(|size| size.whole()).map(|size| Stated::new(size, CONFIG));
    if config.num_channels == Some(1) {
        facts.channels = Some(Stated::new(ColorOrder::Gray, CONFIG));
    }
    Ok(facts)
}

/// Purpose of a class of models that are no image classifiers.
fn other_task(class: &str) -> Option<&str> {
    const OTHERS: [&str; 12] = [
        "ForObjectDetection",
        "ForSemanticSegmentation",
        "ForInstanceSegmentation",
        "ForUniversalSegmentation",
        "ForImageSegmentation",
        "ForDepthEstimation",
        "ForSequenceClassification",
        "ForTokenClassification",
        "ForQuestionAnswering",
        "ForCausalLM",
        "ForMaskedLM",
        "ForAudioClassification",
    ];
    OTHERS.into_iter().find(|other| class.ends_with(other)).map(|other| other.trim_start_matches("For"))
}
