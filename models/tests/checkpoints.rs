//! The checkpoint reader on files that PyTorch wrote, and on hostile and damaged ones.

#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use ferronnx_models::checkpoint::{self, FormatError};
use ferronnx_models::resnet::{Architecture, ResNet18};
use ferronnx_models::{Weights, testing};
use ndarray::{Array, ArrayD};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    fs::read(file(name)).unwrap()
}

fn refused(name: &str) -> FormatError {
    checkpoint::read(&bytes(name)).unwrap_err()
}

fn line(len: usize, value: impl Fn(f32) -> f32) -> ArrayD<f32> {
    Array::from_iter((0..len).map(|i| value(i as f32))).into_dyn()
}

/// Weights that every form holds, as `state()` of the generator.
fn expected() -> Weights {
    let weight = line(12, |i| i / 4.0 - 1.0).into_shape_with_order(vec![3, 4]).unwrap();
    [("fc.weight".into(), weight), ("fc.bias".into(), line(3, |i| i / 2.0 - 0.5))].into()
}

#[test]
fn every_form_holds_the_same_weights() {
    let forms = [
        ["zip.pth", "plain.pth", "protocol4.pth", "parameter.pth", "big-endian.pth", "data-parallel.pth"],
        [
            "legacy.pth",
            "legacy-protocol4.pth",
            "legacy-half.pth",
            "legacy-bfloat16.pth",
            "legacy-double.pth",
            "",
        ],
        [
            "half.pth",
            "bfloat16.pth",
            "double.pth",
            "nested-state_dict.pth",
            "nested-model.pth",
            "nested-ema.pth",
        ],
        [
            "half.safetensors",
            "bfloat16.safetensors",
            "double.safetensors",
            "data-parallel.safetensors",
            "",
            "",
        ],
    ];
    for form in forms.iter().flatten().filter(|form| !form.is_empty()) {
        assert_eq!(checkpoint::load(file(form)).unwrap(), expected(), "{form}");
    }
}

#[test]
fn views_hold_what_they_show() {
    for form in ["shared.pth", "legacy-shared.pth"] {
        let weights = checkpoint::load(file(form)).unwrap();
        assert_eq!(weights["fc.weight"], expected()["fc.weight"], "{form}");
        assert_eq!(weights["fc.tied"], expected()["fc.weight"], "{form}");
        assert_eq!(weights["fc.bias"], expected()["fc.bias"], "{form}");
        assert_eq!(weights["fc.column"], line(3, |i| i - 0.75), "{form}");
    }
    for form in ["strided.pth", "legacy-strided.pth"] {
        let weights = checkpoint::load(file(form)).unwrap();
        assert_eq!(weights["fc.weight"], expected()["fc.weight"], "{form}");
        assert_eq!(weights["fc.four"].shape(), [1, 2, 3, 4]);
        assert_eq!(weights["fc.four"].flatten().into_dyn(), line(24, |i| i), "{form}");
        assert_eq!(weights["fc.expanded"], ArrayD::from_elem(vec![3, 4], 2.5), "{form}");
    }
}

#[test]
fn a_hostile_pickle_is_refused_by_the_name_of_what_it_calls() {
    for (name, asked) in [
        ("hostile-os.pth", "os.system"),
        ("hostile-global.pth", "posix.system"),
        ("hostile-stack-global.pth", "posix.system"),
        ("hostile-legacy.pth", "posix.system"),
        ("hostile-build.pth", "posix.system"),
        ("hostile-eval.pth", "__builtin__.eval"),
        ("whole-module.pth", "torch.nn.modules.container.Sequential"),
    ] {
        let error = refused(name);
        assert!(matches!(&error, FormatError::Global(found) if found == asked), "{name}: {error}");
        assert!(error.to_string().contains("nothing was run"), "{error}");
    }
    assert!(!Path::new("hostile-was-here").exists());
}

#[test]
fn what_is_no_state_dict_is_named() {
    let error = refused("nested-elsewhere.pth").to_string();
    assert!(error.contains("epoch, arch, best, best_tensor") && error.contains("network"), "{error}");
    assert!(refused("no-tensor.pth").to_string().ends_with("what it holds: fc.weight"));
    assert!(matches!(refused("torchscript.pth"), FormatError::TorchScript));
    for form in ["integers.pth", "integers.safetensors"] {
        assert_eq!(
            refused(form).to_string(),
            "fc.indices is I32: weights are F32, F16, BF16 or F64",
            "{form}"
        );
    }
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    assert!(matches!(checkpoint::read(&tar), Err(FormatError::Tar)));
    for unknown in [&b""[..], b"{", b"not a checkpoint", b"\x80\x02K\x01."] {
        assert!(matches!(checkpoint::read(unknown), Err(FormatError::Unknown)));
    }
}

