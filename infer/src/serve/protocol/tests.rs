use std::time::Duration;

use bytes::Bytes;
use ferronnx_models::onnx::{Dim, Element, TensorInfo};
use ndarray::{ArrayD, IxDyn};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn info(name: &str, element: Element, shape: &[i64]) -> TensorInfo {
    let dim = |&size: &i64| usize::try_from(size).map_or(Dim::Symbol("batch".into()), Dim::Fixed);
    TensorInfo { name: name.into(), element, shape: shape.iter().map(dim).collect() }
}

/// Model with an input `input`, `[-1, 2, 2]`, and an output `logits` of three classes.
fn interface(element: Element) -> Interface {
    let outputs = [info("logits", Element::Float, &[-1, 3])];
    Interface::new(&info("input", element, &[-1, 2, 2]), &outputs, 3)
}

/// Accepts a request with this JSON and binary data, of at most 4 images.
fn accept(element: Element, json: &str, binary: Option<&[u8]>) -> Result<Accepted, String> {
    let body = Bytes::from([json.as_bytes(), binary.unwrap_or_default()].concat());
    let header = binary.map(|_| json.len());
    let request = json::parse(&body, header).map_err(|error| error.message())?;
    interface(element).accept(request, 4).map_err(|error| error.message())
}

fn input(datatype: &str, shape: &str, rest: &str) -> String {
    format!(r#"{{"inputs": [{{"name": "input", "datatype": "{datatype}", "shape": {shape}, {rest}}}]}}"#)
}

fn floats(accepted: Result<Accepted, String>) -> Vec<f32> {
    match accepted.unwrap().content {
        Content::Floats(tensor) => {
            assert_eq!(tensor.shape(), [1, 2, 2]);
            tensor.into_iter().collect()
        }
        other => panic!("{other:?}"),
    }
}

fn images(accepted: Result<Accepted, String>) -> Vec<Vec<u8>> {
    match accepted.unwrap().content {
        Content::Images(images) => images.iter().map(|image| image.to_vec()).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn lists_are_flat_or_nested_and_in_any_place() {
    let found = [1.0, -0.1, 3e-3, 4.0];
    for data in ["[1, -0.1, 3e-3, 4]", "[[[1, -0.1], [3e-3, 4]]]", " [ [\n[1.0,-0.1],[3e-3,4.0] ]] "] {
        let json = input("FP32", "[1, 2, 2]", &format!(r#""data": {data}"#));
        assert_eq!(floats(accept(Element::Float, &json, None)), found);
        let early = format!(
            r#"{{"inputs": [{{"data": {data}, "shape": [1, 2, 2], "datatype": "FP32", "name": "input"}}], "x": 1}}"#
        );
        assert_eq!(floats(accept(Element::Float, &early, None)), found);
    }
    let json = input("UINT8", "[1, 2, 2]", r#""data": [0, 1, 254, 255]"#);
    let Content::Bytes(tensor) = accept(Element::Uint8, &json, None).unwrap().content else { panic!() };
    assert_eq!(tensor.into_iter().collect::<Vec<_>>(), [0, 1, 254, 255]);
    let json = input("FP64", "[1, 2, 2]", r#""data": [0.1, 1, 1e-300, 3]"#);
    assert_eq!(floats(accept(Element::Double, &json, None)), [0.1, 1.0, 0.0, 3.0]);
}

/// A decimal between two floats is rounded once, not first to 64 bits.
#[test]
fn numbers_are_rounded_once() {
    // Just above the middle of 1 and the float after it, by less than 64 bits can tell.
    let json = input("FP32", "[1, 2, 2]", r#""data": [1.00000005960464477539062500000001, 0, 0, 0]"#);
    assert_eq!(floats(accept(Element::Float, &json, None))[0], 1.0 + f32::EPSILON);
}

#[test]
fn wrong_lists_are_refused() {
    let refused = |element, datatype, data: &str| {
        accept(element, &input(datatype, "[1, 2, 2]", &format!(r#""data": {data}"#)), None).unwrap_err()
    };
    let float = |data| refused(Element::Float, "FP32", data);
    insta::assert_snapshot!(float("[1, 2, 3]"), @"input `input`: `data` does not fit its shape and datatype: invalid length 3, expected a list of 4 at line 1 column 9");
    insta::assert_snapshot!(float("[1, 2, 3, 4, 5]"), @"input `input`: `data` does not fit its shape and datatype: there are more than 4 elements at line 1 column 15");
    insta::assert_snapshot!(float("[[[1, 2, 3], [4]]]"), @"input `input`: `data` does not fit its shape and datatype: there are more than 2 elements at line 1 column 11");
    insta::assert_snapshot!(float("[[1, 2, 3, 4]]"), @"input `input`: `data` is nested 2 deep: give a flat list, or one nested as its shape");
    insta::assert_snapshot!(float("[[[[1, 2, 3, 4]]]]"), @"input `input`: `data` is nested 4 deep: give a flat list, or one nested as its shape");
    insta::assert_snapshot!(float("[1, 2, 3, null]"), @"input `input`: `data` does not fit its shape and datatype: invalid type: null, expected f32 at line 1 column 14");
    insta::assert_snapshot!(float("[1, 2, 3, 1e39]"), @"input `input`: `data` does not fit its shape and datatype: number out of range at line 1 column 14");
    insta::assert_snapshot!(float("[1, 2, 3, \"4\"]"), @r#"input `input`: `data` does not fit its shape and datatype: invalid type: string "4", expected f32 at line 1 column 13"#);
    insta::assert_snapshot!(float("4"), @"input `input`: `data` does not fit its shape and datatype: invalid type: integer `4`, expected a list of 4 at line 1 column 1");
    insta::assert_snapshot!(refused(Element::Uint8, "UINT8", "[1, 2, 3, 256]"), @"input `input`: `data` does not fit its shape and datatype: invalid value: integer `256`, expected u8 at line 1 column 13");
    insta::assert_snapshot!(refused(Element::Uint8, "UINT8", "[1, 2, 3, 4.0]"), @"input `input`: `data` does not fit its shape and datatype: invalid type: floating point `4.0`, expected u8 at line 1 column 13");
    insta::assert_snapshot!(refused(Element::Double, "FP64", "[1, 2, 3, 1e39]"), @"input `input`: 1e39 is too large for a float of 32 bits");
    insta::assert_snapshot!(refused(Element::Float16, "FP16", "[1, 2, 3, 4]"), @"input `input`: FP16 elements cannot be in JSON: send them as binary data after the JSON");
    insta::assert_snapshot!(float(&format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000))), @"input `input`: `data` is nested 100000 deep: give a flat list, or one nested as its shape");
}

#[test]
fn binary_data_is_little_endian() {
    let json = |datatype: &str, size: usize| {
        input(datatype, "[1, 2, 2]", &format!(r#""parameters": {{"binary_data_size": {size}}}"#))
    };
    let values = [1.5_f32, -2.0, 1e-3, 4.0];
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(floats(accept(Element::Float, &json("FP32", 16), Some(&bytes))), values);
    let bytes: Vec<u8> = values.iter().flat_map(|&value| f64::from(value).to_le_bytes()).collect();
    assert_eq!(floats(accept(Element::Double, &json("FP64", 32), Some(&bytes))), values);
    let halves = [1.5, -2.0, 0.25, 4.0].map(half::f16::from_f32);
    let bytes: Vec<u8> = halves.iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(floats(accept(Element::Float16, &json("FP16", 8), Some(&bytes))), [1.5, -2.0, 0.25, 4.0]);
    let found = accept(Element::Uint8, &json("UINT8", 4), Some(&[1, 2, 3, 255])).unwrap().content;
    assert_eq!(found, Content::Bytes(ArrayD::from_shape_vec(vec![1, 2, 2], vec![1, 2, 3, 255]).unwrap()));
}

#[test]
fn lying_lengths_are_refused() {
    let json = |parameters: &str| input("UINT8", "[1, 2, 2]", parameters);
    let refused = |parameters: &str, binary| accept(Element::Uint8, &json(parameters), binary).unwrap_err();
    let size = |size: &str| format!(r#""parameters": {{"binary_data_size": {size}}}"#);
    insta::assert_snapshot!(refused(&size("5"), Some(&[0; 4])), @"input `input`: `binary_data_size` is 5, and 4 bytes are left after the JSON");
    insta::assert_snapshot!(refused(&size("3"), Some(&[0; 4])), @"1 bytes follow the last tensor: `binary_data_size` of the inputs has to add up to what follows the JSON");
    insta::assert_snapshot!(refused(&size("3"), Some(&[0; 3])), @"input `input`: it has 3 bytes, and its shape and datatype take 4");
    insta::assert_snapshot!(refused(&size("18446744073709551615"), Some(&[0; 4])), @"input `input`: `binary_data_size` is 18446744073709551615, and 4 bytes are left after the JSON");
    insta::assert_snapshot!(refused(&size("-1"), Some(&[0; 4])), @"the body is not the JSON of an inference request: invalid value: integer `-1`, expected usize at line 1 column 108");
    insta::assert_snapshot!(refused(&size("4"), None), @"input `input`: it has `binary_data_size`, and the request no header Inference-Header-Content-Length");
    insta::assert_snapshot!(refused(&format!("{}, \"data\": [1]", size("4")), Some(&[0; 4])), @"input `input`: it has `data` and `binary_data_size`: give one of them");
    insta::assert_snapshot!(refused(r#""parameters": {}"#, Some(&[0; 4])), @"input `input`: it has no elements: give `data` or `binary_data_size` in JSON, contents or raw_input_contents in a message");
    insta::assert_snapshot!(refused(r#""parameters": {"shared_memory_region": "a"}"#, None), @"input `input`: shared memory is not supported: send the elements in the request");
    let body = Bytes::from_static(b"{}");
    insta::assert_snapshot!(json::parse(&body, Some(3)).unwrap_err().message(), @"the header Inference-Header-Content-Length is 3, and the body has 2 bytes");
    insta::assert_snapshot!(json::parse(&body, Some(0)).unwrap_err().message(), @"the body is not the JSON of an inference request: EOF while parsing a value at line 1 column 0");
}

#[test]
fn encoded_images_come_in_three_forms() {
    let json = |data: &str, parameters: &str| {
        format!(
            r#"{{"inputs": [{{"name": "image", "datatype": "BYTES", "shape": [2], "data": {data}, "parameters": {{{parameters}}}}}]}}"#
        )
    };
    let expected = vec![b"one".to_vec(), vec![0xff]];
    let objects = json(r#"[{"b64": "b25l"}, {"b64": "/w=="}]"#, "");
    assert_eq!(images(accept(Element::Float, &objects, None)), expected);
    let strings = json(r#"["b25l", "/w=="]"#, r#""content_type": "base64""#);
    assert_eq!(images(accept(Element::Float, &strings, None)), expected);
    let binary = r#"{"inputs": [{"name": "image", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 12}}]}"#;
    let bytes = [3, 0, 0, 0, b'o', b'n', b'e', 1, 0, 0, 0, 0xff];
    assert_eq!(images(accept(Element::Float, binary, Some(&bytes))), expected);

    let refused = |json: &str| accept(Element::Float, json, None).unwrap_err();
    insta::assert_snapshot!(refused(&json(r#"["b25l", "/w=="]"#, "")), @r#"input `image`: strings in JSON are text: give images as {"b64": "..."}, or as Base64 with the parameter "content_type": "base64", or as binary data after the JSON"#);
    insta::assert_snapshot!(refused(&json(r#"["b25l", "/w="]"#, r#""content_type": "base64""#)), @"input `image`: `data` does not fit its shape and datatype: Invalid padding at line 1 column 15");
    insta::assert_snapshot!(refused(&json(r#"[{"b64": "b25l"}]"#, "")), @"input `image`: `data` does not fit its shape and datatype: invalid length 1, expected a list of 2 at line 1 column 17");
    insta::assert_snapshot!(refused(&json(r#"[[{"b64": "b25l"}]]"#, "")), @"input `image`: `data` is nested 2 deep: give a flat list, or one nested as its shape");
    for (wrong, message) in [
        (&[3, 0, 0, 0, 1, 2, 3, 255, 255, 255, 255, 0][..], "element 1"),
        (&[8, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8], "element 1"),
        (&[0; 12], "4 bytes follow"),
    ] {
        let error = accept(Element::Float, binary, Some(wrong)).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn inputs_have_to_fit_the_model() {
    let refused = |json: &str| accept(Element::Float, json, None).unwrap_err();
    let data = r#""data": [1, 2, 3, 4]"#;
    insta::assert_snapshot!(refused(&input("INT64", "[1, 2, 2]", data)), @"input `input`: the model takes FP32, not INT64");
    insta::assert_snapshot!(refused(&input("FP32", "[1, 4]", data)), @"input `input`: the model takes the shape [-1, 2, 2], not one of 2 dimensions");
    insta::assert_snapshot!(refused(&input("FP32", "[0, 2, 2]", r#""data": []"#)), @"input `input`: the model takes the shape [-1, 2, 2], not [0, 2, 2] (-1 stands for any size from 1)");
    insta::assert_snapshot!(refused(&input("FP32", "[-1, 2, 2]", data)), @"input `input`: the model takes the shape [-1, 2, 2], not [-1, 2, 2] (-1 stands for any size from 1)");
    insta::assert_snapshot!(refused(&input("FP32", "[5, 2, 2]", data)), @"input `input`: 5 images, and this server takes at most 4 at once: send them in several requests");
    insta::assert_snapshot!(refused(&input("FP32", "[4611686018427387904, 2, 2]", data)), @"input `input`: the model takes the shape [-1, 2, 2], not [4611686018427387904, 2, 2] (-1 stands for any size from 1)");
    insta::assert_snapshot!(refused(r#"{"inputs": []}"#), @"there is no input: give `input` FP32 [-1, 2, 2] or `image` BYTES [-1]");
    insta::assert_snapshot!(refused(r#"{"inputs": [{"name": "a", "datatype": "FP32", "shape": [1], "data": [1]}]}"#), @"input `a`: the model has no such input: give `input` FP32 [-1, 2, 2] or `image` BYTES [-1]");
    let two = r#"{"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 2, 2], "data": [1, 2, 3, 4]},
        {"name": "image", "datatype": "BYTES", "shape": [1], "data": [{"b64": ""}]}]}"#;
    insta::assert_snapshot!(refused(two), @"there are 2 inputs: give one of `input` FP32 [-1, 2, 2] or `image` BYTES [-1], never both");
    for text in ["", "[]", "{", "{}", r#"{"inputs": 3}"#, r#"{"inputs": [], "inputs": []}"#, "\u{feff}{}"] {
        assert!(refused(text).starts_with("the body is not the JSON of an inference request: "));
    }
}

#[test]
fn outputs_are_those_of_the_model() {
    let request = |rest: &str| {
        format!(
            r#"{{"id": "7", "inputs": [{{"name": "input", "datatype": "FP32", "shape": [1, 2, 2], "data": [1, 2, 3, 4]}}], {rest}}}"#
        )
    };
    let accepted = |rest: &str| accept(Element::Float, &request(rest), None);
    let all =
        accepted(r#""parameters": {"binary_data_output": true, "timeout": 1500, "mine": [1]}"#).unwrap();
    assert_eq!((&*all.id, all.timeout), ("7", Some(Duration::from_micros(1500))));
    let names: Vec<_> = all.outputs.iter().map(|one| (&*one.name, one.source, one.binary)).collect();
    assert_eq!(names, [("logits", Source::Output, true), ("probabilities", Source::Probabilities, true)]);
    assert_eq!(accepted(r#""parameters": {"timeout": 0}, "outputs": null"#).unwrap().timeout, None);

    let some = r#""parameters": {"binary_data_output": true}, "outputs": [
        {"name": "probabilities", "parameters": {"classification": 2, "binary_data": false}}]"#;
    let wanted = Wanted {
        name: "probabilities".into(),
        source: Source::Probabilities,
        form: Form::Classes(2),
        binary: false,
    };
    assert_eq!(accepted(some).unwrap().outputs, [wanted]);
    insta::assert_snapshot!(accepted(r#""outputs": [{"name": "x"}]"#).unwrap_err(), @"output `x`: the model has no such output: it has `logits`, `probabilities`");
    insta::assert_snapshot!(accepted(r#""outputs": [{"name": "logits"}, {"name": "logits"}]"#).unwrap_err(), @"output `logits`: it is asked for twice");
    insta::assert_snapshot!(accepted(r#""outputs": [{"name": "logits", "parameters": {"classification": -1}}]"#).unwrap_err(), @"the body is not the JSON of an inference request: invalid value: integer `-1`, expected usize at line 1 column 171");
}

#[test]
fn names_never_collide() {
    let outputs =
        [info("probabilities", Element::Float, &[4, 3]), info("mask", Element::Float, &[4, 1, 8, 8])];
    let model = Interface::new(&info("image", Element::Float16, &[4, 3, 8, 8]), &outputs, 3);
    let metadata = ModelMetadata::new("m", vec!["1".into()], &model);
    insta::assert_json_snapshot!(metadata, @r#"
        {
          "name": "m",
          "versions": [
            "1"
          ],
          "platform": "onnx_onnxv1",
          "inputs": [
            {
              "name": "image",
              "datatype": "FP16",
              "shape": [
                -1,
                3,
                8,
                8
              ]
            },
            {
              "name": "encoded_image",
              "datatype": "BYTES",
              "shape": [
                -1
              ]
            }
          ],
          "outputs": [
            {
              "name": "probabilities",
              "datatype": "FP32",
              "shape": [
                -1,
                3
              ]
            },
            {
              "name": "mask",
              "datatype": "FP32",
              "shape": [
                -1,
                1,
                8,
                8
              ]
            },
            {
              "name": "class_probabilities",
              "datatype": "FP32",
              "shape": [
                -1,
                3
              ]
            }
          ]
        }
        "#);
}

#[test]
fn a_response_is_json_with_binary_data_after_it() {
    let labels = ["a", "b:c", "d"].map(str::to_owned);
    let scores = || ArrayD::from_shape_vec(IxDyn(&[2, 3]), vec![0.5, 2.0, 2.0, -1.0, 1e-8, 0.25]).unwrap();
    let output = |form, binary| {
        let wanted = Wanted { name: "y".into(), source: Source::Output, form, binary };
        OutputTensor::new(wanted, scores(), &labels).unwrap()
    };
    let response =
        |outputs| Response { model_name: "m".into(), model_version: "1".into(), id: String::new(), outputs };
    let plain = response(vec![output(Form::Values, false), output(Form::Classes(2), false)]);
    let (body, header) = plain.to_json().unwrap();
    assert_eq!(header, None);
    insta::assert_snapshot!(str::from_utf8(&body).unwrap(), @r#"{"model_name":"m","model_version":"1","outputs":[{"name":"y","datatype":"FP32","shape":[2,3],"data":[0.5,2.0,2.0,-1.0,1e-8,0.25]},{"name":"y","datatype":"BYTES","shape":[2,2],"data":["2:1:b:c","2:2:d","0.25:2:d","0.00000001:1:b:c"]}]}"#);

    let mixed = response(vec![output(Form::Values, true), output(Form::Classes(9), true)]);
    let (body, header) = mixed.to_json().unwrap();
    let (json, binary) = body.split_at(header.unwrap());
    let json: Value = serde_json::from_slice(json).unwrap();
    let size =
        |index: usize| json["outputs"][index]["parameters"]["binary_data_size"].as_u64().unwrap() as usize;
    assert_eq!((size(0), size(0) + size(1)), (24, binary.len()));
    assert_eq!(binary[4..8], 2.0_f32.to_le_bytes());
    assert_eq!(binary[24..35], *b"\x07\x00\x00\x002:1:b:c");
    assert_eq!(json["outputs"][1]["shape"], json!([2, 3]));
}

#[test]
fn what_json_cannot_express_is_refused() {
    let wanted = |form| Wanted { name: "y".into(), source: Source::Output, form, binary: false };
    let values = ArrayD::from_shape_vec(IxDyn(&[1, 2]), vec![f32::NEG_INFINITY, 0.0]).unwrap();
    let output = OutputTensor::new(wanted(Form::Values), values.clone(), &[]).unwrap();
    let mut response =
        Response { model_name: "m".into(), model_version: "1".into(), id: "1".into(), outputs: vec![output] };
    insta::assert_snapshot!(response.to_json().unwrap_err().message(), @"output `y`: it holds -inf: ask for it as binary data");
    response.outputs[0].binary = true;
    assert!(response.to_json().is_ok());
    let error = OutputTensor::new(wanted(Form::Classes(1)), values, &["a".into()]).unwrap_err();
    insta::assert_snapshot!(error.message(), @"output `y`: `classification` needs one score for each of 1 classes, and its shape is [1, 2]");
}

#[test]
fn messages_stay_short() {
    let json = input(&"x".repeat(1 << 20), "[1]", r#""data": []"#);
    assert!(accept(Element::Float, &json, None).unwrap_err().len() < 500);
    let json = input("FP32", "[1, 2, 2]", &format!(r#""data": ["{}"]"#, "é".repeat(1 << 20)));
    assert!(accept(Element::Float, &json, None).unwrap_err().len() < 1000);
}

proptest! {
    /// JSON and binary data of the same floats are the same tensor, to the bit.
    #[test]
    fn json_and_binary_agree(values in proptest::collection::vec(any::<f32>().prop_filter("finite", |v| v.is_finite()), 4)) {
        let text = serde_json::to_string(&values).unwrap();
        let json = input("FP32", "[1, 2, 2]", &format!(r#""data": {text}"#));
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let binary = input("FP32", "[1, 2, 2]", r#""parameters": {"binary_data_size": 16}"#);
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let found = bits(floats(accept(Element::Float, &json, None)));
        prop_assert_eq!(&found, &bits(floats(accept(Element::Float, &binary, Some(&bytes)))));
        prop_assert_eq!(found, bits(values));
    }

    /// Byte strings of any content are split where they were joined.
    #[test]
    fn byte_strings_are_split(strings in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 1..5)) {
        let mut bytes = Vec::new();
        for string in &strings {
            bytes.extend((string.len() as u32).to_le_bytes());
            bytes.extend(string);
        }
        let (count, size) = (strings.len(), bytes.len());
        let json = format!(
            r#"{{"inputs": [{{"name": "image", "datatype": "BYTES", "shape": [{count}], "parameters": {{"binary_data_size": {size}}}}}]}}"#
        );
        prop_assert_eq!(images(accept(Element::Float, &json, Some(&bytes))), strings);
    }

    /// Whatever is received is accepted or refused.
    #[test]
    fn anything_is_answered(body in proptest::collection::vec(any::<u8>(), 0..64), header in any::<Option<usize>>()) {
        let body = Bytes::from(body);
        if let Ok(request) = json::parse(&body, header) {
            let _ = interface(Element::Float).accept(request, 4);
        }
    }
}
