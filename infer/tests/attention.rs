//! Compares the fused attention operator with the operators of the file.

#![allow(clippy::unwrap_used)] // a test fails by panicking

#[path = "cli/support.rs"]
#[allow(dead_code)] // the rest is for the program's tests
mod support;

use std::fs;

use fearless_simd::Level;
use ferronnx_infer::Session;
use ferronnx_infer::attention::AttentionKernels;
use ferronnx_infer::attention::kernel::{
    self, Biases, Channel, Convolution, Mlp, Scores, Scratch, Sizes, Weights, attention,
};
use ferronnx_models::layers::{
    Attention, Cbam, EfficientChannelAttention, Gate, Path as Name, SqueezeExcitation,
};
use ferronnx_models::networks::{Architecture, AttentionKind, Classifier, Network, PlacedAttention, Stem};
use ferronnx_models::onnx::fuse::{Fusion, Kind};
use ferronnx_models::onnx::{self, Interface, Opset};
use ferronnx_models::{Module, testing};
use ndarray::{Array4, ArrayD};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::options;

/// Shapes `[N, C, H, W]` to test, each with a reduction ratio and a kernel size.
const SHAPES: [([usize; 4], usize, usize); 12] = [
    ([1, 64, 32, 32], 16, 7),
    ([2, 128, 16, 16], 16, 7),
    ([3, 256, 8, 8], 16, 7),
    ([16, 512, 4, 4], 16, 7),
    ([1, 16, 1, 1], 16, 7),
    ([2, 3, 5, 7], 1, 3),
    ([1, 17, 33, 1], 4, 5),
    ([5, 37, 9, 19], 3, 3),
    ([4, 5, 2, 31], 5, 1),
    ([1, 1, 17, 3], 1, 7),
    ([7, 65, 31, 15], 8, 7),
    ([2, 130, 56, 56], 16, 7),
];

/// Squeeze-and-excitation over `channels`, with a gate.
fn excitation(channels: usize, hidden: usize, gate: Gate) -> SqueezeExcitation {
    SqueezeExcitation { gate, ..SqueezeExcitation::new(&Name::new("se"), channels, hidden) }
}

/// ECA with a kernel.
fn efficient(kernel: usize) -> EfficientChannelAttention {
    EfficientChannelAttention::new(&Name::new("eca"), kernel)
}

fn file(layer: &impl Module, [n, c, h, w]: [usize; 4], opset: u32) -> Vec<u8> {
    let weights = testing::weights(layer, &[n, c, h, w]).unwrap();
    let graph = onnx::trace(layer, &weights, &Interface::new([c, h, w]), Opset::new(opset).unwrap()).unwrap();
    onnx::encode(graph, &[])
}

fn session(file: &[u8], attention: AttentionKernels) -> Session {
    let session = Session::from_bytes(file, &options().attention(attention).threads(2)).unwrap();
    let fusion = session.fusion();
    assert_eq!(
        (fusion.fused.len(), fusion.rejected.len()),
        (usize::from(attention == AttentionKernels::Fused), 0),
        "{fusion:?}"
    );
    session
}

fn random(shape: [usize; 4], seed: u64) -> Array4<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    Array4::from_shape_simple_fn(shape, || rng.random_range(-3.0..3.0))
}

/// Largest difference, relative to the largest value.
fn difference(a: &ArrayD<f32>, b: &ArrayD<f32>) -> f32 {
    let largest = b.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    a.iter().zip(b).fold(0.0_f32, |worst, (a, b)| worst.max((a - b).abs())) / largest
}

#[test]
fn equal_on_all_shapes() {
    for (index, (shape, ratio, kernel)) in SHAPES.into_iter().enumerate() {
        let x = random(shape, index as u64);
        let Cbam { channel, spatial } = Cbam::new("cbam", shape[1], Attention { ratio, kernel });
        let cbam = Cbam { channel: channel.clone(), spatial: spatial.clone() };
        let hidden = shape[1] / ratio;
        let [soft, hard] = [Gate::Sigmoid, Gate::HardSigmoid].map(|gate| excitation(shape[1], hidden, gate));
        for file in [
            file(&cbam, shape, 17),
            file(&channel, shape, 17),
            file(&spatial, shape, 17),
            file(&soft, shape, 17),
            file(&hard, shape, 17),
            file(&efficient(kernel), shape, 17),
        ] {
            let stock = session(&file, AttentionKernels::Stock).run(x.view()).unwrap();
            let fused = session(&file, AttentionKernels::Fused).run(x.view()).unwrap();
            let difference = difference(&fused, &stock);
            assert!(difference < 1e-5, "{shape:?}: {difference}");
        }
    }
}

