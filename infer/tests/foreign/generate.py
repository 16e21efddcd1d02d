"""Writes small models as other tools write them, images, and the right answers: `python generate.py`.

    pip install onnx==1.23.2 onnxruntime==1.31.1 numpy==2.4.6 pillow==13.0.0 scikit-learn==1.9.1 skl2onnx==1.20.0

`answers.json` has `images`, and `cases` by name:

- `file`, and `flags` that have to be given to `infer` (a file says all the rest);
- `values`: what the output is (logits, probabilities, log-probabilities, scores, unknown);
- `activation`: what has to be applied to it (softmax, sigmoid, none); `multi_label` with `threshold`; `classes`;
- `expect`: `run`; `refuse` (a message, no answers); `flags` (refused without a flag that is in `flags`, right with
  all); `either` (refused by name, or these answers);
- `why`: what a reader would get wrong;
- `answers`: for each image, `top` and the `probabilities` in the order of `classes`. The probabilities of one score p
  are 1 - p and p.

ONNX Runtime computes the outputs, Pillow and NumPy (`oracle.py`) everything before and after. The script fails if a
wrong channel order, scale or geometry would give nearly the same answers.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime
from onnx import helper

import oracle
from networks import (CLASSES, DOUBLE, FLOAT, HALF, INT8, INT32, INT64, SIDE, STRING, UINT8, Net, decomposed_sigmoid,
                      decomposed_softmax, in_function, log_sum_exp, quantized)
from trees import pipelines

HERE = pathlib.Path(__file__).parent
UNIT = ["--mean", "0,0,0", "--std", "1,1,1"]
GRAY = ["--mean", "0", "--std", "1"]
# `--scale` is the divisor of a byte: 255 gives [0, 1], 1 gives [0, 255].
BYTES_AS_FLOATS = ["--scale", "1"]
IMAGES, FILES, CASES = oracle.images(), {}, {}


def case(name, data=None, *, file=None, flags=UNIT, values="logits", activation=None, expect="run", why="",
         classes=CLASSES, output=None, rank=None, one_score=False, threshold=0.5, size=(SIDE, SIDE), **how):
    """One case; `data` is the file's bytes, `how` the preprocessing of `oracle.tensor`."""
    file = file or f"{name}.onnx"
    if data is not None:
        FILES[file] = data
        (HERE / file).write_bytes(data)
    activation = activation or {"logits": "softmax", "log-probabilities": "softmax"}.get(values, "none")
    multi_label = not one_score and (activation == "sigmoid" or values == "scores")
    entry = {"file": file, "flags": flags, "values": values, "activation": activation, "expect": expect, "why": why,
             "multi_label": multi_label, "classes": classes}
    if multi_label:
        entry["threshold"] = threshold
    if expect != "refuse":
        entry["answers"] = {image: answer(file, pixels, size, how, output, rank, entry)
                            for image, pixels in IMAGES.items()}
        tell_apart(name, file, size, how, output, rank, entry)
    CASES[name] = entry


def raw_output(file, image, size, how, output, rank):
    """The row of the output for one image; a fixed batch is filled with it, `rank` is the input's number of axes."""
    session = onnxruntime.InferenceSession(HERE / file, providers=["CPUExecutionProvider"])
    taken = session.get_inputs()[0]
    batch = taken.shape[0] if isinstance(taken.shape[0], int) else 1
    values = np.stack([oracle.tensor(image, *size, **how)] * batch)
    if rank == 2:
        values = values.reshape(batch, -1)
    if rank == 3 and how.get("channels") == "gray":
        values = values.reshape(batch, *size)
    elif rank == 3:
        values = values[0]
    names = [value.name for value in session.get_outputs()]
    found = session.run(None, {taken.name: values})[names.index(output) if output else 0]
    if isinstance(found, list):  # a ZipMap's maps
        found = np.array([list(row.values()) for row in found])
    return np.asarray(found if rank == 3 and how.get("channels") != "gray" else found[0], np.float64).reshape(-1)


