//! A small CIFAR-10 data set.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

/// Bytes of a label and an image.
pub const RECORD: usize = 3073;

/// Names and contents of the data set's files.
pub type Files = Vec<(&'static str, Vec<u8>)>;

/// Makes image `number` of file `file`: neighbouring bytes differ.
pub fn record(file: usize, number: usize) -> Vec<u8> {
    let label = (file + number) % 10;
    (0..RECORD).map(|at| if at == 0 { label } else { at * 7 + file * 31 + number } as u8).collect()
}

/// Makes all files with twelve images each: names of the classes first, test images last.
pub fn files() -> Files {
    let names = b"airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";
    let mut files = vec![("batches.meta.txt", names.to_vec())];
    let batches =
        ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];
    for (index, name) in batches.into_iter().chain(["test_batch.bin"]).enumerate() {
        files.push((name, (0..12).flat_map(|number| record(index + 1, number)).collect()));
    }
    files
}

/// Writes `files` as the archive at `path`.
pub fn archive(path: &Path, files: &[(&str, Vec<u8>)]) {
    let mut tar = tar::Builder::new(GzEncoder::new(File::create(path).unwrap(), Compression::fast()));
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("cifar-10-batches-bin/{name}"), &content[..]).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap().flush().unwrap();
}
