"""Cases of outputs: what the last operators of a classifier mean."""
import numpy as np

from cases import UNIT, case
from networks import (CLASSES, FLOAT, HALF, INT64, Net, conv, decomposed_sigmoid, decomposed_softmax, in_function,
                      log_sum_exp, quantized)


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
