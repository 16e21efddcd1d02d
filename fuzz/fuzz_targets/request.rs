//! Fuzzes requests of the server: JSON with tensors as lists and as binary data, and messages of gRPC.
#![no_main]

use bytes::Bytes;
use ferronnx_infer::serve::grpc::{codec, messages};
use ferronnx_infer::serve::protocol::{Content, Interface, Request, json};
use ferronnx_models::onnx::{Dim, Element, TensorInfo};
use libfuzzer_sys::fuzz_target;

/// Largest number of images.
const MOST: usize = 8;

// The first two bytes choose the transport, the model and the length of the JSON.
fuzz_target!(|bytes: &[u8]| {
    let [choice, length, rest @ ..] = bytes else { return };
    let element = [Element::Float, Element::Uint8, Element::Float16, Element::Double][usize::from(choice % 4)];
    let body = Bytes::copy_from_slice(rest);
    match choice / 4 % 3 {
        0 => parsed(element, rest.len(), json::parse(&body, None).ok()),
        1 => parsed(element, rest.len(), json::parse(&body, Some(usize::from(*length) * 2)).ok()),
        _ => {
            let message = codec::decode(body).ok();
            parsed(element, rest.len(), message.and_then(|message| messages::request(message).ok()));
        }
    }
});

/// Accepts a request of `size` bytes and checks what was read.
fn parsed(element: Element, size: usize, request: Option<Request<'_>>) {
    let Some(request) = request else { return };
    let info = |name: &str, element, sizes: &[usize]| TensorInfo {
        name: name.into(),
        element,
        shape: [Dim::Symbol("n".into())].into_iter().chain(sizes.iter().map(|&size| Dim::Fixed(size))).collect(),
    };
    let model = Interface::new(&info("x", element, &[1, 2]), &[info("y", Element::Float, &[3])], 3);
    let Ok(accepted) = model.accept(request, MOST) else { return };
    let rows = accepted.content.rows();
    assert!((1..=MOST).contains(&rows));
    match accepted.content {
        Content::Images(images) => assert!(images.iter().map(Bytes::len).sum::<usize>() <= size),
        Content::Floats(tensor) => assert_eq!(tensor.shape(), [rows, 1, 2]),
        Content::Bytes(tensor) => assert_eq!(tensor.shape(), [rows, 1, 2]),
    }
    assert!(!accepted.outputs.is_empty() && accepted.outputs.len() <= 2);
}
