//! Small bodies that become large: images of many pixels, compressed bodies, and bodies of many parts.

use std::io::Write;
use std::thread;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use crate::client::ask;
use crate::malformed::GROWTH;
use crate::server::{Server, png};
use crate::support::RED;

/// PNG of one colour that is larger than it looks: rows of zeros, compressed.
fn black(width: u32, height: u32) -> Vec<u8> {
    let mut rows = ZlibEncoder::new(Vec::new(), Compression::best());
    let row = vec![0; 1 + 3 * width as usize];
    (0..height).for_each(|_| rows.write_all(&row).unwrap());
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    for (kind, content) in [(b"IHDR", header), (b"IDAT", rows.finish().unwrap()), (b"IEND", Vec::new())] {
        let chunk = [kind.as_slice(), &content].concat();
        let mut checksum = flate2::Crc::new();
        checksum.update(&chunk);
        png.extend_from_slice(&(content.len() as u32).to_be_bytes());
        png.extend_from_slice(&chunk);
        png.extend_from_slice(&checksum.sum().to_be_bytes());
    }
    png
}

#[test]
fn images_of_too_many_pixels_are_refused_by_their_header() {
    let server = Server::start(&["--queue", "16"]);
    let bomb = black(16_384, 16_384);
    assert!(bomb.len() < 2 << 20, "{} bytes", bomb.len());
    let before = server.resident();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let answer = server.post("/v1/classify", "image/png", &bomb).expect("an answer");
                assert!([400, 413, 422].contains(&answer.status), "{answer:?}");
                assert!(answer.text().contains("16384x16384"), "{answer:?}");
            });
        }
    });
    server.is_well();
    assert!(server.resident() < before + GROWTH, "{before} -> {} MiB", server.resident());
}

#[test]
fn large_images_at_once_share_the_memory() {
    let server = Server::start(&["--queue", "16"]);
    let large = black(4000, 4000);
    let peak = thread::scope(|scope| {
        let requests: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| server.post("/v1/classify", "image/png", &large).expect("an answer").status)
            })
            .collect();
        let mut peak = 0;
        while requests.iter().any(|request| !request.is_finished()) {
            peak = peak.max(server.resident());
            thread::sleep(std::time::Duration::from_millis(5));
        }
        for status in requests.into_iter().map(|request| request.join().unwrap()) {
            assert!([200, 413, 429, 504].contains(&status), "{status}");
        }
        peak
    });
    // One is 46 MiB of pixels.
    let cores = thread::available_parallelism().unwrap().get() as u64;
    assert!(peak < 200 + 3 * 46 * cores, "{peak} MiB");
    server.is_well();
}

#[test]
fn compressed_bodies_are_not_unpacked() {
    let server = Server::start(&["--queue", "2"]);
    let before = server.resident();
    let mut zeros = GzEncoder::new(Vec::new(), Compression::best());
    (0..1024).for_each(|_| zeros.write_all(&[0; 1 << 20]).unwrap());
    let zeros = zeros.finish().unwrap();
    for path in ["/v1/classify", "/v2/models/model/infer"] {
        for encoding in ["gzip", "deflate", "br", "zstd", "gzip, gzip"] {
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-encoding: {encoding}\r\n\
                 content-length: {}\r\n\r\n",
                zeros.len()
            );
            let answer = ask(server.address, &[head.as_bytes(), &zeros].concat()).expect("an answer");
            assert!([400, 413, 415].contains(&answer.status), "{path} {encoding}: {answer:?}");
        }
    }
    server.is_well();
    assert!(server.resident() < before + GROWTH, "{before} -> {} MiB", server.resident());
}

/// Multipart body of these parts.
fn multipart(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (headers, content) in parts {
        body.extend_from_slice(format!("--x\r\n{headers}\r\n").as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    [body.as_slice(), b"--x--\r\n"].concat()
}

const PART: &str = "content-disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n";

#[test]
fn forms_that_are_damaged_or_too_long_are_refused() {
    let server = Server::start(&["--queue", "2"]);
    let before = server.resident();
    let image = png(RED);
    let right = multipart(&[(PART, &image)]);
    let form = "multipart/form-data; boundary=x";
    assert_eq!(server.post("/v1/classify", form, &right).unwrap().status, 200);
    let three = server.post("/v1/classify", form, &multipart(&[(PART, &image[..]); 3])).unwrap();
    assert!(three.status == 413 && three.text().contains("3 images"), "{three:?}");
    let many: Vec<(&str, &[u8])> = vec![(PART, &image); 10_000];
    let bodies = [
        (form, right[..right.len() - 20].to_vec()),
        (form, b"--x--\r\n".to_vec()),
        (form, Vec::new()),
        (form, b"--x".repeat(100_000)),
        (form, multipart(&many)),
        ("multipart/form-data", right.clone()),
        ("multipart/form-data; boundary=", right.clone()),
        ("multipart/form-data; boundary=other", right.clone()),
        ("multipart/form-data; boundary=\"", right),
    ];
    for (kind, body) in &bodies {
        let answer = server.post("/v1/classify", kind, body);
        let status = answer.as_ref().map(|answer| answer.status);
        assert!(
            matches!(status, Some(400 | 413 | 415 | 422 | 429)),
            "{kind}, {} bytes: {answer:?}",
            body.len()
        );
    }
    server.is_well();
    assert!(server.resident() < before + GROWTH, "{before} -> {} MiB", server.resident());
}

#[test]
fn one_bad_image_of_a_form_fails_alone() {
    let server = Server::start(&["--queue", "4"]);
    let image = png(RED);
    let body = multipart(&[(PART, &image), (PART, b"no image"), (PART, &image)]);
    let answer = server.post("/v1/classify", "multipart/form-data; boundary=x", &body).unwrap();
    let found: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let found = found.as_array().unwrap();
    assert_eq!(found.len(), 3, "{answer:?}");
    assert_eq!(found[0]["predictions"][0]["label"], "red", "{answer:?}");
    assert_eq!(found[1]["error"]["kind"], "decode", "{answer:?}");
    assert_eq!(found[2]["predictions"][0]["label"], "red", "{answer:?}");
    server.is_well();
}