def answer(file, image, size, how, output, rank, entry):
    values = oracle.probabilities(raw_output(file, image, size, how, output, rank), entry["activation"])
    return {"top": str(entry["classes"][int(values.argmax())]), "probabilities": values.round(6).tolist()}


def tell_apart(name, file, size, how, output, rank, entry):
    """Fails where a wrong preprocessing gives nearly the same answers."""
    color = {"rgb": "bgr", "bgr": "rgb"}.get(how.get("channels", "rgb"))
    wrong = {"white": how | {"white": 1 if how.get("white", 1) == 255 else 255},
             "fit": how | {"fit": "crop" if how.get("fit") == "squash" else "squash"}}
    if color:
        wrong["channels"] = how | {"channels": color}
    if how.get("dtype") in (np.uint8, np.int32):
        del wrong["white"]
    for what, other in {"right": how, **wrong}.items():
        differ, top = 0, set()
        for image, pixels in IMAGES.items():
            raw = raw_output(file, pixels, size, how, output, rank)
            right = oracle.probabilities(raw, entry["activation"])
            top.add(int(right.argmax()))
            found = oracle.probabilities(raw_output(file, pixels, size, other, output, rank), entry["activation"])
            differ = max(differ, np.nan_to_num(np.abs(right - found), nan=1).max())
        assert what == "right" or differ > 0.01, f"{name}: a wrong {what} changes {differ:.4f}"
        assert len(top) > 1, f"{name}: all images have the same class"


def outputs_of_classifiers():
    """What the last operators mean."""
    logits = lambda **more: Net().logits(**more)  # noqa: E731
    case("logits", logits().model())
    case("logits_identity", logits().add("Identity").model())
    case("temperature", logits().scaled(0.5).model(), why="logits divided by a temperature are logits")
    softmax = lambda: logits().add("Softmax", axis=1)  # noqa: E731
    p = {"values": "probabilities"}
    case("softmax", softmax().model(), **p)
    case("softmax_identity", softmax().add("Identity").model(), **p)
    case("softmax_cast", softmax().cast(HALF).cast(FLOAT).model(), **p, why="cast to fp16 and back")
    case("softmax_reshape", softmax().reshaped(-1, len(CLASSES)).model(), **p)
    case("softmax_flatten", conv().add("Softmax", axis=1).add("Flatten").model(), **p, why="[N, C, 1, 1] flattened")
    net = conv().add("Softmax", axis=1)
    case("softmax_squeeze", net.add("Squeeze", net.const([2, 3], np.int64)).model(), **p)
    case("softmax_unsqueeze", squeezed(softmax()).model(), **p)
    case("softmax_transpose", logits().transposed(1, 0).add("Softmax", axis=0).transposed(1, 0).model(), **p,
         why="the softmax is over axis 0 of [C, N], which is transposed afterwards")
    case("softmax_qdq", quantized(softmax()).model(), **p, why="as quantize_static writes it; rounded")
    case("softmax_clip", clipped(softmax()).model(), **p)
    case("softmax_dropout", softmax().add("Dropout").model(), **p)
    case("softmax_function", in_function(logits(), "Softmax").model(domains=["local"]), **p)
    case("logits_function", in_function(logits(), "Identity").model(domains=["local"]))
    case("softmax_opset11", logits().add("Softmax").model(opset=11), **p, why="default axis 1")
    case("softmax_opset11_4d", conv().add("Softmax").add("Flatten").model(opset=11), **p,
         why="before opset 13 the axes from `axis` on are flattened: over all of [C, 1, 1]")
    case("softmax_opset13", logits().add("Softmax").model(opset=13), **p, why="default axis -1")
    case("softmax_decomposed", decomposed_softmax(logits(), stable=False).model(), **p)
    case("softmax_decomposed_stable", decomposed_softmax(logits(), stable=True).model(), **p)
    case("softmax_from_lse", log_sum_exp(logits()).add("Exp").model(), **p)
    case("softmax_qlinear", qlinear_softmax(logits()).model(domains=["com.microsoft"]), **p,
         why="com.microsoft.QLinearSoftmax, as quantize_static writes it in the operator-oriented format")
    case("softmax_twice_named", softmax().add("Log").add("Softmax", axis=1).model(), **p)
    case("log_softmax", logits().add("LogSoftmax", axis=1).model(), values="log-probabilities")
    case("log_of_softmax", softmax().add("Log").model(), values="log-probabilities")
    case("log_softmax_from_lse", log_sum_exp(logits()).model(), values="log-probabilities")
    attended = Net().logits(classes=12).add("Softmax", axis=1).gemm(12)
    case("softmax_inside", attended.model(), why="a softmax inside the network, and logits behind it")
    scores_of_many()
    scores_of_two()
    traps(logits, softmax)