#[test]
fn found_in_every_opset() {
    fn check(layer: &impl Module) {
        let shape = [2, 32, 6, 5];
        let x = random(shape, 1);
        let expected = session(&file(layer, shape, 17), AttentionKernels::Stock).run(x.view()).unwrap();
        for opset in Opset::MIN..=Opset::MAX {
            let file = file(layer, shape, opset);
            let fused = session(&file, AttentionKernels::Fused).run(x.view()).unwrap();
            assert!(difference(&fused, &expected) < 1e-5, "opset {opset}");
        }
    }
    check(&Cbam::new("cbam", 32, Attention::default()));
    check(&excitation(32, 2, Gate::HardSigmoid));
    check(&efficient(3));
}

/// Infinities and NaN appear in the same places, and all other values are equal.
#[test]
fn infinities_and_nan_are_where_stock_has_them() {
    let shape = [1, 19, 7, 9];
    let files = [
        file(&Cbam::new("cbam", 19, Attention { ratio: 4, kernel: 3 }), shape, 17),
        file(&excitation(19, 4, Gate::Sigmoid), shape, 17),
        file(&excitation(19, 4, Gate::HardSigmoid), shape, 17),
        file(&efficient(5), shape, 17),
    ];
    let mut wrong = Vec::new();
    for (layer, file) in files.iter().enumerate() {
        wrong.extend(odd_values(shape, file).into_iter().map(|text| format!("layer {layer}: {text}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Values that our kernel computes otherwise than ONNX Runtime, in words.
fn odd_values(shape: [usize; 4], file: &[u8]) -> Vec<String> {
    let (stock, fused) = (session(file, AttentionKernels::Stock), session(file, AttentionKernels::Fused));
    let mut wrong = Vec::new();
    for (index, odd) in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, f32::MIN_POSITIVE / 2.0]
        .into_iter()
        .enumerate()
    {
        for at in [[0, 0, 0, 0], [0, 18, 6, 8], [0, 7, 3, 2]] {
            let mut x = random(shape, 100 + index as u64);
            x[at] = odd;
            let (a, b) = (fused.run(x.view()).unwrap(), stock.run(x.view()).unwrap());
            let same = |(a, b): (&f32, &f32)| {
                (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= 1e-5 * b.abs().max(1.0)
            };
            let different = a.iter().zip(&b).filter(|&pair| !same(pair)).count();
            if different > 0 {
                let first = a.iter().zip(&b).find(|&pair| !same(pair));
                wrong.push(format!("{odd} at {at:?}: {different} differ, as {first:?}"));
            }
        }
    }
    wrong
}

/// Number of channels in whole blocks.
fn padded(channels: usize) -> usize {
    channels.next_multiple_of(kernel::LANES)
}

/// SIMD levels of this machine.
fn levels() -> Vec<Level> {
    let best = Level::new();
    let mut levels = vec![best];
    #[cfg(target_arch = "x86_64")]
    {
        levels.extend(best.as_avx2().map(Level::Avx2));
        levels.extend(best.as_sse4_2().map(Level::Sse4_2));
        levels.extend(best.as_sse2().map(Level::Sse2));
    }
    levels
}

/// One scratch memory is used for all, so that a value left over from other images would be noticed.
#[test]
fn every_set_of_instructions_gives_the_same() {
    let mut scratch = Scratch::default();
    for (index, ([n, channels, height, width], ratio, side)) in SHAPES.into_iter().enumerate() {
        let rows = channels / ratio * padded(channels);
        let sizes = Sizes { channels, height, width };
        let values =
            |length: usize, seed| (random([1, 1, 1, length], seed) / 30.0).into_raw_vec_and_offset().0;
        let x = values(n * sizes.values(), index as u64);
        let (squeeze, excite, taps) = (values(rows, 1), values(rows, 2), values(2 * side * side, 3));
        let (hidden, bias) = (values(channels / ratio, 4), values(padded(channels), 5));
        let mlp = Mlp { squeeze: &squeeze, excite: &excite };
        let scores = [
            Scores::MeansAndMaxima(mlp),
            Scores::Means(mlp, Biases { squeeze: &hidden, excite: &bias }),
            Scores::Neighbours(&taps[..side]),
        ];
        let gates = [Gate::Sigmoid, Gate::HardSigmoid];
        let channel = gates.iter().flat_map(|&gate| scores.map(|scores| Channel { scores, gate }));
        let spatial = Convolution { side, taps: &taps };
        let both = channel.flat_map(|channel| [(Some(channel), Some(spatial)), (Some(channel), None)]);
        for (channel, spatial) in both.chain([(None, Some(spatial))]) {
            let weights = Weights { channel, spatial };
            let mut results = levels().into_iter().map(|level| {
                let mut out = vec![f32::NAN; x.len()];
                attention(level, sizes, weights, &x, &mut out, &mut scratch).unwrap();
                out
            });
            let first = results.next().unwrap();
            for result in results {
                assert!(result.iter().zip(&first).all(|(a, b)| (a - b).abs() < 1e-6), "{sizes:?}");
            }
        }
    }
}

#[test]
fn weights_of_others_are_refused() {
    let sizes = Sizes { channels: 16, height: 4, width: 4 };
    let (rows, taps, x) = ([0.5; 64], [0.5; 18], [1.0; 256]);
    let run = |scores, side, values| {
        let weights = Weights {
            channel: Some(Channel { scores, gate: Gate::Sigmoid }),
            spatial: Some(Convolution { side, taps: &taps }),
        };
        let mut out = vec![0.0; values];
        attention(Level::new(), sizes, weights, &x[..values], &mut out, &mut Scratch::default())
    };
    let mlp = |rows| Mlp { squeeze: rows, excite: rows };
    let both = |rows| Scores::MeansAndMaxima(mlp(rows));
    let means =
        |hidden, bias| Scores::Means(mlp(&rows), Biases { squeeze: &rows[..hidden], excite: &rows[..bias] });
    for right in [both(&rows), means(4, 16), Scores::Neighbours(&rows[..5])] {
        run(right, 3, 256).unwrap();
    }
    for (scores, side, values) in [
        (both(&rows[1..]), 3, 256),
        (both(&rows), 5, 256),
        (both(&rows), 3, 255),
        (means(3, 16), 3, 256),
        (means(4, 15), 3, 256),
        (Scores::Neighbours(&rows[..4]), 3, 256),
    ] {
        let error = run(scores, side, values).unwrap_err();
        assert_eq!(error.to_string(), "attention weights for other images than [16, 4, 4]");
    }
}

/// Runs a network with fused attention from several threads and sessions at once.
#[test]
fn in_a_network_from_several_threads() {
    let network = Classifier::new(&Architecture::default()).unwrap();
    let weights = testing::weights(&network, &[1, 3, 32, 32]).unwrap();
    let graph = onnx::trace(&network, &weights, &Interface::new([3, 32, 32]), Opset::default()).unwrap();
    let file = onnx::encode(graph, &[]);
    let open = |attention| Session::from_bytes(&file, &options().attention(attention)).unwrap();
    let fused = [open(AttentionKernels::Fused), open(AttentionKernels::Fused)];
    assert_eq!(fused[0].fusion().fused.len(), 4, "{:?}", fused[0].fusion());
    let stock = open(AttentionKernels::Stock);
    std::thread::scope(|scope| {
        for (thread, session) in fused.iter().cycle().take(4).enumerate() {
            let stock = &stock;
            scope.spawn(move || {
                for round in 0..3 {
                    let x = random([1 + round, 3, 32, 32], (10 * thread + round) as u64);
                    let (a, b) = (session.run(x.view()).unwrap(), stock.run(x.view()).unwrap());
                    assert!(difference(&a, &b) < 1e-5, "{}", difference(&a, &b));
                }
            });
        }
    });
}

/// Finds attention in files of both of PyTorch's exporters, see `attention/generate.py`.
#[test]
fn found_in_files_by_pytorch() {
    let folder = support::unpacked(include_bytes!("attention/files.tar.gz"));
    let shape = [2, 3, 9, 7];
    let x = Array4::from_shape_vec(shape, (0..shape.iter().product()).map(|at| at as f32 / 100.0).collect());
    let expected = fs::read(folder.path().join("output.f32")).unwrap();
    let expected = expected.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    let expected = ArrayD::from_shape_vec(vec![2, 24, 5, 4], expected).unwrap();
    let mut files = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|extension| extension != "onnx") {
            continue;
        }
        let session = Session::from_file(&file, &options()).unwrap();
        let fused = &session.fusion().fused;
        assert_eq!((fused.len(), fused[0].kind), (1, Kind::Cbam), "{file:?}: {:?}", session.fusion());
        let difference = difference(&session.run(x.as_ref().unwrap().view()).unwrap(), &expected);
        assert!(difference < 1e-5, "{file:?}: {difference}");
        files += 1;
    }
    assert_eq!(files, 8);
}

/// A model can name any file as that of its weights; only files in its folder are opened.
#[test]
fn weights_outside_the_folder_are_not_read() {
    const INSIDE: &str = "dynamo-external.onnx.data";
    const OUTSIDE: &str = "../elsewhere/weights.data";
    let files = support::unpacked(include_bytes!("attention/files.tar.gz"));
    let folder = tempfile::tempdir().unwrap();
    let [model, elsewhere] = ["model", "elsewhere"].map(|name| folder.path().join(name));
    fs::create_dir(&model).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    fs::copy(files.path().join(INSIDE), model.join(OUTSIDE)).unwrap();
    let mut bytes = fs::read(files.path().join("dynamo-external.onnx")).unwrap();
    while let Some(at) = bytes.windows(INSIDE.len()).position(|part| part == INSIDE.as_bytes()) {
        bytes[at..at + OUTSIDE.len()].copy_from_slice(OUTSIDE.as_bytes());
    }
    let file = model.join("model.onnx");
    fs::write(&file, bytes).unwrap();
    for attention in [AttentionKernels::Fused, AttentionKernels::Stock] {
        let error = Session::from_file(&file, &options().attention(attention)).unwrap_err();
        let reason = ferronnx_infer::error::chain(&error);
        assert!(reason.contains("External data path"), "{reason}");
    }
}

/// A graph that is not exactly attention is not fused, and the reason is reported.
#[test]
fn what_is_not_exactly_attention_is_left() {
    let cbam = Cbam::new("cbam", 16, Attention { ratio: 4, kernel: 3 });
    let weights = testing::weights(&cbam, &[1, 16, 4, 4]).unwrap();
    let trace = |observed| {
        onnx::trace(&cbam, &weights, &Interface::new([16, 4, 4]).observed(observed), Opset::default())
            .unwrap()
    };
    // Returns which parts were fused and the reasons for the others, after a check that the results are the same.
    let fusion = |graph| {
        let file = onnx::encode(graph, &[]);
        let open = |attention| Session::from_bytes(&file, &options().attention(attention)).unwrap();
        let (stock, fused) = (open(AttentionKernels::Stock), open(AttentionKernels::Fused));
        let x = random([2, 16, 4, 4], 1);
        assert!(difference(&fused.run(x.view()).unwrap(), &stock.run(x.view()).unwrap()) < 1e-5);
        let Fusion { fused, rejected, .. } = fused.fusion().clone();
        (
            fused.iter().map(|fused| fused.kind).collect::<Vec<_>>(),
            rejected.iter().map(|rejected| rejected.reason.clone()).collect::<Vec<_>>().join("; "),
        )
    };
    assert_eq!(fusion(trace(false)), (vec![Kind::Cbam], String::new()));

    let (fused, reasons) = fusion(trace(true));
    assert!(fused.is_empty() && reasons.matches("is an output of the network").count() == 2, "{reasons}");

    let mut other = trace(false);
    other.graph.nodes.iter_mut().find(|node| node.is("ReduceMax")).unwrap().op = "ReduceMin".into();
    assert_eq!(fusion(other).0, [Kind::Channel]);

    let mut other = trace(false);
    other.graph.nodes.iter_mut().find(|node| node.is("GlobalMaxPool")).unwrap().op =
        "GlobalAveragePool".into();
    assert_eq!(fusion(other).0, [Kind::Spatial]);

    let mut other = trace(false);
    let kernel = other.graph.nodes.iter_mut().find(|node| node.is("Conv")).unwrap();
    kernel.inputs.push("bias".into());
    other.graph.initializers.insert("bias".into(), ArrayD::<f32>::zeros(vec![1]).into());
    let (fused, reasons) = fusion(other);
    assert_eq!(fused, [Kind::Channel]);
    assert!(reasons.contains("bias of /cbam/spatial_attn/conv/Conv is another"), "{reasons}");
}

/// Networks with every kind of attention at every place compute the same with our operators, on images of odd sizes.
#[test]
fn networks_with_any_attention_are_equal() {
    let kinds = [
        AttentionKind::Cbam(Attention { ratio: 8, kernel: 5 }),
        AttentionKind::Se { ratio: 8 },
        AttentionKind::Eca { kernel: 5 },
    ];
    for (network, side) in [(Network::Resnet18, 33), (Network::MobilenetV3Small, 50)] {
        for kind in kinds {
            for at in ["blocks", "stages", "stages:1,3"] {
                let attention = Some(PlacedAttention { kind, at: at.parse().unwrap() });
                let architecture =
                    Architecture { network, stem: Stem::Imagenet, attention, ..Architecture::default() };
                let module = Classifier::new(&architecture).unwrap();
                let file = file(&module, [1, 3, side, side], 17);
                let open = |kernels| Session::from_bytes(&file, &options().attention(kernels)).unwrap();
                let (stock, fused) = (open(AttentionKernels::Stock), open(AttentionKernels::Fused));
                assert!(fused.fusion().rejected.is_empty() && !fused.fusion().fused.is_empty());
                let auto = open(AttentionKernels::default());
                let Fusion { fused: by_us, kept, .. } = auto.fusion();
                assert!(by_us.iter().all(|one| one.kind == Kind::Cbam));
                assert!(kept.iter().all(|one| one.kind != Kind::Cbam));
                assert_eq!(by_us.len() + kept.len(), fused.fusion().fused.len(), "{architecture}");
                let x = random([3, 3, side, side], 7);
                let difference = difference(&fused.run(x.view()).unwrap(), &stock.run(x.view()).unwrap());
                assert!(difference < 1e-5, "{architecture}: {difference}");
            }
        }
    }
}
