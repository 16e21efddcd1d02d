"""Writes small classifiers whose outputs mean different things, and checks each meaning on ONNX Runtime.

    pip install onnx onnxruntime scikit-learn skl2onnx && python generate.py

The file's name begins with what its output means: logits, probabilities, log-probabilities, scores, class, maps or
unknown. Files made by sklearn-onnx begin with `sklearn-`; `sklearn.json` says what each of their outputs means. All
are packed into files.tar.gz.
Made with onnx 1.23, ONNX Runtime 1.31 and skl2onnx 1.20.
"""
import json
import pathlib
import sys
import tempfile

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort

FOLDER = pathlib.Path(__file__).parent
HERE = pathlib.Path(tempfile.mkdtemp())
sys.path.append(str(FOLDER.parent))
from packing import pack  # noqa: E402

RANDOM = np.random.default_rng(7)
W = "<float[3,4] w = {0.9,-0.4,0.3,1.1,-0.7,0.5,1.3,-0.2,0.4,0.8,-1.2,0.6}, float[4] b = {0.1,-0.2,0.3,0.0}>"
GEMM = "z = Gemm(x, w, b)\n"
written = set()


def case(name, body, opset=17, out="float[N,4] y", functions="", rest="", ml=False):
    """Writes one file; `z` are its logits."""
    domains = [f'"" : {opset}'] + ['"com.microsoft" : 1'] * ("microsoft" in body) + ['"local" : 1'] * bool(functions)
    domains += ['"ai.onnx.ml" : 3'] * ml
    text = f'<ir_version: 8, opset_import: [{", ".join(domains)}]>\nmain (float[N,3] x) => ({out}) {W} {{\n{GEMM}{body}\n}}\n{functions}'
    model = onnx.parser.parse_model(text)
    save(name, model)


def save(name, model):
    kind = name.split("-")[0] if not name.startswith("log-prob") else "log"
    path = HERE / f"{name}.onnx"
    onnx.save(model, path)
    written.add(path.name)
    if "unrunnable" in name:
        return
    x = (3 * RANDOM.standard_normal((5, 3))).astype(np.float32)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    rows = session.run(None, {"x": x})[0]
    if kind in ("class", "maps", "unknown"):
        return
    rows = np.asarray(rows, np.float64).reshape(5, -1)
    ones, inside = np.abs(rows.sum(1) - 1) < 4e-2, rows.min() >= -1e-3 and rows.max() <= 1 + 1e-3
    expected = {
        "logits": not inside,
        "probabilities": bool(inside and ones.all()),
        "log": bool((np.abs(np.exp(rows).sum(1) - 1) < 2e-2).all()),
        "scores": bool(inside and not ones.all()),
    }[kind]
    assert expected, (name, rows)


# Plain ends.
case("logits-gemm", "y = Identity(z)")
case("probabilities-softmax", "y = Softmax(z)")
case("log-probabilities-softmax", "y = LogSoftmax<axis = 1>(z)")
case("scores-sigmoid", "y = Sigmoid(z)")
case("scores-hard-sigmoid", "y = HardSigmoid<alpha = 0.1>(z)")
case("scores-one", "s = Sigmoid(z)\ns1 = Constant<value_ints = [0]>()\ne1 = Constant<value_ints = [1]>()\n"
     "y = Slice(s, s1, e1, e1)", out="float[N,1] y")

# What keeps values.
case("probabilities-identity", "p = Softmax(z)\ny = Identity(p)")
case("probabilities-cast", "h = Cast<to = 10>(z)\np = Softmax(h)\ny = Cast<to = 1>(p)")
case("probabilities-dropout", "p = Softmax(z)\ny = Dropout(p)")
case("probabilities-clip", "p = Softmax(z)\nlow = Constant<value_float = 0.0000001>()\nhigh = Constant<value_float = 1.0>()\ny = Clip(p, low, high)")
case("unknown-clip", "p = Softmax(z)\nlow = Constant<value_float = 0.3>()\ny = Clip(p, low)")
case("probabilities-concat-one", "p = Softmax(z)\ny = Concat<axis = 1>(p)")
QDQ = "sc = Constant<value = float {0.00390625}>()\nzp = Constant<value = uint8 {0}>()\n"
case("probabilities-qdq", QDQ + "p = Softmax(z)\nq = QuantizeLinear(p, sc, zp)\ny = DequantizeLinear(q, sc, zp)")
case("probabilities-qdq-reshape", QDQ + "f = Constant<value_ints = [-1, 4, 1, 1]>()\nr = Reshape(z, f)\np = Softmax<axis = 1>(r)\n"
     "q = QuantizeLinear(p, sc, zp)\ng = Flatten(q)\ny = DequantizeLinear(g, sc, zp)")
