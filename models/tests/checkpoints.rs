//! The checkpoint reader on files that PyTorch wrote, and on hostile and damaged ones.

#![allow(clippy::unwrap_used)] // a test fails by panicking

#[path = "checkpoints/unpacked.rs"]
mod unpacked;

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use ferronnx_models::checkpoint::families::Seems;
use ferronnx_models::checkpoint::network::{self, FindError};
use ferronnx_models::checkpoint::{self, Checkpoint, FormatError, Misfit, Sought};
use ferronnx_models::networks::{Architecture, Classifier};
use ferronnx_models::{Roles, Weights, testing};
use ndarray::{Array, ArrayD};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use unpacked::file;

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

/// The weights that are found in a file by their names, and everything about them in words.
fn found(name: &str) -> (Weights, String) {
    let checkpoint = Checkpoint::open(file(name)).unwrap();
    let sought = Sought::new(["fc.weight", "fc.bias"], &Roles::default());
    let candidates = checkpoint.candidates(&sought);
    let best = &candidates[0];
    let weights = best.weights(["fc.weight", "fc.bias"]).unwrap();
    (weights, format!("{}|{}", best.prefix(), best.passed_over()))
}

#[test]
fn weights_are_found_under_any_keys_and_prefixes() {
    let forms: [(&str, String); 28] = [
        ("twenty-one-characters.pth", "|".into()),
        ("zip.pth", "|".into()),
        ("opaque.pth", "weights.|rng".into()),
        ("opaque-protocol5.pth", "weights.|rng".into()),
        ("opaque-legacy.pth", "weights.|rng".into()),
        ("protocol1.pth", "weights.|".into()),
        ("legacy-protocol1.pth", "|".into()),
        ("list.pth", "1.0.|".into()),
        ("lightning.ckpt", "state_dict.model._orig_mod.|state_dict.criterion.weight, callbacks.best".into()),
        (
            "nested-elsewhere.pth",
            "network.|best_tensor, optimizer (6 tensors, such as optimizer.state.0.step)".into(),
        ),
        (
            "nested-ema.pth",
            "state_dict_ema.|best_tensor, optimizer (6 tensors, such as optimizer.state.0.step), \
                            state_dict.fc.weight"
                .into(),
        ),
        ("two.pth", "models.student.|models (2 tensors, such as models.teacher.fc.weight)".into()),
        ("data-parallel.pth", "module.|".into()),
        ("data-parallel.safetensors", "module.|".into()),
        ("unusable.pth", "|sparse, quantized, meta, complex".into()),
        ("whole-module.pth", "|bn (2 tensors, such as bn.running_mean)".into()),
        ("legacy-module.pth", "|bn (2 tensors, such as bn.running_mean)".into()),
        (
            "wrapped-module.pth",
            "model.module.net.|model (2 tensors, such as model.module.net.bn.running_mean)".into(),
        ),
        ("scripted.pth", "|bn (2 tensors, such as bn.running_mean)".into()),
        ("numpy.pth", "|".into()),
        ("numpy-fortran.pth", "|".into()),
        ("numpy.pkl", "model.|".into()),
        ("big-endian.pkl", "|".into()),
        ("sharded", "|".into()),
        ("sharded/model.safetensors.index.json", "|".into()),
        ("hostile-global.pth", "|".into()),
        ("hostile-stack-global.pth", "|".into()),
        ("hostile-legacy.pth", "|".into()),
    ];
    for (name, words) in forms {
        assert_eq!(found(name), (expected(), words), "{name}");
    }
}

#[test]
fn nothing_that_a_pickle_calls_is_called() {
    for (name, asked) in [
        ("hostile-os.pth", "os.system"),
        ("hostile-build.pth", "posix.system"),
        ("hostile-eval.pth", "__builtin__.eval"),
    ] {
        let error = refused(name);
        assert!(matches!(&error, FormatError::NoTensors { classes } if classes == asked), "{name}: {error}");
        assert!(error.to_string().contains("nothing was run"), "{error}");
    }
    let checkpoint = bytes("hostile-global.pth");
    assert!(Checkpoint::from_bytes(&checkpoint).unwrap().classes().contains(&"posix.system".to_owned()));
    assert!(!Path::new("hostile-was-here").exists());
}