def conv(classes=len(CLASSES)):
    """Logits as `[N, classes, 1, 1]`, from a 1x1 convolution as fully convolutional networks end."""
    return Net().logits(classes=classes).reshaped(-1, classes, 1, 1)


def squeezed(net):
    net.add("Unsqueeze", net.const([2], np.int64))
    return net.add("Squeeze", net.const([2], np.int64))


def clipped(net):
    return net.add("Clip", net.const(0), net.const(1))


def qlinear_softmax(net):
    scale, zero = net.const(0.1), net.const(128, np.uint8)
    out_scale, out_zero = net.const(1 / 256), net.const(0, np.uint8)
    net.add("QuantizeLinear", scale, zero)
    net.add("QLinearSoftmax", scale, zero, out_scale, out_zero, domain="com.microsoft", axis=1, opset=13)
    return net.add("DequantizeLinear", out_scale, out_zero)


def scores_of_many():
    """Independent scores: several labels may hold."""
    s = {"values": "scores"}
    case("sigmoid", Net().logits().add("Sigmoid").model(), **s)
    case("sigmoid_cast", Net().logits().add("Sigmoid").cast(HALF).cast(FLOAT).model(), **s)
    case("sigmoid_qdq", quantized(Net().logits().add("Sigmoid")).model(), **s)
    case("sigmoid_function", in_function(Net().logits(), "Sigmoid").model(domains=["local"]), **s)
    case("sigmoid_decomposed", decomposed_sigmoid(Net().logits()).model(), **s)
    case("sigmoid_4d", conv().add("Sigmoid").add("Flatten").model(), **s)
    case("hard_sigmoid", Net().logits().add("HardSigmoid").model(), **s)
    net = Net().logits().scaled(0.5).add("Tanh").scaled(0.5)
    case("sigmoid_from_tanh", net.add("Add", net.const(0.5)).model(), **s, why="tanh(x / 2) / 2 + 1 / 2")
    case("sigmoid_threshold", file="sigmoid.onnx", flags=[*UNIT, "--threshold", "0.3"], threshold=0.3, **s)
    case("logits_as_sigmoid", file="logits.onnx", flags=[*UNIT, "--activation", "sigmoid"], activation="sigmoid",
         why="trained with BCEWithLogitsLoss: the file cannot say it")
    case("sigmoid_as_none", file="sigmoid.onnx", flags=[*UNIT, "--activation", "none"], **s)


