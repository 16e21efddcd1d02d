"""Small files with every feature of the format, for `onnx_files.rs`: `python generate.py` (onnx 1.23.2).

None of them need be run; all are read and written again. What the `onnx` package has no words for is set on the messages.
"""
from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, TypeProto, helper, numpy_helper

HERE = Path(__file__).parent


def floats(name, *shape):
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    return numpy_helper.from_array(values, name)


def tensor(name, shape=(2, "n")):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def entries(properties, **values):
    for key, value in values.items():
        entry = properties.add()
        entry.key, entry.value = key, value


def save(name, graph, ir=13, opsets=None, **more):
    imports = [helper.make_opsetid(domain, version) for domain, version in (opsets or {"": 23}).items()]
    model = helper.make_model(graph, ir_version=ir, opset_imports=imports, producer_name="generate.py", **more)
    (HERE / f"{name}.onnx").write_bytes(model.SerializeToString())
    return model


def attributes():
    """Every kind of attribute, on operators of another domain."""
    sparse = helper.make_sparse_tensor(floats("values", 2), numpy_helper.from_array(np.array([1, 5]), "at"), [3, 3])
    kind = helper.make_tensor_type_proto(TensorProto.INT64, ["n", 2, None])
    inner = helper.make_graph([helper.make_node("Relu", ["x"], ["inner"])], "inner", [], [tensor("inner")])
    values = {
        "float": 1.5, "int": -3, "text": "grüße", "tensor": floats("t", 2, 2), "graph": inner, "sparse": sparse,
        "type": kind, "floats": [0.5, float("inf")], "ints": [1, -(2 ** 63)], "texts": ["a", "", "ü"],
        "tensors": [floats("", 1), floats("b", 2)], "graphs": [inner, inner], "sparses": [sparse], "types": [kind],
    }
    node = helper.make_node("Everything", ["x", "", "x"], ["y", "", "z"], name="all", domain="com.example",
                            doc_string="All kinds.", overload="second", **values)
    empty = AttributeProto(name="no_ints", type=AttributeProto.INTS, doc_string="Empty.")
    node.attribute.append(empty)
    entries(node.metadata_props, origin="generate.py", empty="")
    plain = helper.make_node("Identity", ["y"], ["out"])
    plain.domain, plain.name, plain.doc_string = "", "", ""  # present and empty
    graph = helper.make_graph([node, plain], "attributes", [tensor("x")], [tensor("out"), tensor("z")])
    save("attributes", graph, opsets={"": 23, "com.example": 1})


def subgraphs():
    """Branches and a loop that read values and initializers of the graph around them, one name hidden."""
    deepest = helper.make_graph(
        [helper.make_node("Add", ["captured", "weight"], ["sum"]), helper.make_node("Mul", ["sum", "own"], ["deep"])],
        "deepest", [], [tensor("deep")], initializer=[floats("own", 1)])
    middle = helper.make_graph(
        [helper.make_node("If", ["condition"], ["mid"], then_branch=deepest, else_branch=deepest)],
        "middle", [], [tensor("mid")])
    other = helper.make_graph([helper.make_node("Constant", [], ["k"], value_floats=[1.0, 2.0])], "other", [], [tensor("k")])
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["still"]), helper.make_node("Add", ["state", "captured"], ["next"])],
        "body", [helper.make_tensor_value_info("i", TensorProto.INT64, []),
                 helper.make_tensor_value_info("going", TensorProto.BOOL, []), tensor("state")],
        [helper.make_tensor_value_info("still", TensorProto.BOOL, []), tensor("next")])
    nodes = [
        helper.make_node("Relu", ["x"], ["captured"]),
        helper.make_node("Sigmoid", ["x"], ["dead"]),
        helper.make_node("If", ["condition"], ["chosen"], then_branch=middle, else_branch=other),
        helper.make_node("Loop", ["", "condition", "chosen"], ["y"], body=body),
    ]
    graph = helper.make_graph(
        nodes, "subgraphs", [tensor("x"), helper.make_tensor_value_info("condition", TensorProto.BOOL, [])],
        [tensor("y")], initializer=[floats("weight", 2, 1), floats("unread", 3)], doc_string="Captures.",
        value_info=[tensor("captured"), tensor("dead")])
    save("subgraphs", graph)


