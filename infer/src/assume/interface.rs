//! Layout, channels and size of an input, from its shape and what is known about the model.

use ferronnx_models::card::{ColorOrder, Layout, Size};
use ferronnx_models::onnx::Dim;

use super::{Assumptions, Facts, Ledger, Stated, known};
use crate::session::describe;

/// Reason why images cannot be prepared for an input of this shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InterfaceError {
    /// The input is not a batch of images of one or three channels.
    #[error("takes {shape}, not images")]
    NotImages {
        /// Shape of the input.
        shape: String,
    },
    /// The input is one image, or a batch of a fixed size without channels.
    #[error("takes {shape}: a batch of images has a dimension for the batch, and one for several channels")]
    NoBatch {
        /// Shape of the input.
        shape: String,
    },
    /// The shape allows several orders of the dimensions.
    #[error("takes {shape}, in which the channels may come first or last")]
    Layout {
        /// Shape of the input.
        shape: String,
    },
    /// The shape does not tell height and width.
    #[error("has no model card, and takes images of any size ({shape})")]
    Size {
        /// Shape of the input.
        shape: String,
    },
    /// A known fact contradicts the shape.
    #[error("takes {shape}, which contradicts {what} {value} ({origin})")]
    Contradiction {
        /// Shape of the input.
        shape: String,
        /// Name of the fact.
        what: &'static str,
        /// Value of the fact.
        value: String,
        /// Place where the fact comes from.
        origin: String,
    },
}

/// Layout, channels and size of an input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Interface {
    pub(super) layout: Layout,
    pub(super) channels: ColorOrder,
    pub(super) size: Size,
}

/// Dimensions of one image in an input, as far as its shape tells.
struct Shape<'a> {
    layout: Option<Layout>,
    /// Channels, height and width.
    sides: [Option<&'a Dim>; 3],
    /// Values of an image in an input that is a vector.
    flat: Option<usize>,
}

/// Finds layout, channels and size, and lists them in `ledger`.
pub(super) fn interface(
    shape: &[Dim],
    given: &Assumptions,
    facts: &Facts,
    ledger: &mut Ledger,
) -> Result<Interface, InterfaceError> {
    let text = || describe(shape);
    let layout = known(&given.layout, &facts.layout);
    let channels = known(&given.channels, &facts.channels);
    let found = read(shape, layout.as_ref().map(|layout| layout.value))?;
    let from_shape = || format!("shape of the input, {}", text());
    let contradiction = |what, value: String, origin: &str| InterfaceError::Contradiction {
        shape: text(),
        what,
        value,
        origin: origin.into(),
    };

    if let (Some(found), Some(known)) = (found.layout, &layout)
        && found != known.value
    {
        return Err(contradiction("layout", known.value.name().into(), &known.source));
    }
    let [channel_dim, height, width] = found.sides;
    let size = size([height, width], &known(&given.image_size, &facts.size), &contradiction)?;
    let count = match (channel_dim, found.flat, &size) {
        (Some(Dim::Fixed(count)), ..) => Some(*count),
        (_, Some(values), Some(size)) => {
            let area = size.value.height as usize * size.value.width as usize;
            Some(values / area).filter(|count| count * area == values)
        }
        _ => None,
    };
    let Some(size) = size else { return Err(InterfaceError::Size { shape: text() }) };
    let channels = match (count, channels) {
        (Some(count), Some(known)) if known.value.channels() != count => {
            return Err(contradiction("channels", known.value.name().into(), &known.source));
        }
        (None, Some(known)) if found.flat.is_some() => {
            let value = format!("{} pixels of {}", size.value, known.value.name());
            return Err(contradiction("the size", value, &size.source));
        }
        (None, None) if found.flat.is_some() => {
            return Err(contradiction("the size", size.value.to_string(), &size.source));
        }
        (_, Some(known)) => known,
        (Some(1), None) => Stated { value: ColorOrder::Gray, source: from_shape() },
        (Some(3), None) => Stated { value: ColorOrder::Rgb, source: "usual order of three channels".into() },
        (Some(_), None) => return Err(InterfaceError::NotImages { shape: text() }),
        (None, None) => Stated { value: ColorOrder::Rgb, source: "usual, the shape does not tell".into() },
    };
    let is_gray = channels.value == ColorOrder::Gray;
    let layout = match (found.layout, layout) {
        (_, Some(known)) => known,
        (Some(value), None) => Stated { value, source: from_shape() },
        // One channel lies the same in both orders.
        (None, None) if is_gray => Stated { value: Layout::Nchw, source: "one channel".into() },
        (None, None) => return Err(InterfaceError::Layout { shape: text() }),
    };
    ledger.note("image-size", size.value.to_string(), size.source);
    ledger.note("channels", channels.value.name(), channels.source);
    ledger.note("layout", layout.value.name(), layout.source);
    Ok(Interface { layout: layout.value, channels: channels.value, size: size.value })
}