#[test]
fn what_is_no_checkpoint_is_named() {
    assert!(matches!(refused("no-tensor.pth"), FormatError::NoTensors { .. }));
    let error = refused("counter.pkl");
    assert!(matches!(&error, FormatError::Pickled(class) if class == "collections.Counter"), "{error}");
    assert_eq!(checkpoint::load(file("torchscript.pth")).unwrap()["weight"].shape(), [2, 2]);
    for form in ["integers.pth", "integers.safetensors"] {
        assert_eq!(
            refused(form).to_string(),
            "fc.indices is I32: weights are F32, F16, BF16 or F64",
            "{form}"
        );
    }
    assert_eq!(refused("sparse.pth").to_string(), "fc.weight is a sparse tensor, which cannot be a weight");
    assert!(refused("uint16.pth").to_string().starts_with("fc.weight is U16: weights are"));
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    assert!(matches!(checkpoint::read(&tar), Err(FormatError::Tar)));
    for unknown in [&b"{"[..], b"not a checkpoint", b"\x80\x02K\x01."] {
        assert!(matches!(checkpoint::read(unknown), Err(FormatError::Unknown)));
    }
    for (other, words) in [
        (&b""[..], "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b" <!DOCTYPE HTML><html>", "web page"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"GGUF\x03\0\0\0", "GGUF"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"\0\0\0\0TFL3", "TensorFlow Lite"),
    ] {
        let error = checkpoint::read(other).unwrap_err();
        assert!(matches!(&error, FormatError::Foreign(what) if what.contains(words)), "{error}");
    }
    assert!(
        checkpoint::read(include_bytes!("onnx_files/functions.onnx"))
            .unwrap_err()
            .to_string()
            .contains("ONNX model")
    );
    for (names, words) in [
        (&["model.weights.h5", "config.json"][..], "Keras"),
        (&["a.npy"], "NumPy"),
        (&["resnet/model.pth"], "unpack it first"),
        (&["readme.txt"], "without the data.pkl"),
    ] {
        let error = checkpoint::read(&zipped(names.iter().map(|name| (name.to_string(), vec![]))));
        assert!(matches!(&error, Err(FormatError::Foreign(what)) if what.contains(words)), "{error:?}");
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let error = Checkpoint::open(folder).unwrap_err().to_string();
    assert!(error.contains("is not a checkpoint"), "{error}");
}

/// A ResNet18 with other entries, as a checkpoint.
fn resnet18(change: impl FnOnce(&mut Weights)) -> Result<network::Found, FindError> {
    let network = Classifier::new(&Architecture { attention: None, ..Architecture::default() }).unwrap();
    let mut weights = testing::weights(&network, &[1, 3, 32, 32]).unwrap();
    weights =
        weights.into_iter().map(|(name, values)| (name.replacen("backbone.", "net.", 1), values)).collect();
    change(&mut weights);
    let dir = tempfile::tempdir().unwrap();
    checkpoint::save(&weights, dir.path().join("a.safetensors")).unwrap();
    let checkpoint = Checkpoint::open(dir.path().join("a.safetensors")).unwrap();
    network::find(&checkpoint, |name| name.starts_with("net.left_out."))
}

#[test]
fn a_resnet18_is_found_whole_or_not_at_all() {
    let zeros = |shape: &[usize]| ArrayD::zeros(shape.to_vec());
    let whole = resnet18(|weights| {
        weights.insert("criterion.weight".into(), zeros(&[10]));
        weights.insert("net.left_out.weight".into(), zeros(&[10]));
    });
    let whole = whole.unwrap();
    assert_eq!((whole.prefix.as_str(), whole.weights.len()), ("net.", 102));
    assert_eq!(whole.passed_over.to_string(), "criterion.weight, net.left_out.weight");
    assert!(whole.alternatives.is_empty());

    let misfit = |change: &dyn Fn(&mut Weights)| match resnet18(change).unwrap_err() {
        FindError::Other { source, .. } => source,
        other => panic!("{other}"),
    };
    let missing = misfit(&|weights| drop(weights.shift_remove("net.layer3.1.bn2.bias")));
    assert!(
        matches!(&missing, Misfit::Missing { missing, found: 101, all: 102 } if missing == "backbone.layer3.1.bn2.bias")
    );
    let third =
        misfit(&|weights| drop(weights.insert("net.layer1.2.conv1.weight".into(), zeros(&[64, 64, 3, 3]))));
    assert!(matches!(&third, Misfit::LeftOver { first, tensors: 1 } if first == "net.layer1.2.conv1.weight"));
    let beside = misfit(&|weights| drop(weights.insert("net.ca.fc1.weight".into(), zeros(&[4, 64, 1, 1]))));
    assert!(matches!(&beside, Misfit::Beside { first, .. } if first == "net.ca.fc1.weight"));
    let shape =
        misfit(&|weights| drop(weights.insert("net.layer1.0.conv1.weight".into(), zeros(&[64, 64, 1, 1]))));
    assert!(matches!(&shape, Misfit::Shape { found, .. } if found == &[64, 64, 1, 1]));
    let nothing = misfit(&|weights| {
        *weights = [("encoder.x".to_owned(), zeros(&[1]))].into_iter().collect();
    });
    assert_eq!(nothing, Misfit::Nothing(1));
}

#[test]
fn a_network_without_its_attention_is_none() {
    let network = Classifier::new(&Architecture::default()).unwrap();
    let whole = testing::weights(&network, &[1, 3, 32, 32]).unwrap();
    let find = |weights: &Weights| {
        let dir = tempfile::tempdir().unwrap();
        checkpoint::save(weights, dir.path().join("a.safetensors")).unwrap();
        network::find(&Checkpoint::open(dir.path().join("a.safetensors")).unwrap(), |_| false)
    };
    assert_eq!(find(&whole).unwrap().architecture, Architecture::default());
    let mut broken = whole.clone();
    broken.shift_remove("cbam_layer3.spatial_attn.conv.weight");
    assert!(find(&broken).is_err());
    broken.shift_remove("cbam_layer1.channel_attn.fc.0.weight");
    assert!(find(&broken).is_err(), "the rest of the attention is still there");
    broken = whole;
    broken["cbam_layer2.channel_attn.fc.0.weight"] = ArrayD::zeros(vec![7, 128, 1, 1]);
    assert!(find(&broken).is_err());
}

#[test]
fn other_networks_are_recognised() {
    let seems = |names: &[(&str, &[usize])]| {
        let weights: Weights = names
            .iter()
            .map(|(name, shape)| (format!("state_dict.{name}"), ArrayD::zeros(shape.to_vec())))
            .collect();
        let dir = tempfile::tempdir().unwrap();
        checkpoint::save(&weights, dir.path().join("a.safetensors")).unwrap();
        Seems::of(&Checkpoint::open(dir.path().join("a.safetensors")).unwrap()).0
    };
    let blocks = |last: &[usize; 4], conv: &str| -> Vec<(String, &'static [usize])> {
        let stages = last.iter().enumerate();
        stages
            .map(|(stage, block)| (format!("layer{}.{}.{conv}.weight", stage + 1, block - 1), &[64, 64][..]))
            .collect()
    };
    for (depths, conv, name) in [
        ([3, 4, 6, 3], "conv2", "a ResNet34"),
        ([3, 4, 6, 3], "conv3", "a ResNet50"),
        ([3, 4, 23, 3], "conv3", "a ResNet101"),
        ([2, 3, 3, 2], "conv2", "a ResNet with [2, 3, 3, 2] blocks in its stages"),
    ] {
        let mut names = blocks(&depths, conv);
        names.push(("layer1.0.conv2.weight".into(), &[64, 64]));
        names.push((format!("layer1.0.{conv}.weight"), &[64, 64]));
        let names: Vec<_> = names.iter().map(|(name, shape)| (name.as_str(), *shape)).collect();
        assert_eq!(seems(&names).unwrap(), name);
    }
    assert_eq!(
        seems(&[("cls_token", &[1]), ("blocks.0.attn.qkv.weight", &[1])]).unwrap(),
        "a vision transformer (ViT) of timm"
    );
    assert_eq!(seems(&[("weight", &[1])]), None);
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
const SEEDS: [&str; 12] = [
    "legacy.pth",
    "legacy-shared.pth",
    "nested-model.pth",
    "nested-ema.pth",
    "zip.pth",
    "half.safetensors",
    "opaque-legacy.pth",
    "legacy-module.pth",
    "legacy-protocol1.pth",
    "numpy.pkl",
    "big-endian.pkl",
    "scripted.pth",
];

/// The legacy container around any pickle.
fn legacy(pickle: &[u8]) -> Vec<u8> {
    let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
    [&magic[..], b"\x80\x02M\xe9\x03.", b"\x80\x02N.", pickle, b"]."].concat()
}

/// An archive of `torch.save` with this pickle and these storages.
fn archive(pickle: &[u8], storages: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let storages = storages.into_iter().enumerate();
    let storages = storages.map(|(key, bytes)| (format!("archive/data/{key}"), bytes));
    zipped([("archive/data.pkl".to_owned(), pickle.to_vec())].into_iter().chain(storages))
}

/// A zip archive without compression.
fn zipped(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        zip.start_file(name, stored).unwrap();
        zip.write_all(&bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(400), ..ProptestConfig::default() })]

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
        if let Ok(checkpoint) = Checkpoint::from_bytes(&bytes) {
            prop_assert!(network::find(&checkpoint, |_| false).is_err());
        }
        if let Ok(weights) = checkpoint::read(&bytes) {
            prop_assert!(weights.values().map(ArrayD::len).sum::<usize>() <= bytes.len());
        }
    }

    #[test]
    fn no_program_is_more_than_an_error(
        program in vec(
            prop_oneof![
                proptest::sample::select(&b"(.012FIJKLMNPQRSTUVXabcd}eghijl]opqrst)uGBC\x80\x81\x82\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8f\x90\x91\x92\x93\x94\x95"[..]),
                0..4_u8,
            ],
            0..60,
        ),
    ) {
        for bytes in [legacy(&program), archive(&program, []), program] {
            let _ = checkpoint::read(&bytes);
            let _ = Checkpoint::from_bytes(&bytes).map(|checkpoint| Seems::of(&checkpoint));
        }
    }
}

