//! Files that are no checkpoints, recognised by their first bytes.

use crate::onnx::Model;

/// First bytes of a file and the format that they belong to, with what to do.
const MAGIC: [(&[u8], &str); 15] = [
    (b"version https://git-lfs", GIT_LFS),
    (
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file, as Keras and TensorFlow write (.h5): export the model to ONNX there, and run that with infer",
    ),
    (b"GGUF", "a GGUF file, which holds a language model"),
    (b"\x93NUMPY", "an array of NumPy (.npy): save the weights as safetensors or with torch.save"),
    (
        b"<?xml",
        "an XML document, such as an OpenVINO graph or the error page of a server: download the file again",
    ),
    (b"\x1f\x8b", "compressed with gzip: unpack it first"),
    (b"BZh", "compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ", "compressed with xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it first"),
    (b"Rar!", "a RAR archive: unpack it first"),
    (b"\x89PNG", "an image (PNG)"),
    (b"\xff\xd8\xff", "an image (JPEG)"),
    (b"%PDF", "a PDF document"),
    (b"SQLite format 3", "an SQLite database"),
];

const GIT_LFS: &str =
    "the pointer that Git LFS leaves in place of a large file: fetch the file itself, with git lfs pull";

/// Says which format a file has that is no checkpoint, and what to do; none for unknown ones.
pub fn recognise(bytes: &[u8]) -> Option<&'static str> {
    if bytes.is_empty() {
        return Some("an empty file: download or copy it again");
    }
    if let Some((_, what)) = MAGIC.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Some(what);
    }
    if bytes.ends_with(b"\x57\xfb\x80\x8b\x24\x75\x47\xdb") {
        return Some("the index of a TensorFlow checkpoint: export the model to ONNX with tf2onnx");
    }
    if bytes.starts_with(b"\x08\x01\x12") && bytes.windows(10).take(1 << 20).any(|text| text == b"tensorflow")
    {
        return Some("a SavedModel of TensorFlow: export it to ONNX with tf2onnx");
    }
    if bytes.get(4..8) == Some(b"TFL3") {
        return Some("a TensorFlow Lite model");
    }
    if bytes.get(4..8).is_some_and(|mark| mark == b"ET12" || mark == b"ET13") {
        return Some("an ExecuTorch program (.pte): save the state_dict of its module with torch.save");
    }
    let start = bytes.get(..bytes.len().min(512)).unwrap_or_default().to_ascii_lowercase();
    let text = start.trim_ascii_start();
    if [&b"<!doctype html"[..], b"<html", b"<head"].iter().any(|tag| text.starts_with(tag)) {
        return Some("a web page, such as the error or login page of a server: download the file again");
    }
    if bytes.first() == Some(&0x08) && Model::from_slice(bytes).is_ok() {
        return Some("an ONNX model: run it with infer; weights are exported from checkpoints of PyTorch");
    }
    None
}