/// Finds height and width, where the shape or a known fact tells them.
fn size(
    sides: [Option<&Dim>; 2],
    known: &Option<Stated<Size>>,
    contradiction: &dyn Fn(&'static str, String, &str) -> InterfaceError,
) -> Result<Option<Stated<Size>>, InterfaceError> {
    let fixed = |dim: Option<&Dim>| match dim {
        Some(Dim::Fixed(side)) => u32::try_from(*side).ok(),
        _ => None,
    };
    let [height, width] = sides.map(fixed);
    if let Some(known) = known {
        let fits = |side: Option<u32>, known: u32| side.is_none_or(|side| side == known);
        let Size { height: known_height, width: known_width } = known.value;
        return match fits(height, known_height) && fits(width, known_width) {
            true => Ok(Some(known.clone())),
            false => Err(contradiction("the size", known.value.to_string(), &known.source)),
        };
    }
    let size = height.zip(width).map(|(height, width)| Size { height, width });
    Ok(size.map(|value| Stated { value, source: "shape of the input".into() }))
}

/// Reads the shape of an input, with the layout that is known about it.
fn read(shape: &[Dim], known: Option<Layout>) -> Result<Shape<'_>, InterfaceError> {
    let not_images = || InterfaceError::NotImages { shape: describe(shape) };
    let is_channels = |dim: &Dim| matches!(dim, Dim::Fixed(1 | 3));
    match shape {
        [_, a, b, c] => {
            let layout = match (is_channels(a), is_channels(c), known) {
                (_, _, Some(layout)) => layout,
                (true, false, _) => Layout::Nchw,
                (false, true, _) => Layout::Nhwc,
                (true, true, _) => return Err(InterfaceError::Layout { shape: describe(shape) }),
                _ if [a, c].iter().any(|dim| matches!(dim, Dim::Symbol(_))) => {
                    return Err(InterfaceError::Layout { shape: describe(shape) });
                }
                _ => return Err(not_images()),
            };
            let sides = match layout {
                Layout::Nchw => [a, b, c],
                Layout::Nhwc => [c, a, b],
            };
            if matches!(sides[0], Dim::Fixed(count) if !matches!(count, 1 | 3)) {
                return Err(not_images());
            }
            Ok(Shape { layout: Some(layout), sides: sides.map(Some), flat: None })
        }
        // Without a batch the first or the last dimension would be the channels.
        [Dim::Fixed(2..), ..] | [_, _, Dim::Fixed(1 | 3)] if shape.len() == 3 => {
            Err(InterfaceError::NoBatch { shape: describe(shape) })
        }
        [_, height, width] => {
            Ok(Shape { layout: None, sides: [Some(&Dim::Fixed(1)), Some(height), Some(width)], flat: None })
        }
        [_, Dim::Fixed(values)] => Ok(Shape { layout: None, sides: [None; 3], flat: Some(*values) }),
        _ => Err(not_images()),
    }
}
