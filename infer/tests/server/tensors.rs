//! JSON and tensors of the Open Inference Protocol that are wrong in every part.

use serde_json::{Value, json};

use crate::client::{ask, ask_and_end};
use crate::malformed::GROWTH;
use crate::server::{Server, png};
use crate::support::{RED, SIZE};

const INFER: &str = "/v2/models/model/infer";
const VALUES: usize = 3 * (SIZE * SIZE) as usize;

/// Sends JSON, which has to be refused as the client's fault.
#[track_caller]
fn is_refused(server: &Server, body: &[u8]) {
    let answer = server.post(INFER, "application/json", body).expect("an answer");
    let start = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
    assert!([400, 413, 415, 422].contains(&answer.status), "{start}: {answer:?}");
    let error: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{start}: {answer:?}"));
    assert!(!error["error"].as_str().unwrap().is_empty(), "{start}: {answer:?}");
}

/// Name of the model's own input.
fn input_of(server: &Server) -> String {
    let metadata: Value = serde_json::from_slice(&server.get("/v2/models/model").body).unwrap();
    metadata["inputs"][0]["name"].as_str().unwrap().to_owned()
}

fn tensor(name: &str, shape: &Value, datatype: &str, data: &Value) -> Value {
    json!({"inputs": [{"name": name, "shape": shape, "datatype": datatype, "data": data}]})
}

