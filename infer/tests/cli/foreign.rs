//! Tests of models of other tools, which have no card.

use std::fs;

use ferronnx_models::onnx::{self, Dim, Element, Node, Tensor, ValueInfo};

use crate::support::{BLUE, GREEN, Model, RED, Said, Workplace};

const NORMALISATION: [&str; 4] = ["--mean", "0,0,0", "--std", "1,1,1"];
const NAMES: (&str, &str) = ("names", "{0: 'red', 1: 'green', 2: \"blue\"}");

/// Makes a folder with the model as `m.onnx`, and images in three colours.
fn place(graph: onnx::Model, metadata: &[(&str, &str)]) -> Workplace {
    let place = Workplace::without_model();
    for (name, color) in [("p/a.png", RED), ("p/b.png", GREEN), ("p/c.png", BLUE)] {
        place.image(name, color);
    }
    fs::write(place.path("three.txt"), "red\n green\nblue\n\n").unwrap();
    fs::write(place.path("m.onnx"), onnx::encode(graph, metadata)).unwrap();
    place
}

fn resize(value: &mut ValueInfo, axis: usize, size: Dim) {
    let mut tensor = value.as_tensor().unwrap();
    tensor.shape[axis] = size;
    *value = tensor.into();
}

fn classify(place: &Workplace, more: &[&str]) -> Said {
    Said::by(
        place
            .infer()
            .args(["classify", "p", "--model", "m.onnx", "--format", "csv", "--top-k", "1"])
            .args(more),
    )
}

/// Parses class and probability of each image.
fn classes(said: &Said) -> Vec<(String, f64)> {
    assert_eq!(said.code, 0, "{}", said.stderr);
    let row = |line: &str| {
        let fields: Vec<_> = line.split(',').collect();
        (fields[3].to_owned(), fields[4].parse().unwrap())
    };
    said.stdout.lines().skip(1).map(row).collect()
}

#[test]
fn what_is_unknown_is_asked_for_by_its_flag() {
    let graph = Model::default().graph;
    let bare = place(graph.clone(), &[]);
    classify(&bare, &[]).fails(2, &["m.onnx: has neither a model card", "`names`", "--labels FILE"]);
    let named = place(graph, &[NAMES]);
    classify(&named, &[]).fails(2, &["m.onnx: has no model card", "--mean", "--std"]);
    classify(&named, &["--labels", "gone.txt"]).fails(2, &["gone.txt: no such file"]);
    classify(&named, &["--mean", "1,2"]).fails(2, &["--mean", "three numbers"]);
    fs::write(bare.path("two.txt"), "red\ngreen").unwrap();
    let said = classify(&bare, &[&NORMALISATION[..], &["--labels", "two.txt"]].concat());
    said.fails(2, &["gives [batch, 3], but there are 2 labels"]);
}

#[test]
fn names_are_in_the_file_or_in_another() {
    let graph = Model::default().graph;
    let own = Workplace::new();
    fs::rename(own.path("model.onnx"), own.path("m.onnx")).unwrap();
    for (name, color) in [("p/a.png", RED), ("p/b.png", GREEN), ("p/c.png", BLUE)] {
        own.image(name, color);
    }
    let expected = classes(&classify(&own, &[]));
    assert_eq!(expected.iter().map(|(label, _)| &label[..]).collect::<Vec<_>>(), ["red", "green", "blue"]);
    let named = place(graph.clone(), &[NAMES]);
    assert_eq!(classes(&classify(&named, &NORMALISATION)), expected);
    let with_labels = [&NORMALISATION[..], &["--labels", "three.txt"]].concat();
    assert_eq!(classes(&classify(&place(graph, &[]), &with_labels)), expected);
    fs::write(own.path("three.txt"), "red\ngreen\nblue").unwrap();
    let said = classify(&own, &with_labels);
    said.fails(2, &["has a model card", "leave out the flags", "--labels"]);
}