#[test]
fn bombs_do_not_go_off() {
    let refused = |pickle: &[u8]| checkpoint::read(&legacy(pickle)).unwrap_err().to_string();
    // Tuples in tuples, deep enough for any stack.
    let deep = [b")".as_slice(), &[0x85; 1 << 19], b"."].concat();
    assert!(refused(&deep).contains("no tensors"), "{}", refused(&deep));
    // A list that holds itself.
    assert!(refused(b"]q\0h\0a.").contains("no tensors"));
    // Tuples that double: 2^40 elements, if anyone followed them.
    let doubling: Vec<u8> = (0..40).flat_map(|_| *b"(h\0h\0tq\0").collect();
    assert!(refused(&[b")q\0".as_slice(), &doubling, b"."].concat()).contains("refer to each other"));
    assert!(refused(&[b')'; 1 << 23]).contains("more instructions than weights need"));
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
    assert!(refused(b"Nr\xff\xff\xff\xff.").contains("no tensors"), "a place in the memo is no size");
    // A tensor that rebuilds itself.
    let rebuild = b"ctorch._tensor\n_rebuild_from_type_v2\n";
    let itself = [rebuild.as_slice(), b"q\0]q\x01(h\0h\0h\x01h\x01eR."].concat();
    assert!(refused(&itself).contains("no tensors"), "{}", refused(&itself));
    // Dicts in dicts by one key of a megabyte, and arrays of one text.
    let key = [b"X\0\0\x10\0".as_slice(), &[b'k'; 1 << 20], b"q\x01"].concat();
    let keys = [b"}".as_slice(), &key, b"0", &b"(h\x01}".repeat(50), &b"u".repeat(50), b"."].concat();
    assert!(refused(&keys).contains("no tensors"), "{}", refused(&keys));
}

