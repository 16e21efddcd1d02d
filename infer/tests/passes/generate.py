"""A narrow ResNet18 with its BatchNormalization kept, as both of PyTorch's exporters write it, for `passes.rs`:
`python generate.py` (torch 2.13.0, torchvision 0.28.0, onnx 1.23.2, onnxscript 0.7.2).

`python generate.py --full FOLDER` writes ResNet18 of the usual width there, see `full.sh`. Beside each network lie an input
[2, 3, S, S] and PyTorch's logits for it, as little-endian floats, all packed by gzip.
"""
import gzip
import sys
from pathlib import Path

import onnx
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

HERE = Path(__file__).parent


class Narrow(ResNet):
    """ResNet18 with stages of 2, 4, 8 and 16 channels."""

    def __init__(self):
        nn.Module.__init__(self)
        self._norm_layer, self.inplanes, self.dilation, self.groups, self.base_width = nn.BatchNorm2d, 2, 1, 1, 64
        self.conv1 = nn.Conv2d(3, 2, 7, 2, 3, bias=False)
        self.bn1, self.relu, self.maxpool = nn.BatchNorm2d(2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        for stage, width in enumerate([2, 4, 8, 16]):
            setattr(self, f"layer{stage + 1}", self._make_layer(BasicBlock, width, 2, stride=1 if stage == 0 else 2))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(16, 5)


def network(make):
    """With statistics that are not trivial, and activations of order one. Rounded values make small files."""
    torch.manual_seed(7)
    module = make()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.3, 0.3)
            nn.init.uniform_(part.running_mean, -0.2, 0.2)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
    with torch.no_grad():
        for value in module.state_dict().values():
            if value.is_floating_point():
                value.copy_((value * 64).round() / 64)
    return module.eval()


def write(module, size, folder):
    x = (torch.randn(2, 3, size, size) * 8).round() / 8
    names = {"input_names": ["input"], "output_names": ["logits"]}
    torch.onnx.export(module, (x,), folder / "torchscript.onnx", dynamo=False, opset_version=17, do_constant_folding=False,
                      training=torch.onnx.TrainingMode.PRESERVE, dynamic_axes={"input": {0: "batch"}}, **names)
    torch.onnx.export(module, (x,), folder / "dynamo.onnx", dynamo=True, opset_version=20, optimize=False, external_data=False,
                      dynamic_shapes=({0: torch.export.Dim("batch")},), **names)
    for file in ("torchscript.onnx", "dynamo.onnx"):
        model = onnx.load(folder / file)
        for part in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
            del part.metadata_props[:]  # stack traces, with the paths of a machine
            part.doc_string = ""
        norms = sum(node.op_type == "BatchNormalization" for node in model.graph.node)
        assert norms == 20, f"{file}: {norms}"
        (folder / file).unlink()
        (folder / f"{file}.gz").write_bytes(gzip.compress(model.SerializeToString(), mtime=0))
    with torch.no_grad():
        for name, values in {"input": x, "logits": module(x)}.items():
            (folder / f"{name}.f32.gz").write_bytes(gzip.compress(values.numpy().tobytes(), mtime=0))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--full"]:
        from torchvision.models import resnet18
        folder = Path(sys.argv[2])
        folder.mkdir(parents=True, exist_ok=True)
        write(network(resnet18), 224, folder)
    else:
        write(network(Narrow), 32, HERE)
