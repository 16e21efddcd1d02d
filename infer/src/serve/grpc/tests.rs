use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use ferronnx_models::onnx::{Dim, Element, TensorInfo};
use ndarray::ArrayD;
use prost::Message;

use super::codec::decode;
use super::inference::infer_parameter::ParameterChoice;
use super::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use super::inference::{InferParameter, InferTensorContents, ModelInferRequest};
use super::messages;
use crate::serve::protocol::{Accepted, Content, Form, Interface};

fn interface(element: Element) -> Interface {
    let info = |name: &str, element, size| TensorInfo {
        name: name.into(),
        element,
        shape: vec![Dim::Symbol("batch".into()), Dim::Fixed(size)],
    };
    Interface::new(&info("input", element, 2), &[info("logits", Element::Float, 3)], 3)
}

fn accept(element: Element, message: &ModelInferRequest) -> Result<Accepted, String> {
    let message = decode(message.encode_to_vec().into()).unwrap();
    let request = messages::request(message).map_err(|error| error.message())?;
    interface(element).accept(request, 4).map_err(|error| error.message())
}

fn message(datatype: &str, contents: InferTensorContents, raw: &[&'static [u8]]) -> ModelInferRequest {
    let (name, shape) = if datatype == "BYTES" { ("image", vec![2]) } else { ("input", vec![1, 2]) };
    let input = InferInputTensor {
        name: name.into(),
        datatype: datatype.into(),
        shape,
        contents: Some(contents),
        ..Default::default()
    };
    ModelInferRequest {
        inputs: vec![input],
        raw_input_contents: raw.iter().map(|bytes| Bytes::from_static(bytes)).collect(),
        ..Default::default()
    }
}

fn number(number: i64) -> InferParameter {
    InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(number)) }
}

#[test]
fn elements_are_typed_or_raw() {
    let none = InferTensorContents::default;
    let floats = InferTensorContents { fp32_contents: vec![1.5, -2.0], ..none() };
    let bytes = InferTensorContents { uint_contents: vec![0, 255], ..none() };
    let images = InferTensorContents {
        bytes_contents: vec![Bytes::from_static(b"a"), Bytes::from_static(b"bc")],
        ..none()
    };
    let raw: &[u8] = b"\0\0\xc0\x3f\0\0\0\xc0";
    for message in [message("FP32", floats.clone(), &[]), message("FP32", none(), &[raw])] {
        let Content::Floats(tensor) = accept(Element::Float, &message).unwrap().content else { panic!() };
        let expected = ArrayD::from_shape_vec(vec![1, 2], vec![1.5, -2.0]).unwrap();
        assert_eq!(tensor, expected);
    }
    for message in [message("UINT8", bytes.clone(), &[]), message("UINT8", none(), &[b"\0\xff"])] {
        let Content::Bytes(tensor) = accept(Element::Uint8, &message).unwrap().content else { panic!() };
        assert_eq!(tensor.into_iter().collect::<Vec<_>>(), [0, 255]);
    }
    for message in [message("BYTES", images, &[]), message("BYTES", none(), &[b"\x01\0\0\0a\x02\0\0\0bc"])] {
        let content = accept(Element::Float, &message).unwrap().content;
        assert_eq!(content, Content::Images(vec![Bytes::from_static(b"a"), Bytes::from_static(b"bc")]));
    }

    let refused = |message| accept(Element::Float, &message).unwrap_err();
    insta::assert_snapshot!(refused(message("FP32", none(), &[])), @"input `input`: it has no elements: give `data` or `binary_data_size` in JSON, contents or raw_input_contents in a message");
    insta::assert_snapshot!(refused(message("FP32", floats.clone(), &[raw])), @"input `input`: it has contents and raw_input_contents: give one of them");
    insta::assert_snapshot!(refused(message("FP32", none(), &[raw, raw])), @"2 raw_input_contents for 1 inputs: each input has one, or its own contents");
    insta::assert_snapshot!(refused(message("FP32", bytes, &[])), @"input `input`: FP32 elements cannot be in this field: send them as fp32_contents");
    insta::assert_snapshot!(refused(message("FP32", InferTensorContents { int64_contents: vec![1], ..floats.clone() }, &[])), @"input `input`: FP32 elements cannot be in this field: send them as fp32_contents");
    insta::assert_snapshot!(refused(message("FP32", none(), &[b"\0\0\0"])), @"input `input`: it has 3 bytes, and its shape and datatype take 8");
    let large = InferTensorContents { uint_contents: vec![0, 256], ..none() };
    insta::assert_snapshot!(accept(Element::Uint8, &message("UINT8", large, &[])).unwrap_err(), @"input `input`: 256 is not a byte: the largest is 255");
    let half = accept(Element::Float16, &message("FP16", floats, &[])).unwrap_err();
    insta::assert_snapshot!(half, @"input `input`: FP16 elements cannot be in contents: send them as raw_input_contents");
}

#[test]
fn parameters_are_read() {
    let contents = InferTensorContents { fp32_contents: vec![1.0, 2.0], ..Default::default() };
    let with = |timeout, classification| {
        let output = InferRequestedOutputTensor {
            name: "logits".into(),
            parameters: HashMap::from([("classification".into(), classification)]),
        };
        ModelInferRequest {
            id: "7".into(),
            parameters: HashMap::from([("timeout".into(), timeout)]),
            outputs: vec![output],
            ..message("FP32", contents.clone(), &[])
        }
    };
    let accepted = accept(Element::Float, &with(number(1500), number(2))).unwrap();
    assert_eq!((&*accepted.id, accepted.timeout), ("7", Some(Duration::from_micros(1500))));
    assert_eq!(accepted.outputs[0].form, Form::Classes(2));
    let refused =
        |timeout, classification| accept(Element::Float, &with(timeout, classification)).unwrap_err();
    insta::assert_snapshot!(refused(number(-1), number(2)), @"the parameter `timeout` is not a number of microseconds");
    insta::assert_snapshot!(refused(number(1), InferParameter::default()), @"the parameter `classification` is not a number of classes");
}

/// Many empty tensors are small in a message and large in memory.
#[test]
fn messages_of_many_fields_are_refused() {
    let empty_tensors = [0x2a, 0].repeat(1 << 20);
    let error = decode::<ModelInferRequest>(empty_tensors.into()).unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (tonic::Code::InvalidArgument, "the message has more than 1000 fields")
    );
    let error = decode::<ModelInferRequest>(vec![0x2a, 200, 1].into()).unwrap_err();
    assert_eq!(error.code(), tonic::Code::InvalidArgument);
    assert_eq!(decode::<ModelInferRequest>([0x2a, 0].repeat(1000).into()).unwrap().inputs.len(), 1000);
}
