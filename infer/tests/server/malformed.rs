//! Requests that are not HTTP, or lie about themselves.

use std::fmt::Write as _;
use std::io::Write;

use crate::client::{Answer, ask, ask_and_end, connect, post};
use crate::server::{Server, png};
use crate::support::{Model, RED, Workplace};

/// Memory that a server may grow by in a test, in MiB.
pub const GROWTH: u64 = 96;

#[test]
fn malformed_requests_are_refused() {
    let server = Server::start(&["--queue", "2"]);
    let smuggled = "POST /v1/classify HTTP/1.1\r\nhost: a\r\n";
    let requests = [
        "\r\n\r\n\r\n\r\n",
        "hello\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /\0 HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nho st: a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\u{7}\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n",
        &format!("{smuggled}content-length: -1\r\n\r\n"),
        &format!("{smuggled}content-length: 1e3\r\n\r\n"),
        &format!("{smuggled}content-length: 99999999999999999999999\r\n\r\n"),
        &format!("{smuggled}content-length: 3\r\ncontent-length: 5\r\n\r\nabcde"),
        &format!("{smuggled}transfer-encoding: gzip\r\n\r\nabc"),
        &format!("{smuggled}transfer-encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n"),
        &format!("{smuggled}transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
        &format!("{smuggled}transfer-encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n"),
        &format!("{smuggled}transfer-encoding: chunked\r\n\r\n5\r\nabc"),
    ];
    for request in requests {
        if let Some(answer) = ask_and_end(server.address, request.as_bytes()) {
            assert!((400..=505).contains(&answer.status), "{request:?}: {answer:?}");
        }
    }
    server.is_well();
}

#[test]
fn header_bombs_are_refused() {
    let server = Server::start(&["--queue", "2"]);
    let before = server.resident();
    let many = (0..100_000).fold(String::new(), |mut text, index| {
        let _ = write!(text, "x-{index}: 1\r\n");
        text
    });
    let long = "a".repeat(16 << 20);
    let requests = [
        format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n"),
        format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: a\r\n{long}: x\r\n\r\n"),
        format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n"),
        format!("{long} / HTTP/1.1\r\nhost: a\r\n\r\n"),
        long,
    ];
    for request in &requests {
        if let Some(answer) = ask(server.address, request.as_bytes()) {
            assert!([400, 414, 431].contains(&answer.status), "{answer:?}");
        }
    }
    server.is_well();
    assert!(server.resident() < before + GROWTH, "{before} -> {} MiB", server.resident());
}

#[test]
fn a_body_shorter_than_its_length_holds_no_permit() {
    let server = Server::start(&["--queue", "2"]);
    let whole = post("/v1/classify", "image/png", &png(RED));
    for _ in 0..20 {
        if let Some(answer) = ask_and_end(server.address, &whole[..whole.len() - 10]) {
            assert!(answer.status == 400 || answer.status == 408, "{answer:?}");
        }
    }
    server.is_well();
}

#[test]
fn a_body_that_says_to_be_huge_is_refused_unread() {
    let server = Server::start(&["--queue", "2"]);
    for length in ["1000000000000", "9223372036854775807", "18446744073709551615"] {
        let head = format!("POST /v1/classify HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
        let answer = ask(server.address, head.as_bytes());
        // The largest is no length for hyper, which answers 431.
        let status = answer.map(|answer| answer.status);
        assert!(matches!(status, Some(413 | 431)), "{length}: {status:?}");
    }
    server.is_well();
}

#[test]
fn a_chunked_body_without_end_is_cut_off() {
    let server = Server::start(&["--queue", "2"]);
    let before = server.resident();
    let mut stream = connect(server.address);
    stream.write_all(b"POST /v1/classify HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
    let chunk = [b"100000\r\n".as_slice(), &vec![0; 1 << 20], b"\r\n"].concat();
    // More than any limit of a body.
    for _ in 0..1024 {
        if stream.write_all(&chunk).is_err() {
            break;
        }
    }
    if let Ok(Some(answer)) = Answer::read(stream) {
        assert_eq!(answer.status, 413, "{answer:?}");
    }
    server.is_well();
    assert!(server.resident() < before + 2 * GROWTH, "{before} -> {} MiB", server.resident());
}

#[test]
fn names_of_models_do_not_leave_the_server() {
    let server = Server::start(&["--queue", "2"]);
    let long = "a".repeat(4000);
    let names = [
        "../../../../etc/passwd",
        "..%2f..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/etc/passwd",
        "..%5c..%5cmodel",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "model.onnx",
        "model%00",
        "model%0d%0aset-cookie:%20a",
        "%ff%fe",
        "%",
        "%zz",
        &long,
    ];
    for name in names {
        for rest in ["", "/ready", "/infer", "/versions/1", "/versions/..%2f1"] {
            let answer = server.get(&format!("/v2/models/{name}{rest}"));
            assert!([400, 404, 405, 414].contains(&answer.status), "{name}{rest}: {answer:?}");
            assert!(!answer.text().contains("root:") && !answer.head.contains("set-cookie"), "{answer:?}");
        }
        for path in [format!("/v2/models/model/versions/{name}"), format!("/{name}")] {
            let answer = server.get(&path);
            assert!([400, 404, 405, 414].contains(&answer.status), "{path}: {answer:?}");
            assert!(!answer.text().contains("root:"), "{answer:?}");
        }
    }
    server.is_well();
}

#[test]
fn unexpected_methods_are_refused() {
    let server = Server::start(&["--queue", "2"]);
    for method in ["DELETE", "PUT", "PATCH", "TRACE", "CONNECT", "PURGE"] {
        for path in ["/v1/classify", "/v2/models/model/infer", "/v2", "/metrics"] {
            let request = format!("{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc");
            if let Some(answer) = ask(server.address, request.as_bytes()) {
                assert!([400, 404, 405, 501].contains(&answer.status), "{method} {path}: {answer:?}");
            }
        }
    }
    server.is_well();
}

#[test]
fn choices_that_are_wrong_are_refused() {
    let server = Server::start(&["--queue", "2"]);
    let status = |choices: &str| {
        let answer =
            server.post(&format!("/v1/classify?{choices}"), "image/png", &png(RED)).expect("an answer");
        assert!(answer.status == 200 || answer.text().contains("\"error\""), "{choices}: {answer:?}");
        answer.status
    };
    for right in [
        "",
        "top_k=1",
        "top_k=18446744073709551615",
        "model=model",
        "model=model&version=1",
        "timeout_ms=60000",
    ] {
        assert_eq!(status(right), 200, "{right}");
    }
    for wrong in [
        "top_k=-1",
        "top_k=1.5",
        "top_k=a",
        "top_k=99999999999999999999",
        "top_k=1&top_k=2",
        "topk=1",
        "timeout_ms=-1",
        "attention=maybe",
        "attention=true",
        "%ff",
    ] {
        assert_eq!(status(wrong), 400, "{wrong}");
    }
    for missing in
        ["model=other", "model=..%2fmodel", "model=model&version=2", "model=", "model=model&version=a"]
    {
        assert!(matches!(status(missing), 400 | 404), "{missing}");
    }
    assert_eq!(status("timeout_ms=0"), 504);
    server.is_well();
}

#[test]
fn without_a_key_nothing_is_told() {
    let place = Workplace::without_model();
    std::fs::write(place.path("model.onnx"), Model::default().certified()).unwrap();
    std::fs::write(place.path("keys.txt"), "# of the tests\nopen sesame\n").unwrap();
    let server = Server::of(place, &["--queue", "2", "--api-key-file", "keys.txt"]);
    let ask_with = |request: &str, header: &str| {
        let request = format!("{request} HTTP/1.1\r\nhost: a\r\n{header}content-length: 0\r\n\r\n");
        ask(server.address, request.as_bytes()).expect("an answer").status
    };
    for request in
        ["GET /v2", "GET /v1/models", "GET /v2/models/model", "POST /v1/classify", "GET /metrics", "GET /x"]
    {
        for wrong in ["", "x-api-key: \r\n", "x-api-key: sesame\r\n", "authorization: Basic open sesame\r\n"]
        {
            assert_eq!(ask_with(request, wrong), 401, "{request} with {wrong:?}");
        }
        for right in ["x-api-key: open sesame\r\n", "authorization: Bearer open sesame\r\n"] {
            assert_ne!(ask_with(request, right), 401, "{request} with {right:?}");
        }
    }
    assert_eq!(server.get("/v2/health/ready").status, 200);
    server.did_not_panic();
}
