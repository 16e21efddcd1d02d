"""Makes goldens.safetensors.gz, parameters.json.gz and networks.json from reference.py and torchvision.

    python3 -m venv venv && venv/bin/pip install torch==2.13.0 torchvision==0.28.0 safetensors==0.8.0 numpy
    venv/bin/python generate.py

Weights and inputs come from a formula that tests compute too (models/src/testing.rs), so only outputs are stored.
Outputs are computed in double precision: a test then measures the error of what it tests, not of the golden.
"""
import gzip
import hashlib
import json
import pathlib

import numpy as np
import torch
import torch.nn as nn
from safetensors.torch import save
from torchvision import models
from torchvision.models.resnet import BasicBlock, Bottleneck

from reference import CBAM, ChannelAttention, EfficientChannelAttention, Network, ResNet18_CBAM, SpatialAttention
from reference import ConvNeXtBlock, SqueezeExcitation

HERE = pathlib.Path(__file__).parent
STAGES = {64: (5, 4), 128: (4, 3), 256: (3, 2), 512: (2, 2)}  # channels: height, width
BATCH = 2
TRAINING_BATCH = 5
STATISTICS = 64  # channels whose running statistics are stored, for whole networks
NETWORKS = ["resnet18", "resnet34", "resnet50", "resnet101", "mobilenet_v3_small", "mobilenet_v3_large"]
# Networks with attention: kind, and blocks or numbers of stages.
PLACED = {
    "resnet18.cbam.blocks": ("resnet18", "cbam", "blocks"),
    "resnet18.se.blocks": ("resnet18", "se", "blocks"),
    "resnet18.eca.blocks": ("resnet18", "eca", "blocks"),
    "resnet34.eca.last": ("resnet34", "eca", (4,)),
    "resnet50.se.stages": ("resnet50", "se", (1, 2, 3, 4)),
    "resnet50.cbam.blocks": ("resnet50", "cbam", "blocks"),
    "mobilenet_v3_small.cbam.blocks": ("mobilenet_v3_small", "cbam", "blocks"),
    "mobilenet_v3_small.se.stages": ("mobilenet_v3_small", "se", (2, 3)),
    "mobilenet_v3_large.cbam.stages": ("mobilenet_v3_large", "cbam", (1, 2, 3, 4)),
}


