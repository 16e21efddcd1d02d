"""CBAM on a convolution as PyTorch writes it, for `attention.rs`: `python generate.py` (torch 2.13.0, onnx 1.23.2, onnxscript 0.7.2).

Writes `files.tar.gz`: each file named after its exporter, and `output.f32`, the expected output of all on `input`
[2, 3, 9, 7], which counts up.
"""
import sys
import tempfile
from pathlib import Path

import onnx
import torch

HERE = Path(__file__).parent
sys.path += [str(HERE / "../../../models/tests"), str(HERE / "../../../models/tests/goldens")]
from packing import pack  # noqa: E402
from reference import CBAM  # noqa: E402

FILES = Path(tempfile.mkdtemp())
torch.manual_seed(42)
network = torch.nn.Sequential(torch.nn.Conv2d(3, 24, 3, 2, 1), torch.nn.ReLU(), CBAM(24, 4, 3)).eval()
x = torch.arange(2 * 3 * 9 * 7).view(2, 3, 9, 7) / 100
batch = {0: torch.export.Dim("batch")}
names = {"input_names": ["input"], "output_names": ["output"]}
for opset in (13, 17, 20):
    torch.onnx.export(network, (x,), FILES / f"torchscript-{opset}.onnx", dynamo=False, opset_version=opset,
                      dynamic_axes={"input": {0: "batch"}}, **names)
torch.onnx.export(network, (x,), FILES / "torchscript-fixed.onnx", dynamo=False, opset_version=17, **names)
for opset in (18, 23):
    torch.onnx.export(network, (x,), FILES / f"dynamo-{opset}.onnx", dynamo=True, opset_version=opset,
                      dynamic_shapes=(batch,), external_data=False, **names)
torch.onnx.export(network, (x,), FILES / "dynamo-fixed.onnx", dynamo=True, external_data=False, **names)
torch.onnx.export(network, (x,), FILES / "dynamo-external.onnx", dynamo=True, dynamic_shapes=(batch,), **names)
for file in FILES.glob("*.onnx"):
    model = onnx.load(file, load_external_data=False)
    for part in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]  # stack traces, with the paths of a machine
        part.doc_string = ""
    file.write_bytes(model.SerializeToString())
with torch.no_grad():
    (FILES / "output.f32").write_bytes(network(x).numpy().tobytes())
pack(FILES, HERE / "files.tar.gz")