def scores_of_two():
    """One score is two classes, p and 1 - p; two outputs of a softmax are two classes."""
    two = ["no", "yes"]
    one = {"one_score": True, "classes": two}
    binary = lambda: Net().logits(classes=1).add("Sigmoid")  # noqa: E731
    shape = ("batch", 1)
    net = binary()
    case("binary", net.model((net.x, FLOAT, shape), names=two), values="scores", **one)
    net = binary().reshaped(-1)
    case("binary_flat", net.model((net.x, FLOAT, ["batch"]), names=two), values="scores", **one,
         why="[N], not [N, 1]")
    net = decomposed_sigmoid(Net().logits(classes=1))
    case("binary_decomposed", net.model((net.x, FLOAT, shape), names=two), values="scores", **one)
    net = binary().cast(HALF).cast(FLOAT)
    case("binary_cast", net.model((net.x, FLOAT, shape), names=two), values="scores", **one)
    net = Net().logits(classes=1)
    case("binary_logit", net.model((net.x, FLOAT, shape), names=two), flags=[*UNIT, "--activation", "sigmoid"],
         activation="sigmoid", expect="flags", **one,
         why="one logit: its softmax is always 1; sigmoid is the only sense, and may be assumed if it is said")
    case("softmax_two", Net().logits(classes=2).add("Softmax", axis=1).model(names=two), values="probabilities",
         classes=two)
    case("sigmoid_two", Net().logits(classes=2).add("Sigmoid").model(names=two), values="scores", classes=two,
         why="two independent scores, which do not sum to 1")


def traps(logits, softmax):
    """Outputs that look like probabilities and are not, or where nobody can know."""
    unknown = {"values": "unknown", "expect": "refuse"}
    case("trap_batch_axis", logits().add("Softmax", axis=0).model(), **unknown,
         why="softmax over the batch: 1 for all classes of a single image")
    case("trap_axis_of_one", conv().add("Softmax").add("Flatten").model(), **unknown,
         why="from opset 13 on the default axis is -1, of size 1 here: all values are 1")
    case("trap_percent", softmax().scaled(100).model(), **unknown, why="probabilities in percent")
    net = softmax()
    net.add("TopK", net.const([5], np.int64), axis=1, outputs=2)
    case("trap_top_k", net.model((net.x, FLOAT, ["batch", 5]), (f"{net.x}_1", INT64, ["batch", 5])), **unknown,
         why="sorted values, not in the order of the classes")
    net = softmax().add("ArgMax", axis=1, keepdims=0)
    case("trap_argmax", net.model((net.x, INT64, ["batch"])), **unknown, why="the class only, no scores")
    net = Net().logits(classes=12).add("Tanh")
    embedding = net.x
    net.gemm(12, middle=0)
    outputs = [(embedding, FLOAT, ["batch", 12]), (net.x, FLOAT, ["batch", 5])]
    case("trap_embedding_first", net.model(*outputs), output=net.x, expect="either",
         why="the first output is an embedding of 12 values, the second has one value for each of 5 labels")
    net = softmax()
    case("logits_and_softmax", net.model((net.nodes[-2].output[0], FLOAT, ["batch", 5]), (net.x, FLOAT, ["batch", 5])),
         why="two outputs of one score for each class: the first one counts")


