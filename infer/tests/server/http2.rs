//! Floods of HTTP/2 frames.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::client::{PATIENCE, connect};
use crate::malformed::GROWTH;
use crate::server::Server;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = &(payload.len() as u32).to_be_bytes()[1..];
    [length, &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields of a request, without compression; the method is GET if there is no content type.
fn fields(path: &str, content_type: Option<&str>) -> Vec<u8> {
    let literal = |name: u8, value: &str| [&[name, value.len() as u8], value.as_bytes()].concat();
    let method = if content_type.is_some() { 0x83 } else { 0x82 };
    // Indices of the static table: scheme 6, path 4, authority 1, content-type 31 (with a prefix of 4 bits).
    let mut fields = [&[method, 0x86], literal(4, path).as_slice(), &literal(1, "a")].concat();
    if let Some(kind) = content_type {
        fields.push(0x0f);
        fields.extend(literal(16, kind));
    }
    fields
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &fields(path, None))
}

/// Connects with prior knowledge of HTTP/2, with these settings of the client.
fn open(server: &Server, settings: &[u8]) -> TcpStream {
    let mut stream = connect(server.address);
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, settings)).unwrap();
    stream
}

/// Sends frames until the server closes or all are sent, reading what it says meanwhile; checks that it does not hang.
fn flood(mut stream: TcpStream, frames: impl IntoIterator<Item = Vec<u8>>) {
    let mut reader = stream.try_clone().unwrap();
    let reading = std::thread::spawn(move || io::copy(&mut reader, &mut io::sink()));
    let mut pending = Vec::new();
    for frame in frames {
        pending.extend(frame);
        if pending.len() > 1 << 16 {
            if stream.write_all(&pending).is_err() {
                break;
            }
            pending.clear();
        }
    }
    let _ = stream.write_all(&pending);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let ended = reading.join().unwrap();
    let timed_out =
        |error: &io::Error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
    assert!(!ended.as_ref().is_err_and(timed_out), "the connection did not end within {PATIENCE:?}");
}

/// Floods a server, which has to be well then and not to have grown.
fn survives(settings: &[u8], frames: impl IntoIterator<Item = Vec<u8>>) {
    let server = Server::start(&["--queue", "2"]);
    let before = server.resident();
    flood(open(&server, settings), frames);
    server.wait_until("free of permits", || server.classify().is_some_and(|answer| answer.status == 200));
    server.is_well();
    assert!(server.resident() < before + GROWTH, "{before} -> {} MiB", server.resident());
}

/// Odd numbers, which are the streams of a client.
fn streams() -> impl Iterator<Item = u32> {
    (1..).step_by(2)
}

#[test]
fn a_request_without_upgrade_is_answered() {
    let server = Server::start(&["--queue", "2"]);
    let mut stream = open(&server, &[]);
    stream.write_all(&get(1, "/v2/health/live")).unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).unwrap();
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).unwrap();
        if head[3] == HEADERS {
            // Index 8 of the static table is `:status 200`.
            assert_eq!(payload[0], 0x88, "{payload:?}");
            break;
        }
    }
}

#[test]
fn rapid_resets() {
    let cancel = 8u32.to_be_bytes();
    survives(
        &[],
        streams().take(50_000).map(move |stream| {
            [get(stream, "/v2/health/ready"), frame(RST_STREAM, 0, stream, &cancel)].concat()
        }),
    );
}

#[test]
fn rapid_resets_of_requests_with_bodies() {
    let cancel = 8u32.to_be_bytes();
    let post = fields("/v1/classify", Some("image/png"));
    survives(
        &[],
        streams().take(20_000).map(move |stream| {
            let head = frame(HEADERS, END_HEADERS, stream, &post);
            [head, frame(DATA, 0, stream, b"\x89PNG"), frame(RST_STREAM, 0, stream, &cancel)].concat()
        }),
    );
}

#[test]
fn more_streams_than_allowed() {
    survives(&[], streams().take(20_000).map(|stream| get(stream, "/metrics")));
}

#[test]
fn requests_with_bodies_that_never_end() {
    let post = fields("/v1/classify", Some("image/png"));
    survives(&[], streams().take(5_000).map(move |stream| frame(HEADERS, END_HEADERS, stream, &post)));
}

#[test]
fn answers_that_no_window_is_opened_for() {
    // SETTINGS_INITIAL_WINDOW_SIZE (4) is 0.
    survives(&[0, 4, 0, 0, 0, 0], streams().take(5_000).map(|stream| get(stream, "/metrics")));
}

