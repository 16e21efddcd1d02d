//! Normalisation of images on the device, for files whose input is floats.

use ferronnx_models::card::{CARD_KEY, InputForm, ModelCard};
use ferronnx_models::onnx::{Model, TensorInfo, passes};

/// Makes the graph of `model` take bytes `[N, H, W, C]` and normalise them as its card says; gives the input that it had.
/// Nothing happens if the model has no card, or does not take floats `[N, C, H, W]`.
pub(super) fn embed(model: &mut Model) -> Option<TensorInfo> {
    let card = ModelCard::from_json(model.metadata.get(CARD_KEY)?).ok()?;
    // With a layout of its own the card would have images prepared in that one.
    if card.input != InputForm::Float || card.preprocessing.layout.is_some() {
        return None;
    }
    let [input] = &model.graph.inputs[..] else { return None };
    let input = input.as_tensor()?;
    // An output that is the input itself would be bytes.
    if model.graph.is_output(&input.name) {
        return None;
    }
    passes::embed_preprocessing(model, &card.preprocessing.mean, &card.preprocessing.std).ok()?;
    Some(input)
}

#[cfg(test)]
mod tests {
    use ferronnx_models::card::{Preprocessing, Provenance};
    use ferronnx_models::layers::Conv2d;
    use ferronnx_models::onnx::{self, Interface, Opset};
    use ferronnx_models::{Module, Ops, testing};
    use image::{Rgb, RgbImage};

    use super::*;
    use crate::Device;
    use crate::preprocess::Preprocessor;
    use crate::session::{Input, Options, Session};

    struct Network(Conv2d);

    impl Module for Network {
        fn forward<O: Ops>(&self, ops: &O, x: &O::Value) -> Result<O::Value, O::Error> {
            ops.conv2d(x, &self.0)
        }
    }

    fn card() -> ModelCard {
        let preprocessing = Preprocessing {
            mean: vec![0.4, 0.5, 0.6],
            std: vec![0.2, 0.25, 0.3],
            ..Preprocessing::for_size(4)
        };
        let provenance =
            Provenance { producer: "test".into(), engine: "none".into(), created: "2026-01-01".into() };
        ModelCard::new(vec!["a".into(), "b".into()], preprocessing, provenance)
    }

    fn file(card: &ModelCard) -> Vec<u8> {
        let network = Network(Conv2d { padding: 1, ..Conv2d::new("conv", 3, 2, 3) });
        let weights = testing::weights(&network, &[1, 3, 4, 4]).unwrap();
        let graph = onnx::trace(&network, &weights, &Interface::new([3, 4, 4]), Opset::default()).unwrap();
        onnx::encode(graph, &[(CARD_KEY, &card.to_json())])
    }

    #[test]
    fn the_answers_are_the_same_and_so_is_the_card() {
        let card = card();
        let content = file(&card);
        let mut model = Model::decode(content.clone()).unwrap();
        let input = embed(&mut model).unwrap();
        let file = model.encode();
        let options = Options::default().device(Device::Cpu);
        let [before, after] = [content, file].map(|content| Session::from_bytes(&content, &options).unwrap());
        assert_eq!(&input, before.input());
        assert_eq!(before.metadata(CARD_KEY), after.metadata(CARD_KEY));
        let preprocessor = Preprocessor::new(&card.preprocessing);
        let images = [3, 40].map(|step| {
            RgbImage::from_fn(4, 4, |x, y| Rgb([x as u8 * step, y as u8 * step, (x + y) as u8 * step]))
        });
        let floats = preprocessor.batch(&images, InputForm::Float);
        let bytes = preprocessor.batch(&images, InputForm::Uint8);
        let [before, after] =
            [before.run(Input::from(&floats)), after.run(Input::from(&bytes))].map(Result::unwrap);
        let most = before.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        let difference = (&before - &after).iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        assert!(difference <= 1e-6 * most, "{difference} of {most}");
    }

    #[test]
    fn other_files_stay_as_they_are() {
        let stays = |change: &dyn Fn(&mut ModelCard)| {
            let mut card = card();
            change(&mut card);
            embed(&mut Model::decode(file(&card)).unwrap()).is_none()
        };
        assert!(!stays(&|_| {}));
        assert!(stays(&|card| card.input = InputForm::Uint8));
        assert!(stays(&|card| card.preprocessing.layout = Some(ferronnx_models::card::Layout::Nchw)));
        assert!(stays(&|card| card.preprocessing.mean = vec![0.0]));
        let mut bare = Model::decode(file(&card())).unwrap();
        bare.metadata = Default::default();
        assert!(embed(&mut bare).is_none());
    }
}
