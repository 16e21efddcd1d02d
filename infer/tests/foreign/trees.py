"""Classifiers of scikit-learn, converted by skl2onnx: a label comes before the probabilities."""
import numpy as np
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

import oracle
from cases import UNIT, case
from networks import CLASSES, DOMAINS, IR, OPSET

SIDE = 6
FLAGS = [*UNIT, "--image-size", str(SIDE), "--channels", "rgb", "--layout", "nhwc"]


def data(classes):
    """Noisy crops of the test images' kind, flattened as NumPy does: rows, columns, channels."""
    rng = np.random.default_rng(3)
    bases = [oracle.tensor(image, SIDE, SIDE, layout="nhwc").reshape(-1) for image in oracle.images().values()]
    bases += [1 - base for base in bases]
    rows = [base + rng.normal(0, 0.35, base.shape) for base in bases[:len(classes)] for _ in range(30)]
    return np.array(rows, np.float32), np.repeat(classes, 30)


def converted(model, **options):
    flat = [("X", FloatTensorType([None, 3 * SIDE * SIDE]))]
    versions = {"": OPSET, "ai.onnx.ml": DOMAINS["ai.onnx.ml"]}
    onnx = to_onnx(model, initial_types=flat, options={id(model): options}, target_opset=versions)
    onnx.ir_version = IR
    return onnx.SerializeToString()


def pipelines():
    """Adds the cases."""
    how = {"values": "probabilities", "rank": 2, "layout": "nhwc", "size": (SIDE, SIDE)}
    named = how | {"flags": [*FLAGS, "--labels", "five.json"], "output": "probabilities"}
    linear = LogisticRegression(C=0.02).fit(*data(np.array(CLASSES)))
    case("sklearn_logistic", converted(linear, zipmap=False), **named, why="a string label before the probabilities")
    case("sklearn_own_labels", file="sklearn_logistic.onnx", expect="either", output="probabilities", flags=FLAGS,
         **how, why="the classes are in the operator LinearClassifier")
    case("sklearn_logistic_zipmap", converted(linear), expect="either", **named | {"output": "output_probability"},
         why="a sequence of maps from class to probability: read, or refused by the name ZipMap")
    case("sklearn_logistic_columns", converted(linear, zipmap="columns"), expect="refuse", **named,
         why="one output for each class")
    case("sklearn_raw", converted(linear, zipmap=False, raw_scores=True), **named | {"values": "logits"},
         why="raw scores under the name `probabilities`; of this classifier they are logits")
    numbers = LogisticRegression(C=0.02).fit(*data(np.arange(5)))
    case("sklearn_numbers", converted(numbers, zipmap=False), **named, why="an int64 label before the probabilities")
    two = ["no", "yes"]
    case("sklearn_binary", converted(LogisticRegression(C=0.02).fit(*data(np.array(two))), zipmap=False), classes=two,
         **named | {"flags": [*FLAGS, "--labels", "two.json"]})
    forest = RandomForestClassifier(6, max_depth=3, random_state=0).fit(*data(np.array(CLASSES)))
    case("sklearn_forest", converted(forest, zipmap=False), **named)
    mlp = MLPClassifier((8,), solver="lbfgs", alpha=30, random_state=0).fit(*data(np.array(CLASSES)))
    case("sklearn_mlp", converted(mlp, zipmap=False), **named, why="Softmax of the default domain, before a Cast")