#[test]
fn settings_and_pings() {
    let flood = std::iter::repeat_with(|| [frame(SETTINGS, 0, 0, &[]), frame(PING, 0, 0, &[0; 8])].concat());
    survives(&[], flood.take(100_000));
}

#[test]
fn priorities_and_window_updates() {
    let update = |stream| frame(WINDOW_UPDATE, 0, stream, &1u32.to_be_bytes());
    survives(
        &[],
        streams()
            .take(100_000)
            .map(move |stream| [frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 1]), update(0)].concat()),
    );
}

#[test]
fn empty_data() {
    let post = frame(HEADERS, END_HEADERS, 1, &fields("/v1/classify", Some("image/png")));
    survives(&[], std::iter::once(post).chain((0..100_000).map(|_| frame(DATA, 0, 1, &[]))));
}

#[test]
fn headers_that_never_end() {
    let first = frame(HEADERS, END_STREAM, 1, &fields("/", None));
    let field = [&[0, 1, b'x', 127, 0x80, 0x7e][..], &[b'a'; 127 + 126 * 128]].concat();
    survives(&[], std::iter::once(first).chain((0..10_000).map(move |_| frame(CONTINUATION, 0, 1, &field))));
}

#[test]
fn headers_that_unpack_to_many() {
    // A long field goes into the dynamic table (index 62), and is then referred to by one byte each time.
    let value = [b'a'; 4000];
    let entry = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &value[..]].concat();
    let first = [fields("/", None), entry].concat();
    let bomb = vec![0x80 | 62; 16_000];
    survives(
        &[],
        std::iter::once(frame(HEADERS, END_STREAM | END_HEADERS, 1, &first)).chain(
            streams().skip(1).take(500).map(move |stream| {
                frame(HEADERS, END_STREAM | END_HEADERS, stream, &[fields("/", None), bomb.clone()].concat())
            }),
        ),
    );
}

#[test]
fn grpc_messages_that_lie() {
    let server = Server::start(&["--queue", "2"]);
    let before = server.resident();
    let head = fields("/inference.GRPCInferenceService/ModelInfer", Some("application/grpc"));
    // A flag for compression, and the length of the message.
    let message = |flag: u8, length: u32, bytes: &[u8]| [&[flag], &length.to_be_bytes()[..], bytes].concat();
    let messages = [
        Vec::new(),
        vec![0],
        message(0, 0, &[]),
        message(0, u32::MAX, b"abc"),
        message(0, 10, b"abc"),
        message(0, 3, b"abcdef"),
        message(0, 8, &[0xff; 8]),
        message(1, 3, b"abc"),
        message(7, 3, b"abc"),
        // Fields of protobuf whose lengths are not there: a name, an input, raw contents.
        message(0, 6, &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        message(0, 6, &[0x2a, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        message(0, 7, &[0x3a, 0x80, 0x80, 0x80, 0x80, 0x08, 0]),
    ];
    for message in &messages {
        for flags in [0, END_STREAM] {
            let frames = [frame(HEADERS, END_HEADERS, 1, &head), frame(DATA, flags, 1, message)];
            flood(open(&server, &[]), frames);
        }
    }
    server.is_well();
    assert!(server.resident() < before + GROWTH, "{before} -> {} MiB", server.resident());
}

#[test]
fn frames_that_are_wrong() {
    let server = Server::start(&["--queue", "2"]);
    let wrong = [
        vec![0xff; 9],
        [vec![0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1], vec![0; 1000]].concat(),
        frame(DATA, 0, 1, b"a"),
        frame(DATA, 0, 0, b"a"),
        frame(HEADERS, END_HEADERS, 0, &fields("/", None)),
        frame(HEADERS, END_HEADERS, 2, &fields("/", None)),
        frame(HEADERS, END_HEADERS | 8, 1, &[0xff; 3]),
        frame(HEADERS, END_HEADERS, 1, &[0xff; 100]),
        frame(SETTINGS, 0, 0, &[1, 2, 3]),
        frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]),
        frame(PING, 0, 0, &[1]),
        frame(RST_STREAM, 0, 1, &[0; 4]),
        frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
        frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffffu32.to_be_bytes()),
        frame(CONTINUATION, END_HEADERS, 1, &[]),
        frame(99, 0xff, 0x7fff_ffff, b"unknown"),
    ];
    for frames in wrong {
        flood(open(&server, &[]), [frames]);
    }
    server.is_well();
}

#[test]
fn a_preface_that_is_never_followed_stops_nobody() {
    let server = Server::start(&["--queue", "2"]);
    let silent: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = connect(server.address);
            stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
            stream
        })
        .collect();
    std::thread::sleep(Duration::from_millis(200));
    server.is_well();
    drop(silent);
}
