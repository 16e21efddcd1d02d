//! Image metadata of ONNX, which WinML reads and Azure Custom Vision writes
//! ([specification](https://github.com/onnx/onnx/blob/main/docs/MetadataProps.md)).

use ferronnx_models::card::ColorOrder;

use crate::assume::{Facts, Range, Stated, Unusable};

/// Reads the format of pixels and the range of their values.
pub fn facts(metadata: &dyn Fn(&str) -> Option<String>) -> Facts {
    let mut facts = Facts::default();
    const FORMAT: &str = "`Image.BitmapPixelFormat` in the metadata";
    const RANGE: &str = "`Image.NominalPixelRange` in the metadata";
    let format = metadata("Image.BitmapPixelFormat");
    let channels = match format.as_deref().map(str::trim) {
        None => None,
        Some("Rgb8") => Some(ColorOrder::Rgb),
        Some("Bgr8") => Some(ColorOrder::Bgr),
        Some("Gray8") => Some(ColorOrder::Gray),
        Some(other) => {
            facts.unusable.push(Unusable::new("channels", other, FORMAT));
            None
        }
    };
    facts.channels = channels.map(|channels| Stated::new(channels, FORMAT));
    let range = metadata("Image.NominalPixelRange");
    let (range, mean, std) = match range.as_deref().map(str::trim) {
        None => return facts,
        Some("NominalRange_0_255") => (Range::Byte, 0.0, 1.0),
        Some("Normalized_0_1") => (Range::One, 0.0, 1.0),
        Some("Normalized_1_1") => (Range::One, 0.5, 0.5),
        Some(other) => {
            facts.unusable.push(Unusable::new("scale", other, RANGE));
            return facts;
        }
    };
    facts.range = Some(Stated::new(range, RANGE));
    // Without the channels there is no number for each; 0 and 1 follow from the range.
    if let Some(channels) = channels {
        let each = |value: f32| Some(Stated::new(vec![value; channels.channels()], RANGE));
        (facts.mean, facts.std) = (each(mean), each(std));
    } else if mean != 0.0 {
        facts.range = None;
        facts.unusable.push(Unusable::new("scale", "Normalized_1_1 without a pixel format", RANGE));
    }
    facts
}