def interfaces():
    """How images go in."""
    shape = lambda *axes: ("batch", *axes)  # noqa: E731
    three = (3, SIDE, SIDE)
    last = (SIDE, SIDE, 3)
    raw = {"white": 255}
    imagenet = {"mean": np.array([0.485, 0.456, 0.406]), "std": np.array([0.229, 0.224, 0.225])}
    case("mean_std", Net().logits(middle=0).model(), **imagenet,
         flags=["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"])
    case("mean_std_of_bytes", file="mean_std.onnx", expect="either", **imagenet,
         flags=["--mean", "123.675,116.28,103.53", "--std", "58.395,57.12,57.375"], why="the same for values up to 255")
    for fit in ("squash", "letterbox"):
        case(f"fit_{fit}", file="logits.onnx", flags=[*UNIT, "--fit", fit], fit=fit,
             why="letterbox pads with black, the image in the middle" if fit == "letterbox" else "")
    for kernel in ("bicubic", "nearest"):
        case(f"interpolation_{kernel}", file="logits.onnx", flags=[*UNIT, "--interpolation", kernel],
             interpolation=kernel, why="as Pillow, which averages over what it reduces except for nearest")
    case("resize_20", file="logits.onnx", flags=[*UNIT, "--resize", "20"], resize=20)
    case("nhwc", Net(shape(*last)).transposed(0, 3, 1, 2).logits().model(), layout="nhwc")
    case("nhwc_bytes_as_floats", Net(shape(*last)).scaled().transposed(0, 3, 1, 2).logits().model(), layout="nhwc",
         flags=[*BYTES_AS_FLOATS], why="Keras with a Rescaling layer inside: takes 0 to 255", **raw)
    case("nchw_bytes_as_floats", Net().scaled().logits().model(), flags=BYTES_AS_FLOATS, **raw)
    caffe = Net().scaled().add("Gather", "order", of=["v0"], axis=1)
    caffe.nodes[-1].input[1] = caffe.const([2, 1, 0], np.int64)
    case("bgr", caffe.logits().model(), flags=[*BYTES_AS_FLOATS, "--channels", "bgr"], channels="bgr", **raw,
         why="as Caffe and OpenCV have it")
    case("fp16", half_in_half_out(), dtype=np.float16)
    net = Net(shape(*three), DOUBLE).cast(FLOAT).logits().cast(DOUBLE)
    case("double", net.model((net.x, DOUBLE, shape(5))), dtype=np.float64, expect="either")
    case("uint8_nchw", Net(shape(*three), UINT8).cast(FLOAT).scaled().logits().model(), flags=[], dtype=np.uint8, **raw)
    case("uint8_nhwc", Net(shape(*last), UINT8).cast(FLOAT).scaled().transposed(0, 3, 1, 2).logits().model(),
         flags=[], dtype=np.uint8, layout="nhwc", **raw)
    case("int32_nchw", Net(shape(*three), INT32).cast(FLOAT).scaled().logits().model(), flags=[], dtype=np.int32,
         expect="either", **raw)
    signed = Net(shape(*three), INT8).cast(FLOAT)
    case("int8_nchw", signed.add("Add", signed.const(128)).scaled().logits().model(), expect="refuse", flags=[],
         why="bytes less 128, or quantised normalised values: the file does not say")
    gray(shape)
    flat(shape)
    batches_and_sizes(shape, three, last)
    odd_outputs(shape)


def half_in_half_out():
    net = Net(("batch", 3, SIDE, SIDE), HALF).cast(FLOAT).logits().cast(HALF)
    return net.model((net.x, HALF, ["batch", 5]))


def gray(shape):
    one = {"channels": "gray", "flags": GRAY}
    case("gray_nchw", Net(shape(1, SIDE, SIDE)).logits(channels=1).model(), **one, why="gray as Pillow's L (ITU-R 601)")
    case("gray_nhwc", Net(shape(SIDE, SIDE, 1)).transposed(0, 3, 1, 2).logits(channels=1).model(), layout="nhwc", **one)
    net = Net(shape(SIDE, SIDE))
    case("gray_nhw", net.add("Unsqueeze", net.const([1], np.int64)).logits(channels=1).model(), rank=3, **one)
    case("gray_uint8", Net(shape(1, SIDE, SIDE), UINT8).cast(FLOAT).scaled().logits(channels=1).model(),
         channels="gray", flags=[], dtype=np.uint8, white=255)


def flat(shape):
    size = ["--image-size", str(SIDE)]
    case("flat_gray", Net(shape(SIDE * SIDE)).reshaped(-1, 1, SIDE, SIDE).logits(channels=1).model(), rank=2,
         channels="gray", flags=[*GRAY, *size, "--channels", "gray"], why="as MNIST's 784 values")
    case("flat_nchw", Net(shape(3 * SIDE * SIDE)).reshaped(-1, 3, SIDE, SIDE).logits().model(), rank=2,
         flags=[*UNIT, *size, "--channels", "rgb", "--layout", "nchw"], why="as PyTorch flattens")
    net = Net(shape(3 * SIDE * SIDE)).reshaped(-1, SIDE, SIDE, 3).transposed(0, 3, 1, 2).logits()
    case("flat_nhwc", net.model(), rank=2, layout="nhwc",
         flags=[*UNIT, *size, "--channels", "rgb", "--layout", "nhwc"], why="as scikit-learn and NumPy flatten")


