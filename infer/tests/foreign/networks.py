"""Small classifiers as ONNX graphs, whose answers depend on channel order, orientation, scale and layout."""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import oracle

CLASSES = ["ant", "bee", "cat", "dog", "eel"]
SIDE = 16
FLOAT, HALF, DOUBLE = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE
UINT8, INT8, INT32, INT64, STRING = (getattr(TensorProto, name) for name in "UINT8 INT8 INT32 INT64 STRING".split())
DOMAINS = {"ai.onnx.ml": 3, "com.microsoft": 1, "local": 1}  # versions
IR, OPSET = 8, 17  # read by every ONNX Runtime since 1.14


def typical(channels):
    """Mean over the test images of the means of the four quarters of each channel."""
    color = "gray" if channels == 1 else "rgb"
    tensors = [oracle.tensor(image, 2, 2, color, fit="squash") for image in oracle.images().values()]
    return np.mean(tensors, 0).reshape(-1)


class Net:
    """Graph under construction; `x` is the name of the value that was computed last."""

    def __init__(self, shape=("batch", 3, SIDE, SIDE), element=FLOAT, name="input"):
        self.inputs = [helper.make_tensor_value_info(name, element, shape)]
        self.nodes, self.constants, self.functions, self.shape, self.x = [], [], [], shape, name

    def const(self, values, dtype=np.float32):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def add(self, op, *more, of=None, outputs=1, **attributes):
        """Appends a node on `x` (or on `of`) and further inputs; `x` becomes its first output."""
        names = [f"v{len(self.nodes)}" + f"_{i}" * bool(i) for i in range(outputs)]
        first = [self.x] if of is None else of
        self.nodes.append(helper.make_node(op, [*first, *more], names, f"{op}_{len(self.nodes)}", **attributes))
        self.x = names[0]
        return self

    def logits(self, height=SIDE, width=SIDE, channels=3, classes=len(CLASSES), dtype=np.float32,
               middle=None):
        """Means of the four quarters of each channel, and a matrix: `[N, C, H, W]` in [0, 1] to `[N, classes]`."""
        kernel = [height // 2, width // 2]
        self.add("AveragePool", kernel_shape=kernel, strides=kernel).add("Flatten")
        return self.gemm(4 * channels, classes, dtype, typical(channels) if middle is None else middle)

    def gemm(self, inputs, classes=len(CLASSES), dtype=np.float32, middle=0.3):
        """Adds a matrix whose logits are around 0 where its inputs are around `middle`."""
        rng = np.random.default_rng([inputs, classes])
        weight = rng.normal(0, 9 / np.sqrt(inputs), (inputs, classes))
        bias = rng.normal(0, 0.2, classes) - (middle * np.ones(inputs)) @ weight
        return self.add("Gemm", self.const(weight, dtype), self.const(bias, dtype))

    def scaled(self, by=1 / 255, dtype=np.float32):
        return self.add("Mul", self.const(by, dtype))

    def cast(self, to):
        return self.add("Cast", to=to)

    def transposed(self, *perm):
        return self.add("Transpose", perm=perm)

    def reshaped(self, *shape):
        return self.add("Reshape", self.const(shape, np.int64))

    def model(self, *outputs, opset=OPSET, names=CLASSES, metadata=None, domains=()):
        """The file's bytes; `outputs` are (value, element, shape), by default `x` as `[batch, classes]` floats."""
        batch = self.shape[0]
        outputs = outputs or [(self.x, FLOAT, [batch, len(names)])]
        infos = [helper.make_tensor_value_info(*output) if isinstance(output, tuple) else output
                 for output in outputs]
        graph = helper.make_graph(self.nodes, "classifier", self.inputs, infos, self.constants)
        versions = {"": opset} | {domain: DOMAINS[domain] for domain in domains}
        imports = [helper.make_opsetid(*version) for version in versions.items()]
        model = helper.make_model(graph, opset_imports=imports, functions=self.functions, ir_version=IR,
                                  producer_name="generate.py")
        if metadata is None:
            metadata = {"names": str(dict(enumerate(names)))}
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model, full_check="com.microsoft" not in domains)
        return model.SerializeToString()


def conv(classes=len(CLASSES)):
    """Logits as `[N, classes, 1, 1]`, from a 1x1 convolution as fully convolutional networks end."""
    return Net().logits(classes=classes).reshaped(-1, classes, 1, 1)


def decomposed_softmax(net, stable, axis=1):
    """exp(x) / sum(exp(x)), as older exporters and hand-written networks have it."""
    if stable:
        x = net.x
        net.add("ReduceMax", axes=[axis], keepdims=1)
        net.add("Sub", net.x, of=[x])
    exp = net.add("Exp").x
    total = net.add("ReduceSum", net.const([axis], np.int64), keepdims=1).x
    return net.add("Div", total, of=[exp])


def log_sum_exp(net):
    """x - log(sum(exp(x))): a log-softmax in two operators."""
    x = net.x
    total = net.add("ReduceLogSumExp", axes=[1], keepdims=1).x
    return net.add("Sub", total, of=[x])


def decomposed_sigmoid(net):
    """1 / (1 + exp(-x))."""
    net.add("Neg").add("Exp").add("Add", net.const(1))
    return net.add("Div", net.x, of=[net.const(1)])


def in_function(net, op):
    """The operator inside a function of the model, as torch.onnx wrote modules."""
    body = helper.make_node(op, ["x"], ["y"], f"inner_{op}", **({"axis": 1} if op == "Softmax" else {}))
    function = helper.make_function("local", "Head", ["x"], ["y"], [body], [helper.make_opsetid("", OPSET)])
    net.functions.append(function)
    return net.add("Head", domain="local")


def quantized(net, scale=1 / 255):
    """QuantizeLinear and DequantizeLinear, as `quantize_static` puts behind an output."""
    scale, zero = net.const(scale), net.const(0, np.uint8)
    return net.add("QuantizeLinear", scale, zero).add("DequantizeLinear", scale, zero)