#[test]
fn a_file_that_was_cut_or_changed_is_refused() {
    for name in ["zip.pth", "legacy.pth", "half.safetensors"] {
        let whole = bytes(name);
        for len in 0..whole.len() {
            assert!(checkpoint::read(&whole[..len]).is_err(), "{name} cut to {len} bytes");
        }
    }
    // The archive has checksums of the values, too.
    let mut changed = bytes("plain.pth");
    let value = changed.windows(4).position(|bytes| bytes == 1.75_f32.to_le_bytes()).unwrap();
    changed[value] ^= 1;
    let error = checkpoint::read(&changed).unwrap_err();
    let FormatError::Entry { name, source } = &error else { panic!("{error}") };
    assert!(name.ends_with("data/0") && source.to_string() == "Invalid checksum", "{name}: {source}");
}

/// Checkpoints whose parts are changed below.
const SEEDS: [&str; 6] =
    ["legacy.pth", "legacy-shared.pth", "nested-model.pth", "nested-ema.pth", "zip.pth", "half.safetensors"];

/// The legacy container around any pickle.
fn legacy(pickle: &[u8]) -> Vec<u8> {
    let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
    [&magic[..], b"\x80\x02M\xe9\x03.", b"\x80\x02N.", pickle, b"]."].concat()
}

/// An archive of `torch.save` with this pickle and these storages.
fn archive(pickle: &[u8], storages: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let mut add = |name: String, bytes: &[u8]| {
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        zip.start_file(name, stored).unwrap();
        zip.write_all(bytes).unwrap();
    };
    add("archive/data.pkl".into(), pickle);
    for (key, bytes) in storages.into_iter().enumerate() {
        add(format!("archive/data/{key}"), &bytes);
    }
    zip.finish().unwrap().into_inner()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_change_of_a_file_is_more_than_an_error(
        seed in 0..SEEDS.len(),
        edits in vec((any::<Index>(), any::<u8>()), 1..6),
        cut in any::<Option<Index>>(),
    ) {
        let mut bytes = bytes(SEEDS[seed]);
        for (place, value) in edits {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(weights) = checkpoint::read(&bytes) {
            prop_assert!(weights.values().map(ArrayD::len).sum::<usize>() <= bytes.len());
        }
    }

    #[test]
    fn no_program_is_more_than_an_error(
        program in vec(
            prop_oneof![
                proptest::sample::select(&b"(NKMJGXU])}tcRQbaesuqrhj\x80\x85\x86\x87\x88\x89\x8a\x8c\x93\x94\x95."[..]),
                0..4_u8,
            ],
            0..60,
        ),
    ) {
        for bytes in [legacy(&program), archive(&program, []), program] {
            let _ = checkpoint::read(&bytes);
        }
    }
}

#[test]
fn bombs_do_not_go_off() {
    let refused = |pickle: &[u8]| checkpoint::read(&legacy(pickle)).unwrap_err().to_string();
    // Tuples in tuples, deep enough for any stack.
    let deep = [b")".as_slice(), &[0x85; 1 << 19], b"."].concat();
    assert!(refused(&deep).contains("what it holds: no dict"), "{}", refused(&deep));
    // A list that holds itself.
    assert!(refused(b"]q\0h\0a.").contains("what it holds: no dict"));
    // Lists that double: 2^40 elements, if anyone followed them.
    let doubling: Vec<u8> = (0..40).flat_map(|_| *b"]q\0(h\0h\0e").collect();
    assert!(refused(&[b")q\0".as_slice(), &doubling, b"."].concat()).contains("no dict"));
    assert!(refused(&[b')'; 1 << 21]).contains("more instructions than weights need"));
    // A shape of 100,000 numbers, named again and again: terabytes, if each tensor had a copy.
    let numbers = [b"(".as_slice(), &[b'K', 1].repeat(100_000), b"tq\x02"].concat();
    let storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0aX\x03\0\0\0cpuK\x01NtQ";
    let arguments = [b"(".as_slice(), storage, b"K\0h\x02h\x02tq\x03"].concat();
    let function = b"ctorch._utils\n_rebuild_tensor_v2\n";
    let tensors = [function.as_slice(), b"h\x03R"].concat().repeat(10_000);
    let many = [numbers.as_slice(), &arguments, &tensors, b"."].concat();
    assert!(!refused(&many).is_empty());
    // Lengths of four gigabytes.
    assert!(refused(b"X\xff\xff\xff\xff").contains("it ends early"));
    assert!(refused(b"Nr\xff\xff\xff\xff.").contains("no dict"), "a place in the memo is no size");
}

/// A `.pth` of the whole reference. The pickle is PyTorch's; the values are made here, so that 45 MB need not be kept.
fn reference(weights: &Weights) -> Vec<u8> {
    let names = String::from_utf8(bytes("reference.txt")).unwrap();
    let storages = names.lines().map(|name| match weights.get(name) {
        Some(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        None => 7_i64.to_le_bytes().to_vec(), // num_batches_tracked
    });
    archive(&bytes("reference.pkl"), storages)
}

#[test]
fn a_pth_of_the_whole_reference_is_read() {
    let network = ResNet18::new(&Architecture::default()).unwrap();
    let weights = testing::weights(&network, &[1, 3, 32, 32]).unwrap();
    let loaded = checkpoint::read(&reference(&weights)).unwrap();
    assert_eq!(loaded.len(), weights.len());
    assert_eq!(Architecture::of(&loaded).unwrap(), Architecture::default());
    assert!(weights.iter().all(|(name, values)| loaded[name] == *values));
}