#[test]
fn any_size_is_chosen_and_a_batch_of_one_is_kept() {
    let mut free = Model::default().graph;
    for (at, name) in [(2, "height"), (3, "width")] {
        resize(&mut free.graph.inputs[0], at, Dim::Symbol(name.into()));
    }
    let free = place(free, &[NAMES]);
    classify(&free, &NORMALISATION).fails(2, &["[batch, 3, height, width]", "--image-size N"]);
    let chosen = [&NORMALISATION[..], &["--image-size", "8"]].concat();
    let expected = classes(&classify(&free, &chosen));
    assert_eq!(expected.len(), 3);
    let mut single = Model::default().graph;
    resize(&mut single.graph.inputs[0], 0, Dim::Fixed(1));
    resize(&mut single.graph.outputs[0], 0, Dim::Fixed(1));
    let single = place(single, &[NAMES]);
    let found = classes(&classify(&single, &NORMALISATION));
    assert!(found.iter().zip(&expected).all(|(found, expected)| found.0 == expected.0), "{found:?}");
    let evaluated = ["evaluate", "--data", "p", "--model", "m.onnx", "--mean", "0,0,0", "--std", "1,1,1"];
    for (from, to) in [("p/a.png", "p/red/a.png"), ("p/b.png", "p/green/b.png"), ("p/c.png", "p/blue/c.png")]
    {
        fs::create_dir_all(single.path(to).parent().unwrap()).unwrap();
        fs::rename(single.path(from), single.path(to)).unwrap();
    }
    let said = Said::by(single.infer().args(evaluated));
    assert!(said.code == 0 && said.stdout.contains("100.00 %"), "{}{}", said.stdout, said.stderr);
    let benched =
        ["bench", "--images", "p", "--model", "m.onnx", "--seconds", "0", "--warm-up", "0", "--batch", "1"];
    let said = Said::by(single.infer().args(benched).args(NORMALISATION));
    assert_eq!(said.code, 0, "{}", said.stderr);
}

/// Many networks of other tools end with a softmax.
#[test]
fn a_softmax_is_not_applied_twice() {
    let graph = Model::default().graph;
    let expected = classes(&classify(&place(graph.clone(), &[NAMES]), &NORMALISATION));
    let mut ends_with_softmax = graph;
    let output = ends_with_softmax.graph.outputs[0].name.to_string();
    let softmax = Node::new("Softmax", [output], ["probabilities"]).named("softmax").with("axis", 1);
    ends_with_softmax.graph.nodes.push(softmax);
    ends_with_softmax.graph.outputs[0].name = "probabilities".into();
    let found = classes(&classify(&place(ends_with_softmax, &[NAMES]), &NORMALISATION));
    for ((label, probability), (expected_label, expected)) in found.iter().zip(&expected) {
        assert!(label == expected_label && (probability - expected).abs() < 1e-6, "{probability} {expected}");
    }
}

/// Dynamic quantisation finds one scale for a whole batch, so that a bright image would change a dark one's result.
#[test]
fn images_do_not_change_each_others_results() {
    let mut model = onnx::Model::new(onnx::Opset::default());
    let batch = || Dim::Symbol("batch".into());
    let graph = &mut model.graph;
    let image = [batch(), Dim::Fixed(3), Dim::Fixed(4), Dim::Fixed(4)];
    graph.inputs.push(ValueInfo::tensor("x", Element::Float, image));
    graph.outputs.push(ValueInfo::tensor("y", Element::Float, [batch(), Dim::Fixed(3)]));
    let weights: Vec<u8> = (0..48 * 3).map(|index: usize| (index * 37 % 23) as u8).collect();
    graph.initializers.insert("w".into(), Tensor::from_raw(Element::Int8, [48, 3], weights));
    let node = |op: &str, inputs: &[&str], outputs: &[&str]| {
        Node::new(op, inputs.iter().copied(), outputs.iter().copied()).named(op)
    };
    graph.nodes = vec![
        node("Flatten", &["x"], &["f"]).with("axis", 1),
        node("DynamicQuantizeLinear", &["f"], &["q", "scale", "zero"]),
        node("MatMulInteger", &["q", "w", "zero"], &["i"]),
        node("Cast", &["i"], &["c"]).with("to", 1),
        node("Mul", &["c", "scale"], &["y"]),
    ];
    let place = place(model, &[NAMES]);
    place.image("p/d.png", [3, 1, 2]);
    let flags = ["--mean", "0,0,0", "--std", "30,30,30", "--scale", "1"];
    let together = classes(&classify(&place, &[&flags[..], &["--batch", "4"]].concat()));
    let alone = classes(&classify(&place, &[&flags[..], &["--batch", "1"]].concat()));
    assert_eq!((together.len(), together), (4, alone));
}
