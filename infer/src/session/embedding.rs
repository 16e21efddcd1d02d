//! Normalisation of images on the device, for files whose input is floats.

use ferronnx_models::card::{CARD_KEY, InputForm, ModelCard};
use ferronnx_models::onnx::{Model, TensorInfo, passes};

/// Largest weights that are encoded in memory, in bytes of floats; a file of Protocol Buffers ends at 2 GB.
const LARGEST: i64 = 1 << 30;

/// File whose graph takes bytes `[N, H, W, C]`, in memory.
#[derive(Debug)]
pub(super) struct Embedded {
    /// Content of the file.
    pub(super) file: Vec<u8>,
    /// Input that the graph had: floats `[N, C, H, W]`.
    pub(super) input: TensorInfo,
}

/// Makes the graph of `model` take bytes and normalise them as its card says; none if it has no card, or does not take
/// floats `[N, C, H, W]`.
pub(super) fn embedded(mut model: Model) -> Option<Embedded> {
    let card = ModelCard::from_json(model.metadata.get(CARD_KEY)?).ok()?;
    // With a layout of its own the card would have images prepared in that one.
    if card.input != InputForm::Float || card.preprocessing.layout.is_some() {
        return None;
    }
    let values = model.graph.initializers.values().map(|tensor| tensor.dims().iter().product::<i64>());
    if values.sum::<i64>() > LARGEST / 4 {
        return None;
    }
    let [input] = &model.graph.inputs[..] else { return None };
    let input = input.as_tensor()?;
    // An output that is the input itself would be bytes.
    if model.graph.is_output(&input.name) {
        return None;
    }
    passes::embed_preprocessing(&mut model, &card.preprocessing.mean, &card.preprocessing.std).ok()?;
    Some(Embedded { file: model.encode(), input })
}