def batches_and_sizes(shape, three, last):
    for batch in (1, 4, 7):
        case(f"batch_{batch}", Net((batch, *three)).reshaped(batch, *three).logits().model(),
             why="only batches of this size; the rest is to be filled up")
    case("batch_4_nhwc_uint8", Net((4, *last), UINT8).cast(FLOAT).scaled().transposed(0, 3, 1, 2).logits().model(),
         flags=[], layout="nhwc", dtype=np.uint8, white=255)
    wide = {"size": (12, 20)}
    case("wide_nchw", Net(shape(3, 12, 20)).logits(12, 20).model(), **wide, why="crop: covers 12 x 20, cuts the centre")
    case("wide_nchw_squash", file="wide_nchw.onnx", flags=[*UNIT, "--fit", "squash"], fit="squash", **wide)
    case("wide_nhwc", Net(shape(12, 20, 3)).transposed(0, 3, 1, 2).logits(12, 20).model(), layout="nhwc", **wide)
    case("tall_nchw_squash", Net(shape(3, 20, 12)).logits(20, 12).model(), flags=[*UNIT, "--fit", "squash"],
         fit="squash", size=(20, 12))
    size = ["--image-size", str(SIDE)]
    case("any_size_nchw", any_size(Net(shape(3, "height", "width"))), flags=[*UNIT, *size], expect="flags")
    case("any_size_nhwc", any_size(Net(shape("height", "width", 3)).transposed(0, 3, 1, 2)), layout="nhwc",
         flags=[*UNIT, *size], expect="flags")
    case("any_layout", any_size(Net(shape("a", "b", "c")).transposed(0, 3, 1, 2)), layout="nhwc",
         flags=[*UNIT, *size, "--layout", "nhwc"], expect="flags", why="no axis is known: [batch, a, b, c]")


def any_size(net):
    """Sizes of any image: a convolution that sees edges and their directions, and a global mean."""
    weight = np.random.default_rng(5).normal(0, 0.5, (8, 3, 3, 3))
    net.add("Conv", net.const(weight), pads=[1, 1, 1, 1]).add("Relu").add("GlobalAveragePool").add("Flatten")
    return net.gemm(8).model()


def odd_outputs(shape):
    net = conv()
    case("output_4d", net.model((net.x, FLOAT, shape(5, 1, 1))), why="[N, C, 1, 1]")
    net = conv().add("Softmax", axis=1)
    case("output_4d_softmax", net.model((net.x, FLOAT, shape(5, 1, 1))), values="probabilities")
    net = Net().logits().reshaped(-1, 1, 5)
    case("output_middle", net.model((net.x, FLOAT, shape(1, 5))), expect="either", why="[N, 1, C]")
    net = Net().logits()
    scores = net.x
    label = net.add("ArgMax", axis=1, keepdims=0).x
    case("label_first", net.model((label, INT64, ["batch"]), (scores, FLOAT, shape(5))), output=scores,
         why="an int64 class before the scores")
    net = Net().logits().add("Softmax", axis=1)
    scores = net.x
    text = net.add("ArgMax", axis=1, keepdims=0).add("LabelEncoder", domain="ai.onnx.ml", keys_int64s=list(range(5)),
                                                       values_strings=CLASSES).x
    case("string_label_first", net.model((text, STRING, ["batch"]), (scores, FLOAT, shape(5)), domains=["ai.onnx.ml"]),
         output=scores, values="probabilities", why="the class's name before the scores")
    net = Net((3, SIDE, SIDE))
    net.add("Unsqueeze", net.const([0], np.int64)).logits().reshaped(5)
    case("no_batch", net.model((net.x, FLOAT, [5])), rank=3, expect="either", why="[3, H, W], no axis for a batch")
    net = Net().logits()
    net.inputs += [helper.make_tensor_value_info(constant.name, FLOAT, constant.dims) for constant in net.constants]
    case("weights_as_inputs", net.model(), why="initializers are listed as inputs, as in IR version 3")
    net = Net().logits()
    net.inputs.append(helper.make_tensor_value_info("temperature", FLOAT, [1]))
    case("two_inputs", net.add("Div", "temperature").model(), expect="refuse", why="a second input must be given")


