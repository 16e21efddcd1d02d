//! Metadata of Ultralytics: `task`, `imgsz`, `channels` and `version`; `names` is read with those of other tools.

use ferronnx_models::card::{ColorOrder, Fit, ResizeFilter, Size};

use super::SidecarError;
use crate::assume::literal::{self, Literal};
use crate::assume::{Facts, Range, Stated, Unusable};

const TOOL: &str = "Ultralytics";

/// Reads the metadata of a classifier.
///
/// Since 8.1.0 `classify_transforms` (`ultralytics/data/augment.py`, read in 8.4.190) resizes the shorter side to `imgsz`
/// with Pillow's bilinear filter and cuts out the centre; an `imgsz` that is not square is squashed to. Before, its
/// `CenterCrop` cut out the largest square and resized it with OpenCV, which does not antialias (8.0.100 to 8.0.200).
/// Values are divided by 255 and not normalised further.
pub fn facts(metadata: &dyn Fn(&str) -> Option<String>) -> Result<Facts, SidecarError> {
    let Some(task) = metadata("task") else { return Ok(Facts::default()) };
    let by_author = metadata("author").is_some_and(|author| author.contains(TOOL));
    if !by_author && (metadata("imgsz").is_none() || metadata("stride").is_none()) {
        return Ok(Facts::default());
    }
    if task != "classify" {
        return Err(SidecarError::Task { tool: TOOL, task });
    }
    let place = |key: &str| format!("`{key}` in the metadata (Ultralytics)");
    let task = place("task");
    let mut facts = Facts {
        filter: Some(Stated::new(filter(metadata("version").as_deref()), &place("version"))),
        range: Some(Stated::new(Range::One, &task)),
        ..Facts::default()
    };
    let channels = match metadata("channels").as_deref().map(str::trim) {
        None | Some("3") => Some(ColorOrder::Rgb),
        Some("1") => Some(ColorOrder::Gray),
        Some(other) => {
            facts.unusable.push(Unusable::new("channels", other, &place("channels")));
            None
        }
    };
    if let Some(channels) = channels {
        let each = |value| Some(Stated::new(vec![value; channels.channels()], &task));
        (facts.mean, facts.std) = (each(0.0_f32), each(1.0));
        facts.channels = Some(Stated::new(channels, &task));
    }
    if let Some(text) = metadata("imgsz") {
        match size(&text) {
            Some(size) => {
                let fit = if size.is_square() { Fit::Crop } else { Fit::Squash };
                facts.size = Some(Stated::new(size, &place("imgsz")));
                facts.resize = Some(Stated::new(size, &place("imgsz")));
                facts.fit = Some(Stated::new(fit, &task));
            }
            None => facts.unusable.push(Unusable::new("image-size", text, &place("imgsz"))),
        }
    }
    Ok(facts)
}

/// Filter of this version.
fn filter(version: Option<&str>) -> ResizeFilter {
    let mut numbers =
        version.unwrap_or_default().split('.').map(|part| part.parse::<u32>().unwrap_or(u32::MAX));
    match (numbers.next(), numbers.next()) {
        (Some(8), Some(0)) => ResizeFilter::Bilinear,
        _ => ResizeFilter::BilinearAntialias,
    }
}

/// Height and width in `224` or `[224, 320]`.
fn size(text: &str) -> Option<Size> {
    let side = |literal: &Literal| match literal {
        Literal::Integer(side) => u32::try_from(*side).ok().filter(|side| (1..=8192).contains(side)),
        _ => None,
    };
    match literal::parse(text).ok()? {
        Literal::List(sides) => match &sides[..] {
            [height, width] => Some(Size { height: side(height)?, width: side(width)? }),
            [both] => side(both).map(Size::from),
            _ => None,
        },
        both => side(&both).map(Size::from),
    }
}