def functions():
    """Functions with defaults, references to their attributes, overloads, and types of values."""
    alpha = helper.make_attribute("alpha", 0.25)
    reference = AttributeProto(name="alpha", ref_attr_name="alpha", type=AttributeProto.FLOAT)
    node = helper.make_node("LeakyRelu", ["a"], ["b"])
    node.attribute.append(reference)
    bare = helper.make_function("com.example", "Slope", ["a"], ["b"], [node], [helper.make_opsetid("", 23)],
                                attributes=["alpha"], doc_string="With an attribute.")
    default = helper.make_function("com.example", "Slope", ["a"], ["b"], [node], [helper.make_opsetid("", 23)],
                                   attribute_protos=[alpha], overload="default", value_info=[tensor("b")])
    entries(default.metadata_props, kind="overload")
    nodes = [helper.make_node("Slope", ["x"], ["m"], domain="com.example", alpha=0.5),
             helper.make_node("Slope", ["m"], ["y"], domain="com.example", overload="default")]
    graph = helper.make_graph(nodes, "functions", [tensor("x")], [tensor("y")])
    save("functions", graph, opsets={"": 23, "com.example": 1}, functions=[bare, default])


def tensors():
    """Every element type in every field that may hold it, sparse and external ones, segments."""
    initializers = []
    for name, code in TensorProto.DataType.items():
        if name in ("UNDEFINED", "STRING"):
            continue
        raw = TensorProto(name=f"raw_{name}", data_type=code, dims=[2], raw_data=bytes(range(32))[:32])
        initializers.append(raw)
    typed = {
        "FLOAT": ("float_data", [1.0, -0.0]), "COMPLEX64": ("float_data", [1.0, 2.0, 3.0, 4.0]),
        "DOUBLE": ("double_data", [1.0, 2.0]), "COMPLEX128": ("double_data", [1.0, 2.0, 3.0, 4.0]),
        "INT64": ("int64_data", [1, -1]), "UINT64": ("uint64_data", [1, 2 ** 64 - 1]), "UINT32": ("uint64_data", [1, 2]),
        "STRING": ("string_data", [b"a", b"\xff"]),
    }
    for name in ("INT32", "INT16", "INT8", "UINT16", "UINT8", "BOOL", "FLOAT16", "BFLOAT16", "INT4", "UINT4",
                 "FLOAT8E4M3FN", "FLOAT4E2M1"):
        typed[name] = ("int32_data", [1, 0])
    for name, (field, values) in typed.items():
        one = TensorProto(name=f"typed_{name}", data_type=TensorProto.DataType.Value(name), dims=[2])
        getattr(one, field).extend(values)
        initializers.append(one)
    external = TensorProto(name="external", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    entries(external.external_data, location="tensors.data", offset="8", length="16", checksum="none")
    inside = floats("inside", 2)
    inside.data_location = TensorProto.DEFAULT
    inside.doc_string = "Described."
    entries(inside.metadata_props, key="value")
    segment = floats("segment", 1)
    segment.segment.begin, segment.segment.end = 0, 1
    empty = TensorProto(name="empty", data_type=TensorProto.FLOAT, dims=[0])
    scalar = numpy_helper.from_array(np.float32(3), "scalar")
    initializers += [external, inside, segment, empty, scalar]
    sparse = helper.make_sparse_tensor(floats("sparse", 2), numpy_helper.from_array(np.array([[0, 1], [2, 2]])), [3, 3])
    graph = helper.make_graph([helper.make_node("Add", ["external", "sparse"], ["y"])], "tensors", [], [tensor("y")],
                              initializer=initializers, sparse_initializer=[sparse])
    save("tensors", graph)
    (HERE / "tensors.data").write_bytes(bytes(8) + np.arange(4, dtype=np.float32).tobytes())


def surroundings():
    """All that stands around a graph: metadata everywhere, types, annotations, training, devices."""
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv")
    device = node.device_configurations.add(configuration_id="pair", pipeline_stage=1)
    spec = device.sharding_spec.add(tensor_name="w", device=[0, -1])
    group = spec.index_to_device_group_map.add(key=-1)
    group.value.extend([0, 1])
    dimension = spec.sharded_dim.add(axis=0)
    dimension.simple_sharding.add(dim_value=2, num_shards=2)
    dimension.simple_sharding.add(dim_param="n", num_shards=2)

    sequence = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    optional = helper.make_optional_type_proto(sequence)
    sequence.denotation = "WORDS"
    mapped = helper.make_map_type_proto(TensorProto.STRING, sequence)
    sparse = helper.make_sparse_tensor_type_proto(TensorProto.FLOAT, [3, "m"])
    opaque = TypeProto()
    opaque.opaque_type.domain, opaque.opaque_type.name = "com.example", "thing"
    more = [helper.make_value_info(name, kind) for name, kind in
            [("s", sequence), ("o", optional), ("m", mapped), ("sp", sparse), ("op", opaque)]]
    more.append(onnx.ValueInfoProto(name="untyped", doc_string="No type."))
    x = tensor("x", ("batch", 3, None, 8))
    x.type.denotation = "IMAGE"
    x.type.tensor_type.shape.dim[1].denotation = "DATA_CHANNEL"
    entries(x.metadata_props, layout="NCHW")
    graph = helper.make_graph([node], "surroundings", [x], [tensor("y", None)], initializer=[
        floats("w", 4, 3, 1, 1), floats("scale", 1), numpy_helper.from_array(np.uint8([3]), "zero")], value_info=more,
        doc_string="Everything around.")
    annotation = graph.quantization_annotation.add(tensor_name="w")
    entries(annotation.quant_parameter_tensor_names, SCALE_TENSOR="scale", ZERO_POINT_TENSOR="zero")
    entries(graph.metadata_props, part="graph")

    training = onnx.TrainingInfoProto()
    training.initialization.CopyFrom(helper.make_graph([helper.make_node("Constant", [], ["w0"], value=floats("", 4, 3, 1, 1))],
                                                       "initialization", [], [tensor("w0", None)]))
    training.algorithm.CopyFrom(helper.make_graph([helper.make_node("Add", ["w", "scale"], ["w1"])], "algorithm", [], [tensor("w1", None)]))
    entries(training.initialization_binding, w="w0")
    entries(training.update_binding, w="w1")
    model = helper.make_model(graph, ir_version=13, producer_name="generate.py", producer_version="", domain="com.example",
                              model_version=7, doc_string="A model.",
                              opset_imports=[helper.make_opsetid("", 23), helper.make_opsetid("ai.onnx.ml", 5)])
    model.training_info.append(training)
    entries(model.metadata_props, author="nobody", empty="")
    model.configuration.add(name="pair", num_devices=2, device=["cpu:0", "cpu:1"])
    (HERE / "surroundings.onnx").write_bytes(model.SerializeToString())


def old():
    """IR version 3, whose initializers are inputs, and attributes without a kind, as the first files had them."""
    conv = helper.make_node("Conv", ["x", "w"], ["c"], kernel_shape=[1, 1])
    conv.attribute[0].ClearField("type")
    norm = helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["y"], epsilon=1e-3)
    weights = [floats("w", 4, 3, 1, 1)] + [floats(name, 4) for name in ("scale", "shift", "mean", "var")]
    listed = [tensor(weight.name, list(weight.dims)) for weight in weights]
    graph = helper.make_graph([conv, norm], "old", listed[:2] + [tensor("x", (1, 3, 2, 2))] + listed[2:], [tensor("y", (1, 4, 2, 2))],
                              initializer=weights)
    save("old", graph, ir=3, opsets={"": 9})


if __name__ == "__main__":
    for write in (attributes, subgraphs, functions, tensors, surroundings, old):
        write()