case("unknown-quantized", QDQ + "p = Softmax(z)\ny = QuantizeLinear(p, sc, zp)", out="uint8[N,4] y")
case("unknown-requantized", QDQ + "s2 = Constant<value = float {0.0078125}>()\np = Softmax(z)\nq = QuantizeLinear(p, sc, zp)\ny = DequantizeLinear(q, s2, zp)")
case("logits-qdq", "sc = Constant<value = float {0.1}>()\nzp = Constant<value = uint8 {128}>()\nq = QuantizeLinear(z, sc, zp)\ny = DequantizeLinear(q, sc, zp)")
case("probabilities-qlinear-unrunnable", QDQ + "zs = Constant<value = float {0.1}>()\nzz = Constant<value = uint8 {128}>()\nq = QuantizeLinear(z, zs, zz)\n"
     "p = com.microsoft.QLinearSoftmax<axis = 1, opset = 13>(q, zs, zz, sc, zp)\ny = DequantizeLinear(p, sc, zp)")
case("scores-qlinear", QDQ + "zs = Constant<value = float {0.1}>()\nzz = Constant<value = uint8 {128}>()\nq = QuantizeLinear(z, zs, zz)\n"
     "p = com.microsoft.QLinearSigmoid(q, zs, zz, sc, zp)\ny = DequantizeLinear(p, sc, zp)")

# Axes.
MAP = "f = Constant<value_ints = [-1, 4, 1, 1]>()\nr = Reshape(z, f)\n"
case("probabilities-map-flatten", MAP + "p = Softmax<axis = 1>(r)\ny = Flatten(p)")
case("probabilities-map-squeeze", MAP + "a = Constant<value_ints = [2, 3]>()\np = Softmax<axis = 1>(r)\ny = Squeeze(p, a)")
case("probabilities-map", MAP + "y = Softmax<axis = 1>(r)", out="float[N,4,1,1] y")
case("probabilities-map-reshape", MAP + "t = Constant<value_ints = [0, -1]>()\np = Softmax<axis = 1>(r)\ny = Reshape(p, t)")
case("probabilities-nhwc", "f = Constant<value_ints = [-1, 1, 1, 4]>()\nr = Reshape(z, f)\np = Softmax(r)\nt = Transpose<perm = [0,3,1,2]>(p)\ny = Flatten(t)")
case("probabilities-transposed", "t = Transpose(z)\np = Softmax<axis = 0>(t)\ny = Transpose(p)")
case("unknown-axis-of-size-1", MAP + "p = Softmax<axis = -1>(r)\ny = Flatten(p)")
case("unknown-batch-axis", "y = Softmax<axis = 0>(z)")
case("unknown-batch-axis-transposed", "t = Transpose(z)\np = Softmax<axis = 1>(t)\ny = Transpose(p)")
case("unknown-two-softmaxes", "f = Constant<value_ints = [-1, 2]>()\ng = Constant<value_ints = [-1, 4]>()\nr = Reshape(z, f)\np = Softmax(r)\ny = Reshape(p, g)")
case("unknown-over-one", "s1 = Constant<value_ints = [0]>()\ne1 = Constant<value_ints = [1]>()\ns = Slice(z, s1, e1, e1)\ny = Softmax(s)", out="float[N,1] y")
case("probabilities-opset11", "y = Softmax(z)", opset=11)
case("probabilities-opset11-map", "f = Constant<value = int64[4] {-1,4,1,1}>()\nr = Reshape(z, f)\np = Softmax(r)\ny = Flatten(p)", opset=11)
case("probabilities-opset11-nhwc", "f = Constant<value = int64[4] {-1,1,1,4}>()\nr = Reshape(z, f)\np = Softmax(r)\ny = Flatten(p)", opset=11)
case("unknown-opset11-all", "y = Softmax<axis = 0>(z)", opset=11)