/// An archive with one tensor, `name`, of `side` x `side` equal values.
fn expanded(name: &str, side: u16) -> Vec<u8> {
    let text = |text: &str| [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let side = [b"M".as_slice(), &side.to_le_bytes()].concat();
    let storage =
        [b"(".as_slice(), &text("storage"), b"ctorch\nFloatStorage\n", &text("0"), &text("cpu"), b"K\x01tQ"];
    let shape = [b"(".as_slice(), &side, &side, b"t(K\0K\0t"].concat();
    let tensor =
        [b"ctorch._utils\n_rebuild_tensor_v2\n(".as_slice(), &storage.concat(), b"K\0", &shape, b"NNtR"];
    archive(&[b"\x80\x02}".as_slice(), &text(name), &tensor.concat(), b"s."].concat(), [vec![0, 0, 128, 63]])
}

#[test]
fn a_small_file_does_not_become_large() {
    assert_eq!(checkpoint::read(&expanded("a", 8)).unwrap()["a"], ArrayD::from_elem(vec![8, 8], 1.0));
    let error = checkpoint::read(&expanded("a", 1000)).unwrap_err();
    assert_eq!(error.to_string(), "a has more values than the file has room for");
    let error = checkpoint::read(&expanded("red\u{1b}[31m", 2)).unwrap_err();
    assert_eq!(error.to_string(), "red\\u{1b}[31m is no name of a tensor");
}

#[test]
fn an_optimizer_without_state_is_saved_and_read() {
    let dir = tempfile::tempdir().unwrap();
    checkpoint::save(&Weights::new(), dir.path().join("empty.safetensors")).unwrap();
    assert!(checkpoint::load(dir.path().join("empty.safetensors")).unwrap().is_empty());
}

#[test]
fn wrappers_prefixes_are_dropped_without_a_network() {
    for (name, short) in
        [("module._orig_mod.fc.weight", "fc.weight"), ("module_list.weight", "module_list.weight")]
    {
        let weights = checkpoint::read(&expanded(name, 2)).unwrap();
        assert_eq!(weights.keys().collect::<Vec<_>>(), [short]);
    }
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
    let network = Classifier::new(&Architecture::default()).unwrap();
    let weights = testing::weights(&network, &[1, 3, 32, 32]).unwrap();
    let loaded = checkpoint::read(&reference(&weights)).unwrap();
    assert_eq!(loaded.len(), weights.len());
    assert_eq!(Architecture::of(&loaded).unwrap(), Architecture::default());
    assert!(weights.iter().all(|(name, values)| loaded[name] == *values));
}