def uniform(name, shape):
    """Values in [0, 1): splitmix64 of the index, seeded with the FNV-1a hash of the name."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(40)).astype(np.float64) / 2**24).reshape(shape)


def parameter(name, shape):
    """Weights that keep activations of order one, and batch-norm statistics that are not trivial."""
    u = uniform(name, shape)
    if name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
        value = 0.5 + u
    elif len(shape) == 1:
        value = (u - 0.5) * 0.5
    else:
        value = (2 * u - 1) * np.sqrt(3 / np.prod(shape[1:]))
    return torch.from_numpy(value.astype(np.float32)).double()


def input_tensor(shape):
    return torch.from_numpy((4 * uniform("input", shape) - 2).astype(np.float32)).double()


def fill(module, prefix):
    state = module.state_dict()
    for name, value in state.items():
        if not name.endswith("num_batches_tracked"):
            state[name] = parameter(prefix + name, tuple(value.shape))
    module.double().load_state_dict(state)
    return module


def run(module, prefix, item):
    with torch.no_grad():
        return fill(module, prefix).eval()(input_tensor((BATCH, *item))).float().contiguous()


def short(value):
    """A number with eight digits, so that the file stays small."""
    return float(f"{float(value):.8g}")


def whole(stem="cifar", attention=True, ratio=16, kernel=7):
    net = ResNet18_CBAM(10, ratio, kernel)
    if stem == "imagenet":
        plain = models.resnet18(weights=None)
        net.backbone.conv1 = plain.conv1
        net.backbone.relu = nn.Sequential(nn.ReLU(), plain.maxpool)  # the stem's own relu, the blocks have theirs
    if not attention:
        for stage in range(1, 5):
            setattr(net, f"cbam_layer{stage}", nn.Identity())
    return net


def trained(name):
    """One forward pass in training mode: logits, and the running statistics of the last batch norm."""
    network = fill(Network(name), "").train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    with torch.no_grad():
        logits = network(input_tensor((TRAINING_BATCH, 3, 64, 64)))
    norm, module = [(key, module) for key, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)][-1]
    return {
        f"train.{name}": logits.float().contiguous(),
        f"train.{name}.{norm}.running_mean": module.running_mean[:STATISTICS].float(),
        f"train.{name}.{norm}.running_var": module.running_var[:STATISTICS].float(),
    }


def listing(name):
    """Number of trainable values, and the digest of all names and shapes, of a network with 1000 classes."""
    state = Network(name, num_classes=1000).state_dict()
    lines = [f"{key} {list(value.shape)}\n" for key, value in sorted(state.items()) if not key.endswith("num_batches_tracked")]
    trainable = sum(value.numel() for value in Network(name, num_classes=1000).parameters())
    return {"trainable": trainable, "tensors": len(lines), "sha256": hashlib.sha256("".join(lines).encode()).hexdigest()}


def main():
    goldens = {}
    for channels, (height, width) in STAGES.items():
        item = (channels, height, width)
        goldens[f"channel.{channels}"] = run(ChannelAttention(channels), "channel.", item)
        goldens[f"spatial.{channels}"] = run(SpatialAttention(), "spatial.", item)
        goldens[f"cbam.{channels}"] = run(CBAM(channels), "cbam.", item)

    goldens["block.plain"] = run(BasicBlock(64, 64), "block.", (64, 5, 4))
    goldens["block.downsample"] = run(models.resnet18(weights=None).layer2[0], "block.", (64, 5, 4))

    goldens["block.bottleneck"] = run(Bottleneck(64, 16), "block.", (64, 3, 2))
    goldens["se"] = run(SqueezeExcitation(32), "se.", (32, 3, 2))
    goldens["convnext"] = run(ConvNeXtBlock(16), "convnext.", (16, 6, 5))
    goldens["eca"] = run(EfficientChannelAttention(), "eca.", (32, 3, 2))

    # One forward pass in training mode: batch statistics, and what becomes of the running ones.
    with torch.no_grad():
        block = fill(BasicBlock(64, 64), "block.").train()
        goldens["block.train"] = block(input_tensor((TRAINING_BATCH, 64, 5, 4))).float().contiguous()
        goldens["block.train.running_mean"] = block.bn1.running_mean.float()
        goldens["block.train.running_var"] = block.bn1.running_var.float()

    variants = {
        "cifar": (whole(), 32),
        "imagenet": (whole(stem="imagenet"), 64),
        "plain": (whole(attention=False), 32),
        "ratio8_kernel3": (whole(ratio=8, kernel=3), 32),
    }
    for name, (net, size) in variants.items():
        goldens[f"network.{name}"] = run(net, "", (3, size, size))
    for name in NETWORKS:
        goldens[f"network.{name}"] = run(Network(name), "", (3, 64, 64))
        goldens |= trained(name)
    for name, placed in PLACED.items():
        goldens[f"network.{name}"] = run(Network(placed[0], attention=placed[1], at=placed[2]), "", (3, 64, 64))
    (HERE / "goldens.safetensors.gz").write_bytes(gzip.compress(save(goldens), mtime=0))
    (HERE / "networks.json").write_text(json.dumps({name: listing(name) for name in NETWORKS}, indent=2) + "\n")

    torch.manual_seed(0)
    parameters = {}
    drawn = {
        "cifar": whole(),
        "imagenet": whole(stem="imagenet"),
        "plain": whole(attention=False),
        "mobilenet": Network("mobilenet_v3_small"),
    }
    for name, net in drawn.items():
        parameters[name] = {
            key: {
                "shape": list(value.shape),
                "std": short(value.double().std(correction=0)) if value.numel() > 1 else 0.0,
                "mean": short(value.double().mean()),
                "max_abs": short(value.double().abs().max()),
            }
            for key, value in net.state_dict().items()
            if not key.endswith("num_batches_tracked")
        }
    rows = [f'  "{n}": {{\n' + ",\n".join(f'    "{k}": {json.dumps(v)}' for k, v in p.items()) + "\n  }"
            for n, p in parameters.items()]
    text = "{\n" + ",\n".join(rows) + "\n}\n"
    (HERE / "parameters.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    main()