# In parts.
EXP = "m = ReduceMax<axes = [1]>(z)\nd = Sub(z, m)\ne = Exp(d)\n"
SUM = "a = Constant<value_ints = [1]>()\ns = ReduceSum(e, a)\n"
ONE = "one = Constant<value_float = 1.0>()\n"
case("probabilities-parts", "e = Exp(z)\n" + SUM + "y = Div(e, s)")
case("probabilities-parts-max", EXP + SUM + "y = Div(e, s)")
case("probabilities-parts-reciprocal", EXP + SUM + "i = Reciprocal(s)\ny = Mul(e, i)")
case("probabilities-parts-one-over", EXP + SUM + ONE + "i = Div(one, s)\ny = Mul(i, e)")
case("probabilities-parts-power", EXP + SUM + "n = Constant<value_float = -1.0>()\ni = Pow(s, n)\ny = Mul(e, i)")
case("probabilities-parts-epsilon", EXP + SUM + "t = Constant<value_float = 0.0000001>()\nu = Add(s, t)\ny = Div(e, u)")
case("probabilities-parts-unsqueeze", EXP + "a = Constant<value_ints = [1]>()\ns = ReduceSum<keepdims = 0>(e, a)\nu = Unsqueeze(s, a)\ny = Div(e, u)")
case("probabilities-parts-l1", EXP + "s = ReduceL1<axes = [1]>(e)\ny = Div(e, s)")
case("probabilities-parts-cast", EXP + "h = Cast<to = 11>(e)\na = Constant<value_ints = [1]>()\ns = ReduceSum(h, a)\nu = Cast<to = 1>(s)\ny = Div(e, u)")
case("probabilities-parts-opset11", "e = Exp(z)\ns = ReduceSum<axes = [1]>(e)\ny = Div(e, s)", opset=11)
case("unknown-parts-batch", "e = Exp(z)\na = Constant<value_ints = [0]>()\ns = ReduceSum(e, a)\ny = Div(e, s)")
case("unknown-parts-other", "e = Exp(z)\na = Constant<value_ints = [1]>()\nf = Neg(z)\ng = Exp(f)\ns = ReduceSum(g, a)\ny = Div(e, s)")
case("unknown-shares-of-logits", "a = Constant<value_ints = [1]>()\ns = ReduceSum(z, a)\ny = Div(z, s)")
case("probabilities-shares-of-scores", "e = Sigmoid(z)\n" + SUM + "y = Div(e, s)")
case("log-probabilities-parts-lse", "s = ReduceLogSumExp<axes = [1]>(z)\ny = Sub(z, s)")
case("log-probabilities-parts-log", EXP + SUM + "l = Log(s)\ny = Sub(d, l)")
case("log-probabilities-parts-add", EXP + SUM + "l = Log(s)\nk = Add(l, m)\ny = Sub(z, k)")
case("log-probabilities-log", "p = Softmax(z)\ny = Log(p)")
case("probabilities-exp-log", "l = LogSoftmax(z)\ny = Exp(l)")
case("probabilities-exp-lse", "s = ReduceLogSumExp<axes = [1]>(z)\nl = Sub(z, s)\ny = Exp(l)")
case("scores-parts", ONE + "n = Neg(z)\ne = Exp(n)\nd = Add(one, e)\ny = Div(one, d)")
case("scores-parts-reciprocal", ONE + "n = Neg(z)\ne = Exp(n)\nd = Add(e, one)\ny = Reciprocal(d)")
case("scores-parts-quotient", ONE + "e = Exp(z)\nd = Add(e, one)\ny = Div(e, d)")
case("scores-parts-tanh", "h = Constant<value_float = 0.5>()\nk = Mul(z, h)\nt = Tanh(k)\nu = Mul(t, h)\ny = Add(u, h)")
case("scores-parts-tanh-2", ONE + "h = Constant<value_float = 2.0>()\nk = Div(z, h)\nt = Tanh(k)\nu = Add(one, t)\ny = Div(u, h)")
case("unknown-tanh", "y = Tanh(z)")
TWO = "st = Constant<value_ints = [0]>()\nen = Constant<value_ints = [1]>()\nf = Slice(z, st, en, en)\np = Sigmoid(f)\nq = Sub(one, p)\n"
case("probabilities-two", ONE + TWO + "y = Concat<axis = 1>(q, p)", out="float[N,2] y")
case("probabilities-two-stacked", ONE + "w1 = Constant<value_ints = [1]>()\nz0 = Constant<value_int = 0>()\nf = Gather<axis = 1>(z, z0)\n"
     "p = Sigmoid(f)\nq = Sub(one, p)\nu = Unsqueeze(p, w1)\nv = Unsqueeze(q, w1)\ny = Concat<axis = 1>(v, u)", out="float[N,2] y")