def metadata():
    """Labels and settings in the metadata."""
    softmax = lambda **entries: Net().logits().add("Softmax", axis=1).model(metadata=entries)  # noqa: E731
    logits = lambda **entries: Net().logits().model(metadata=entries)  # noqa: E731
    case("ultralytics", softmax(
        description="Ultralytics YOLO11n-cls model trained on pets", author="Ultralytics", version="8.3.40",
        stride="1", task="classify", batch="1", imgsz=f"[{SIDE}, {SIDE}]", names=str(dict(enumerate(CLASSES)))),
        flags=[], values="probabilities", why="task classify: shorter side to imgsz, centre crop, [0, 1]")
    case("ultralytics_detect", logits(task="detect", imgsz=f"[{SIDE}, {SIDE}]", names=str(dict(enumerate(CLASSES)))),
         expect="refuse", why="a detector is no classifier")
    spellings = {
        "names_unordered": {"names": "{3: 'dog', 0: 'ant', 4: 'eel', 1: 'bee', 2: 'cat'}"},
        "names_json_dict": {"names": '{"3": "dog", "0": "ant", "4": "eel", "1": "bee", "2": "cat"}'},
        "names_tuple": {"names": "('ant', 'bee', 'cat', 'dog', 'eel')"},
        "class_names": {"class_names": json.dumps(CLASSES)},
        "character": {"character": "\n".join(CLASSES)},
    }
    for name, entries in spellings.items():
        case(name, logits(**entries))
    case("names_integers", logits(names="{0: 3, 1: 1, 2: 4, 3: 15, 4: 9}"), classes=["3", "1", "4", "15", "9"])
    odd = ["it's", 'say "a"', "a\\b", "caf\u00e9", "x, y: {z}"]
    case("names_escapes", logits(names=ascii(dict(enumerate(odd)))), classes=odd)
    case("no_names", logits(), flags=[*UNIT, "--labels", "five.json"], expect="flags")
    case("names_too_few", logits(names="['ant', 'bee']"), expect="refuse", why="two names for five classes")


def runtime_format():
    """ONNX Runtime's own format, which is no protobuf: its graph cannot be read."""
    for name, values in {"logits": "logits", "softmax": "probabilities", "sigmoid": "scores"}.items():
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / f"{name}.onnx").write_bytes(FILES[f"{name}.onnx"])
            subprocess.run([sys.executable, "-m", "onnxruntime.tools.convert_onnx_models_to_ort", folder,
                            "--optimization_style", "Fixed"], check=True, capture_output=True)
            data = (pathlib.Path(folder) / f"{name}.ort").read_bytes()
        case(f"{name}_ort", data, file=f"{name}.ort", values=values, why="known from what it gives only")


def main():
    onnxruntime.set_default_logger_severity(3)
    for name, image in IMAGES.items():
        image.save(HERE / name)
    for name, labels in {"five.json": CLASSES, "two.json": ["no", "yes"]}.items():
        (HERE / name).write_text(json.dumps(labels) + "\n")
    outputs_of_classifiers()
    interfaces()
    metadata()
    runtime_format()
    pipelines(case)
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(entry)}" for name, entry in CASES.items())
    (HERE / "answers.json").write_text(f'{{"images": {json.dumps(list(IMAGES))}, "cases": {{\n{lines}\n}}}}\n')
    size = sum(file.stat().st_size for file in HERE.iterdir() if file.suffix in (".onnx", ".ort"))
    print(f"{len(CASES)} cases, {len(FILES)} models, {size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
