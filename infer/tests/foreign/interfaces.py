"""Cases of inputs, of what outputs are called and shaped, and of metadata."""
import json

import numpy as np
from onnx import helper

from cases import UNIT, case
from networks import CLASSES, DOUBLE, FLOAT, HALF, INT8, INT32, INT64, SIDE, STRING, UINT8, Net, conv

GRAY = ["--mean", "0", "--std", "1"]
BYTES_AS_FLOATS = ["--scale", "255"]  # the largest value


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
             why="letterbox pads with a gray of 114, the image in the middle" if fit == "letterbox" else "")
    case("interpolation_bicubic", file="logits.onnx", flags=[*UNIT, "--interpolation", "bicubic"],
         interpolation="bicubic", why="as Pillow, which averages over what it reduces")
    case("interpolation_nearest", file="logits.onnx", fit="squash", interpolation="nearest",
         flags=[*UNIT, "--interpolation", "nearest", "--fit", "squash"], why="as Pillow, and Keras' load_img")
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
         flags=[*UNIT, *size, "--layout", "nhwc", "--channels", "rgb"], expect="flags",
         why="no axis is known: [batch, a, b, c]")


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
    detector = logits(author="Ultralytics", stride="32", task="detect", imgsz=f"[{SIDE}, {SIDE}]",
                      names=str(dict(enumerate(CLASSES))))
    case("ultralytics_detect", detector, expect="refuse", why="a detector is no classifier")
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