case("unknown-two-of-different", ONE + TWO + "g = Neg(f)\nh = Sigmoid(f)\nk = Tanh(g)\nl = Sub(one, h)\ny = Concat<axis = 1>(l, l)", out="float[N,2] y")
case("probabilities-shares-of-sum", ONE + "r = Relu(z)\ne = Add(r, one)\n" + SUM + "y = Div(e, s)")
case("scores-twice", ONE + TWO + "y = Concat<axis = 1>(p, p)", out="float[N,2] y")

# Arithmetic.
case("logits-temperature", "t = Constant<value_float = 2.5>()\ny = Div(z, t)")
case("logits-bias", "y = Add(z, b)")
case("unknown-negated", "t = Constant<value_float = -1.0>()\ny = Mul(z, t)")
case("unknown-percent", "t = Constant<value_float = 100.0>()\np = Softmax(z)\ny = Mul(p, t)")
case("probabilities-ensemble", "t = Constant<value_float = 0.5>()\nk = Mul(z, t)\np = Softmax(z)\nq = Softmax(k)\ns = Add(p, q)\ny = Mul(s, t)")
case("probabilities-mean", "t = Constant<value_float = 0.5>()\nk = Mul(z, t)\np = Softmax(z)\nq = Softmax(k)\ny = Mean(p, q)")
case("unknown-complement", ONE + "p = Softmax(z)\ny = Sub(one, p)")
case("unknown-subset", "st = Constant<value_ints = [1]>()\nen = Constant<value_ints = [3]>()\np = Softmax(z)\ny = Slice(p, st, en, st)", out="float[N,2] y")
case("logits-subset", "st = Constant<value_ints = [1]>()\nen = Constant<value_ints = [3]>()\ny = Slice(z, st, en, st)", out="float[N,2] y")
case("unknown-relu", "y = Relu(z)")
case("class-argmax", "y = ArgMax<axis = 1, keepdims = 0>(z)", out="int64[N] y")
case("class-argmax-cast", "p = Softmax(z)\na = ArgMax<axis = 1, keepdims = 0>(p)\ny = Cast<to = 1>(a)", out="float[N] y")
case("logits-attention", "p = Softmax(z)\nt = Transpose(w)\nh = MatMul(p, t)\ny = MatMul(h, w)")

# Functions and branches.
SOFT = '<domain: "local", opset_import: ["" : 17]>\nsoft <ax> (v) => (r) {\nl = Identity(v)\nr = Softmax<axis : int = @ax>(l)\n}\n'
WRAP = '<domain: "local", opset_import: ["" : 17]>\nwrap (v) => (r) {\nr = Identity(v)\n}\n'
case("probabilities-function", "p = local.soft<ax = 1>(z)\ny = Identity(p)", functions=SOFT)
case("unknown-function-batch", "y = local.soft<ax = 0>(z)", functions=SOFT)
case("probabilities-before-function", "p = Softmax(z)\ny = local.wrap(p)", functions=WRAP)
NESTED = '<domain: "local", opset_import: ["" : 17, "local" : 1]>\nouter (v) => (r) {\np = Softmax<axis = 1>(v)\nr = local.wrap(p)\n}\n'
case("probabilities-nested-function", "y = local.outer(z)", functions=NESTED + WRAP)
IF = "y = If(c) <then_branch = g1 () => (float[N,4] t) {{ {} }}, else_branch = g2 () => (float[N,4] u) {{ {} }}>"
case("probabilities-if", "n = Size(x)\nk = Constant<value = int64 {3}>()\nc = Equal(n, k)\n" + IF.format("t = Softmax(z)", "i = Identity(z)\nu = Softmax<axis = 1>(i)"))
case("unknown-if", "n = Size(x)\nk = Constant<value = int64 {3}>()\nc = Equal(n, k)\n" + IF.format("t = Softmax(z)", "u = Sigmoid(z)"))
case("scores-if-constant", "c = Constant<value = bool {0}>()\n" + IF.format("t = Softmax(z)", "u = Sigmoid(z)"))

