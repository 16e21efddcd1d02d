//! `config.json` of timm, as `save_config_for_hf` and the Hugging Face hub have it.

use ferronnx_models::card::{Border, ColorOrder, Fit, ResizeFilter, Size};
use serde::Deserialize;

use super::{SidecarError, json};
use crate::assume::literal::Literal;
use crate::assume::{Facts, Stated, Unusable, names};

const TOOL: &str = "timm";
const PLACE: &str = "config.json beside the file (timm)";

#[derive(Deserialize)]
struct Config {
    architecture: Option<String>,
    pretrained_cfg: Option<Pretrained>,
    label_names: Option<Literal>,
    /// Old files have all at the top.
    #[serde(flatten)]
    top: Pretrained,
}

#[derive(Deserialize)]
struct Pretrained {
    input_size: Option<[u32; 3]>,
    interpolation: Option<String>,
    crop_pct: Option<f64>,
    crop_mode: Option<String>,
    mean: Option<Vec<f32>>,
    std: Option<Vec<f32>>,
    label_names: Option<Literal>,
}

/// Reads the evaluation transform (`transforms_imagenet_eval` with the defaults of `resolve_data_config`, timm 1.0.31);
/// nothing of a file of another tool.
pub fn config(bytes: &[u8]) -> Result<Facts, SidecarError> {
    let value: serde_json::Value = json(bytes, TOOL)?;
    let has = |key: &str| value.get(key).is_some_and(|value| !value.is_null());
    if !(has("pretrained_cfg") || has("architecture") && has("input_size")) {
        return Ok(Facts::default());
    }
    let config: Config =
        serde_json::from_value(value).map_err(|source| SidecarError::Json { tool: TOOL, source })?;
    let _ = config.architecture;
    let mut facts = preprocessing(config.pretrained_cfg.as_ref().unwrap_or(&config.top));
    let inner = config.pretrained_cfg.and_then(|inner| inner.label_names);
    if let Some(labels) = config.label_names.or(inner) {
        match names::of_literal(&labels) {
            Ok(labels) => facts.labels = Some(Stated::new(labels, PLACE)),
            Err(error) => {
                let unusable = Unusable::new("labels", "label_names", PLACE);
                facts.unusable.push(Unusable { reason: Some(Box::new(error.into())), ..unusable });
            }
        }
    }
    Ok(facts)
}

fn preprocessing(config: &Pretrained) -> Facts {
    const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
    const STD: [f32; 3] = [0.229, 0.224, 0.225];
    const CROP: f64 = 0.875;
    let mut facts = Facts::default();
    let [channels, height, width] = config.input_size.unwrap_or([3, 224, 224]);
    let size = Size { height, width };
    facts.size = Some(Stated::new(size, PLACE));
    match channels {
        1 => facts.channels = Some(Stated::new(ColorOrder::Gray, PLACE)),
        3 => facts.channels = Some(Stated::new(ColorOrder::Rgb, PLACE)),
        other => facts.unusable.push(Unusable::new("channels", other, PLACE)),
    }
    let numbers = |numbers: &Option<Vec<f32>>, usual: [f32; 3]| {
        let numbers = numbers.clone().filter(|numbers| !numbers.is_empty()).unwrap_or(usual.into());
        Some(Stated::new(numbers, PLACE))
    };
    (facts.mean, facts.std) = (numbers(&config.mean, MEAN), numbers(&config.std, STD));
    match filter(config.interpolation.as_deref().unwrap_or("bicubic")) {
        Ok(filter) => facts.filter = Some(Stated::new(filter, PLACE)),
        Err(name) => facts.unusable.push(Unusable::new("interpolation", name, PLACE)),
    }
    let part = config.crop_pct.filter(|part| *part > 0.0).unwrap_or(CROP);
    let larger = |side: u32| (f64::from(side) / part).floor().min(f64::from(u32::MAX)) as u32;
    let resize = Size { height: larger(height), width: larger(width) };
    let fit = match config.crop_mode.as_deref().unwrap_or("center") {
        "center" if part <= 1.0 => Some(Fit::Crop),
        "squash" if part <= 1.0 => Some(Fit::Squash),
        "border" if part <= 1.0 => Some(Fit::Letterbox),
        // Others cut more out than there is, or are not known.
        other => {
            let value = format!("crop_mode {other} with crop_pct {part}");
            facts.unusable.push(Unusable::new("fit", value, PLACE));
            None
        }
    };
    if let (Some(Fit::Letterbox), Some(mean)) = (fit, &facts.mean) {
        // Pillow's byte of the mean; a gray image has the same in all channels.
        let byte = |channel: usize| (255.0 * mean.value[channel % mean.value.len()]).round_ties_even() as u8;
        facts.border = Some(Stated::new(Border(std::array::from_fn(byte)), PLACE));
    }
    facts.fit = fit.map(|fit| Stated::new(fit, PLACE));
    facts.resize = fit.map(|_| Stated::new(resize, PLACE));
    facts
}

/// Filter of Pillow with this name; other names are returned.
pub(super) fn filter(name: &str) -> Result<ResizeFilter, &str> {
    match name {
        "bilinear" => Ok(ResizeFilter::BilinearAntialias),
        "bicubic" => Ok(ResizeFilter::BicubicAntialias),
        "lanczos" => Ok(ResizeFilter::LanczosAntialias),
        "nearest" => Ok(ResizeFilter::Nearest),
        other => Err(other),
    }
}