#[test]
fn a_right_tensor_is_answered() {
    let server = Server::start(&["--queue", "2"]);
    let body = tensor(&input_of(&server), &json!([1, 3, SIZE, SIZE]), "FP32", &json!(vec![0.5; VALUES]));
    let answer = server.post(INFER, "application/json", body.to_string().as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn wrong_tensors_are_refused() {
    let server = Server::start(&["--queue", "2"]);
    let name = &input_of(&server);
    let shape = &json!([1, 3, SIZE, SIZE]);
    let data = &json!(vec![0.5; VALUES]);
    let of_shape = |shape: Value| tensor(name, &shape, "FP32", data);
    let wrong = [
        of_shape(json!([])),
        of_shape(json!([1, 3, SIZE])),
        of_shape(json!([VALUES])),
        of_shape(json!([2, 3, SIZE, SIZE])),
        of_shape(json!([0, 3, SIZE, SIZE])),
        of_shape(json!([-1, 3, SIZE, SIZE])),
        of_shape(json!([1, SIZE, SIZE, 3])),
        of_shape(json!([1, 3, SIZE, 1.5])),
        of_shape(json!([1, 3, SIZE, "16"])),
        of_shape(json!([u64::MAX, 3, SIZE, SIZE])),
        of_shape(json!([1u64 << 32, 1u64 << 32, SIZE, SIZE])),
        of_shape(json!([i64::MAX, i64::MAX, i64::MAX, i64::MAX])),
        of_shape(json!(vec![1; 100_000])),
        of_shape(json!("1,3,16,16")),
        of_shape(Value::Null),
        tensor("other", shape, "FP32", data),
        tensor("", shape, "FP32", data),
        tensor(name, shape, "INT64", data),
        tensor(name, shape, "FP16", data),
        tensor(name, shape, "BYTES", data),
        tensor(name, shape, "", data),
        tensor(name, shape, "FP32", &json!([])),
        tensor(name, shape, "FP32", &json!(vec![0.5; VALUES - 1])),
        tensor(name, shape, "FP32", &json!(vec![0.5; VALUES + 1])),
        tensor(name, shape, "FP32", &json!(vec!["a"; VALUES])),
        tensor(name, shape, "FP32", &json!(vec![Value::Null; VALUES])),
        tensor(name, shape, "FP32", &json!(vec![true; VALUES])),
        tensor(name, shape, "FP32", &json!({"a": 1})),
        tensor(name, shape, "FP32", &Value::Null),
        tensor("image", &json!([1]), "BYTES", &json!([])),
        tensor("image", &json!([1]), "BYTES", &json!(["not an image"])),
        tensor("image", &json!([1]), "FP32", &json!([1.0])),
        tensor("image", &json!([1, 1]), "BYTES", &json!(["a"])),
        tensor("image", &json!([0]), "BYTES", &json!([])),
        tensor("image", &json!([1_000_000_000_000u64]), "BYTES", &json!(["a"])),
        json!({"inputs": []}),
        json!({"inputs": {}}),
        json!({"inputs": [null]}),
        json!({"inputs": [{}]}),
        json!({"inputs": [[]]}),
        json!({}),
        json!([]),
        json!(null),
        json!("inputs"),
    ];
    for body in &wrong {
        is_refused(&server, body.to_string().as_bytes());
    }
    server.is_well();
}

#[test]
fn values_that_are_no_numbers_give_no_answer() {
    let server = Server::start(&["--queue", "2"]);
    let name = input_of(&server);
    // JSON has no NaN, and 1e999 is infinite.
    for value in ["NaN", "Infinity", "-Infinity", "1e999", "0x10", "01", "1.", "--1", "1e", "\"1\""] {
        let data = vec![value; VALUES].join(",");
        let body = format!(
            r#"{{"inputs": [{{"name": "{name}", "shape": [1, 3, {SIZE}, {SIZE}], "datatype": "FP32", "data": [{data}]}}]}}"#
        );
        is_refused(&server, body.as_bytes());
    }
    server.is_well();
}

#[test]
fn json_that_is_none_is_refused() {
    let server = Server::start(&["--queue", "2"]);
    let before = server.resident();
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(200_000), close.repeat(200_000));
    let bodies = [
        Vec::new(),
        b"{".to_vec(),
        b"\xef\xbb\xbf{}".to_vec(),
        b"{\"inputs\": \"\xff\xfe\"}".to_vec(),
        b"{\"inputs\": [}".to_vec(),
        b"{\"inputs\": []} trailing".to_vec(),
        vec![0; 1000],
        deep("[", "]").into_bytes(),
        deep("{\"inputs\":", "}").into_bytes(),
        format!("{{\"inputs\": {}}}", deep("[", "]")).into_bytes(),
        format!("{{\"id\": {}}}", deep("[", "]")).into_bytes(),
        format!("{{\"parameters\": {}}}", deep("{\"a\":", "}")).into_bytes(),
        format!("{{\"inputs\": [{}", "{},".repeat(300_000)).into_bytes(),
        format!("{{\"{}\": 1}}", "k".repeat(1 << 20)).into_bytes(),
        format!("{{\"inputs\": [{{\"name\": \"{}\"}}]}}", "\\u0000".repeat(100_000)).into_bytes(),
    ];
    for body in &bodies {
        is_refused(&server, body);
    }
    server.is_well();
    assert!(server.resident() < before + GROWTH, "{before} -> {} MiB", server.resident());
}

/// Sends JSON with bytes after it, and `length` as the length of the JSON.
fn with_binary(server: &Server, json: &Value, length: &str, bytes: &[u8]) -> Option<u16> {
    let json = json.to_string();
    let all = json.len() + bytes.len();
    let head = format!(
        "POST {INFER} HTTP/1.1\r\nhost: a\r\ncontent-type: application/octet-stream\r\n\
         inference-header-content-length: {}\r\ncontent-length: {all}\r\n\r\n",
        length.replace("right", &json.len().to_string()),
    );
    let request = [head.as_bytes(), json.as_bytes(), bytes].concat();
    Some(ask(server.address, &request)?.status)
}

fn binary_input(name: &str, shape: &Value, datatype: &str, size: &Value) -> Value {
    json!({"inputs": [{"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": size}}]})
}