# Positions of an image.
POSITIONS = "f = Constant<value_ints = [-1, 1, 1, 4]>()\nr = Reshape(z, f)\nr2 = Neg(r)\nc0 = Concat<axis = 1>(r, r2)\nm = Transpose<perm = [0,3,1,2]>(c0)\n"
case("probabilities-averaged", POSITIONS + "p = Softmax<axis = 1>(m)\ng = GlobalAveragePool(p)\ny = Flatten(g)")
case("unknown-averaged-positions", POSITIONS + "p = Softmax<axis = 2>(m)\ng = GlobalAveragePool(p)\ny = Flatten(g)")
case("logits-pooled", POSITIONS + "p = Relu(m)\ng = GlobalAveragePool(p)\ny = Flatten(g)")
case("probabilities-reduced", POSITIONS + "p = Softmax<axis = 1>(m)\ny = ReduceMean<axes = [2,3], keepdims = 0>(p)")
case("scores-pooled-max", POSITIONS + "p = Sigmoid(m)\ng = GlobalMaxPool(p)\ny = Flatten(g)")


def sklearn():
    from sklearn.datasets import load_iris
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.svm import SVC, LinearSVC
    from sklearn.tree import DecisionTreeClassifier
    from skl2onnx import to_onnx

    x, y = load_iris(return_X_y=True)
    x, names = x.astype(np.float32)[:, :3], np.array(["setosa", "versicolor", "virginica"])
    two = y < 2
    answers = {}
    models = {
        "logistic": (LogisticRegression(), False), "logistic-two": (LogisticRegression(), True),
        "mlp": (MLPClassifier((4,), max_iter=300), False), "mlp-two": (MLPClassifier((4,), max_iter=300), True),
        "forest": (RandomForestClassifier(3, max_depth=2), False), "forest-two": (RandomForestClassifier(3, max_depth=2), True),
        "tree": (DecisionTreeClassifier(max_depth=2), False),
        "boosting": (GradientBoostingClassifier(n_estimators=2, max_depth=2), False),
        "svc": (SVC(), False), "linear-svc": (LinearSVC(), False),
    }
    for name, (model, binary) in models.items():
        chosen = two if binary else np.ones(len(y), bool)
        labels = names[y] if name != "tree" else y
        model.fit(x[chosen], labels[chosen])
        for zipmap in (False, True):
            if zipmap and name not in ("logistic", "mlp"):
                continue
            file = f"sklearn-{name}{'-zipmap' if zipmap else ''}.onnx"
            options = {} if zipmap else {id(model): {"zipmap": False}}
            if "svc" in name:
                options = {}
            onx = to_onnx(model, x[:1], options=options, target_opset={"": 17, "ai.onnx.ml": 3})
            (HERE / file).write_bytes(onx.SerializeToString())
            written.add(file)
            session = ort.InferenceSession(HERE / file, providers=["CPUExecutionProvider"])
            outputs = session.run(None, {session.get_inputs()[0].name: x[chosen][::7]})
            meanings = {}
            for info, rows in zip(session.get_outputs(), outputs):
                if isinstance(rows, list):
                    kind = "maps"
                elif rows.ndim == 1:
                    kind = "class"
                elif rows.min() >= 0 and np.allclose(rows.sum(1), 1, atol=1e-3):
                    kind = "probabilities"
                else:
                    kind = "logits"
                meanings[info.name] = kind
            answers[file] = {"outputs": meanings, "classes": [str(c) for c in model.classes_]}
    (HERE / "sklearn.json").write_text(json.dumps(answers, indent=1) + "\n")


sklearn()
print(len(written), "files", sum((HERE / name).stat().st_size for name in written), "bytes")
pack(HERE, FOLDER / "files.tar.gz")