#[test]
fn lengths_of_binary_tensors_that_lie_are_refused() {
    let server = Server::start(&["--queue", "2"]);
    let name = &input_of(&server);
    let shape = &json!([1, 3, SIZE, SIZE]);
    let bytes: Vec<u8> = std::iter::repeat_n(0.5f32.to_le_bytes(), VALUES).flatten().collect();
    let size = 4 * VALUES;
    let fp32 = |size: Value| binary_input(name, shape, "FP32", &size);
    assert_eq!(with_binary(&server, &fp32(json!(size)), "right", &bytes), Some(200));
    let wrong_sizes = [
        json!(0),
        json!(size - 1),
        json!(size - 4),
        json!(size + 1),
        json!(size + 4),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(1e300),
        json!("12"),
        json!(null),
        json!([size]),
    ];
    for wrong in wrong_sizes {
        let status = with_binary(&server, &fp32(wrong.clone()), "right", &bytes);
        assert_eq!(status, Some(400), "binary_data_size {wrong}");
    }
    for length in
        ["0", "1", "-1", "99999999", "18446744073709551615", "99999999999999999999", "abc", "", "1e2"]
    {
        let status = with_binary(&server, &fp32(json!(size)), length, &bytes);
        assert_eq!(status, Some(400), "Inference-Header-Content-Length {length}");
    }
    let more = [bytes.as_slice(), &[0; 4]].concat();
    assert_eq!(with_binary(&server, &fp32(json!(size)), "right", &more), Some(400), "bytes left over");
    assert_eq!(
        with_binary(&server, &fp32(json!(size)), "right", &bytes[..size - 4]),
        Some(400),
        "bytes missing"
    );
    let both = json!({"inputs": [{"name": name, "shape": shape, "datatype": "FP32", "data": vec![0.5; VALUES],
        "parameters": {"binary_data_size": size}}]});
    assert_eq!(with_binary(&server, &both, "right", &bytes), Some(400), "data twice");
    server.is_well();
}

#[test]
fn lengths_inside_of_byte_strings_that_lie_are_refused() {
    let server = Server::start(&["--queue", "2"]);
    let image = png(RED);
    let element = |length: u32, bytes: &[u8]| [&length.to_le_bytes(), bytes].concat();
    let right = element(image.len() as u32, &image);
    let send = |shape: Value, bytes: &[u8]| {
        with_binary(&server, &binary_input("image", &shape, "BYTES", &json!(bytes.len())), "right", bytes)
    };
    assert_eq!(send(json!([1]), &right), Some(200));
    let two = [right.as_slice(), &right].concat();
    assert_eq!(send(json!([1]), &two), Some(400), "two for one");
    assert_eq!(send(json!([2]), &right), Some(400), "one for two");
    assert_eq!(send(json!([i64::MAX]), &right), Some(400), "one for very many");
    for length in [0, 1, image.len() as u32 - 1, image.len() as u32 + 1, u32::MAX, i32::MAX as u32 + 1] {
        assert_eq!(send(json!([1]), &element(length, &image)), Some(400), "{length}");
    }
    for bytes in [&right[..0], &right[..1], &right[..3], &right[..4]] {
        assert_eq!(send(json!([1]), bytes), Some(400), "{} bytes", bytes.len());
    }
    server.is_well();
}

#[test]
fn more_images_than_the_queue_takes_are_refused_as_a_whole() {
    let server = Server::start(&["--queue", "2"]);
    let image = png(RED);
    let element = [&(image.len() as u32).to_le_bytes()[..], &image].concat();
    for _ in 0..5 {
        let bytes = element.repeat(100);
        let json = binary_input("image", &json!([100]), "BYTES", &json!(bytes.len()));
        let status = with_binary(&server, &json, "right", &bytes);
        assert!(matches!(status, Some(400 | 413 | 429)), "{status:?}");
    }
    server.is_well();
}

#[test]
fn requests_to_infer_cut_at_every_place_hold_nothing() {
    let server = Server::start(&["--queue", "2"]);
    let body = tensor("image", &json!([1]), "BYTES", &json!(["not an image"])).to_string();
    let request = crate::client::post(INFER, "application/json", body.as_bytes());
    for length in (1..request.len()).step_by(7) {
        if let Some(answer) = ask_and_end(server.address, &request[..length]) {
            assert!((400..=408).contains(&answer.status), "{length}: {answer:?}");
        }
    }
    server.is_well();
}
