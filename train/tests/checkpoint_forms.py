"""Saves one ResNet18 in every form that training scripts use, exports each with `train`, and compares the logits.

    cargo build --release -p ferronnx-train
    venv/bin/pip install torch==2.13.0 torchvision==0.28.0 numpy safetensors==0.8.0 onnxruntime==1.31.1
    venv/bin/python checkpoint_forms.py ../../target/release/train [FORM...]

Prints a line for each form: the largest difference of a logit from PyTorch's, relative to the largest logit, or the
message of a file that has to be refused. Run by hand: it needs Python, and writes files of 45 MB.
"""
import argparse
import collections
import copy
import datetime
import enum
import json
import os
import pathlib
import pickle
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime
import torch
import torch.nn as nn
import torchvision
from safetensors.torch import save_file

TOLERANCE = 1e-5  # of the largest logit
CLASSES, SIZE = 10, 64
LEGACY = {"_use_new_zipfile_serialization": False}


class Colour(enum.Enum):
    RED = 1


class Config:
    """An object of the user's own."""

    def __init__(self, **values):
        self.__dict__.update(values)


class Averaged:
    """An object that keeps an averaged module as an attribute, as Ultralytics does."""

    def __init__(self, module):
        self.ema, self.updates = module, 7


class Tracked(nn.Module):
    """A module with an unregistered list, a non-persistent buffer and a reference to itself."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        self.unregistered = [nn.Linear(2, 2)]
        self.register_buffer("mean", torch.zeros(3), persistent=False)
        self.__dict__["myself"] = self


def network(build=torchvision.models.resnet18, seed=0, **options):
    torch.manual_seed(seed)
    net = build(num_classes=CLASSES, **options)
    for name, value in net.state_dict().items():
        if "running_mean" in name:
            value.normal_(0, 0.1)
        if "running_var" in name:
            value.uniform_(0.5, 1.5)
    return net.eval()


def small_images():
    """The 7x7 stem and its pool replaced, as for CIFAR-10."""
    net = network()
    net.conv1, net.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return net


def prefixed(state, *prefixes):
    return collections.OrderedDict(("".join(prefixes) + name, value) for name, value in state.items())


def with_optimizer(net, optimizer):
    net = copy.deepcopy(net).train()
    optimizer = optimizer(net.parameters())
    net(torch.randn(2, 3, SIZE, SIZE)).sum().backward()
    optimizer.step()
    return optimizer


def hugging_face(state):
    """The names of ResNetForImageClassification, without installing transformers."""
    def rename(name):
        parts = name.split(".")
        if parts[0] == "conv1":
            return "resnet.embedder.embedder.convolution." + parts[1]
        if parts[0] == "bn1":
            return "resnet.embedder.embedder.normalization." + parts[1]
        if parts[0] == "fc":
            return "classifier.1." + parts[1]
        block = f"resnet.encoder.stages.{int(parts[0][5:]) - 1}.layers.{parts[1]}."
        if parts[2] == "downsample":
            return block + "shortcut." + ["convolution.", "normalization."][int(parts[3])] + parts[4]
        kind = "convolution." if parts[2].startswith("conv") else "normalization."
        return block + f"layer.{int(parts[2][-1]) - 1}." + kind + parts[3]
    return {rename(name): value for name, value in state.items()}


def kuangliu(state):
    def rename(name):
        return name.replace("downsample", "shortcut").replace("fc.", "linear.")
    return {rename(name): value for name, value in state.items()}


def numpy_state(state):
    return {name: value.numpy() for name, value in state.items()}


def sharded(state, folder, kind):
    folder.mkdir()
    names, index = list(state), {}
    for part, half in enumerate([names[:60], names[60:]], 1):
        file = f"model-{part:05}-of-00002.safetensors" if kind == "safetensors" else f"pytorch_model-{part}.bin"
        values = {name: state[name].contiguous() for name in half}
        save_file(values, folder / file) if kind == "safetensors" else torch.save(values, folder / file)
        index.update({name: file for name in half})
    stem = "model.safetensors" if kind == "safetensors" else "pytorch_model.bin"
    (folder / f"{stem}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return folder


def hub(state, folder, file, save):
    folder.mkdir()
    save(state, folder / file)
    (folder / "config.json").write_text('{"architectures": ["ResNetForImageClassification"]}')
    return folder


def forms(net):
    """Name -> function that writes the form to a path and may return another path."""
    state = net.state_dict()
    sgd, adam = with_optimizer(net, lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)), with_optimizer(net, torch.optim.Adam)
    other = network(seed=1).state_dict()
    dropout = network()
    dropout.load_state_dict(state)
    dropout.fc = nn.Sequential(nn.Dropout(0.5), dropout.fc)
    everything = {
        "namespace": argparse.Namespace(lr=0.1, path=pathlib.Path("data")), "counter": collections.Counter("abca"),
        "default": collections.defaultdict(list, a=[1]), "when": datetime.datetime(2026, 1, 1), "scalar": np.float32(0.5),
        "int": np.int64(3), "dtype": np.dtype("float32"), "random": np.random.RandomState(0).get_state(),
        "rng": torch.get_rng_state(), "device": torch.device("cpu"), "torch_dtype": torch.float16, "enum": Colour.RED,
        "own": Config(a=1, b=[2]), "set": {1, 2}, "frozen": frozenset("ab"), "bytes": b"\x00\xff", "complex": 1j,
        "slice": slice(1, 2), "partial": collections.deque([1, 2]), "big": 1 << 200, "none": None, "text": "é\udc80",
    }

    def save(value, **options):
        return lambda path: torch.save(value, path, **options)

    dumped = {
        "plain": save(state), "general": save({"epoch": 5, "model_state_dict": state, "optimizer_state_dict": sgd.state_dict()}),
        "reference": save({"model": state, "optimizer": sgd.state_dict(), "args": argparse.Namespace(lr=0.1)}),
        "multistep": save({"model": state, "lr_scheduler": torch.optim.lr_scheduler.MultiStepLR(sgd, [3]).state_dict()}),
        "lightning": save({"state_dict": prefixed(state, "model."), "callbacks": {"x": {"best": torch.tensor(0.7)}},
                           "hyper_parameters": {"lr": 1e-3}, "optimizer_states": [adam.state_dict()]}),
        "lightning-criterion": save({"state_dict": {**prefixed(state, "net."), "criterion.weight": torch.ones(10)}}),
        "adam": save({"network": state, "optimizer": adam.state_dict()}),
        "net": save({"net": state, "acc": 0.5}), "ema-module": save({"ema": {"module": state}, "model": None}),
        "ema-preferred": save({"state_dict": other, "state_dict_ema": state}),
        "ema-incomplete": save({"model": state, "ema": {k: torch.zeros_like(v) for k, v in net.named_parameters()}}),
        "swa": save(torch.optim.swa_utils.AveragedModel(net).state_dict()),
        "averaged-object": save({"model": None, "ema": Averaged(net)}),
        "ddp": save(prefixed(state, "module.")), "compiled": save(prefixed(state, "_orig_mod.")),
        "lightning-compiled": save({"state_dict": prefixed(state, "model._orig_mod.module.")}),
        "backbone": save({"state_dict": prefixed(state, "backbone.")}), "encoder": save(prefixed(state, "encoder.")),
        "list": save([{"epoch": 1}, state]), "tuple": save((3, [state], None)),
        "deep": save({"a": {"b": [{"c.d": {"e": prefixed(state, "f.g.")}}]}}),
        "everything": save({**everything, "weights": state}),
        "everything-4": save({**everything, "weights": state}, pickle_protocol=4),
        "everything-legacy": save({**everything, "weights": state}, **LEGACY),
        "module": save(net), "module-legacy": save(net, **LEGACY), "module-5": save(net, pickle_protocol=5),
        "module-nested": save({"model": nn.DataParallel(Tracked(net)), "optimizer": sgd}),
        "module-compiled": save({"model": torch.compile(net)._orig_mod}),
        "parameters": save({k: nn.Parameter(v, requires_grad=v.is_floating_point()) for k, v in state.items()}),
        "protocol-1": save(state, pickle_protocol=1), "protocol-3": save(state, pickle_protocol=3),
        "protocol-5": save(state, pickle_protocol=5), "legacy": save(state, **LEGACY),
        "legacy-1": save({"model": state}, pickle_protocol=1, **LEGACY),
        "legacy-5": save({"model": state}, pickle_protocol=5, **LEGACY),
        "double": save({k: v.double() if v.is_floating_point() else v for k, v in state.items()}),
        "channels-last": save(copy.deepcopy(net).to(memory_format=torch.channels_last).state_dict()),
        "strided": save({k: v.t().contiguous().t() if v.dim() == 2 else v for k, v in state.items()}),
        "numpy": save({"state_dict": numpy_state(state)}), "numpy-5": save(numpy_state(state), pickle_protocol=5),
        "numpy-pickle": lambda path: path.write_bytes(pickle.dumps({"model": numpy_state(state)})),
        "traced": lambda path: torch.jit.trace(net, torch.zeros(1, 3, SIZE, SIZE)).save(path),
        "scripted": lambda path: torch.jit.script(net).save(path),
        "classifier": save({"state_dict": {("backbone." + k if k[:2] != "fc" else "classifier" + k[2:]): v
                                            for k, v in state.items()}}),
        "openmmlab": save({"meta": {}, "state_dict": {("backbone." + k if k[:2] != "fc" else "head." + k): v
                                                      for k, v in state.items()}}),
        "dropout-head": save(dropout.state_dict()), "hugging-face": save(hugging_face(state)),
        "safetensors": lambda path: save_file(state, path),
        "safetensors-prefix": lambda path: save_file(prefixed(state, "model."), path),
        "hub-safetensors": lambda path: hub(state, path, "model.safetensors", save_file),
        "hub-bin": lambda path: hub(hugging_face(state), path, "pytorch_model.bin", torch.save),
        "sharded-safetensors": lambda path: sharded(state, path, "safetensors"),
        "sharded-bin": lambda path: sharded(state, path, "bin"),
        "sharded-index": lambda path: sharded(state, path, "bin") / "pytorch_model.bin.index.json",
        "lists-of-states": save({"models": [state, other]}), "renamed-root": save({"student": state, "teacher": other}),
        "empty-optimizer": save({"model": state, "optimizer": {}}), "string-keys": save({"0": {"1": state}}),
    }
    return dumped


def resnet_with(module_name, module):
    net = network()
    net.add_module(module_name, module)
    return net.state_dict()


def refusals(net):
    """Name -> function that writes a form that has to be refused, and a part of the message."""
    state, models = net.state_dict(), torchvision.models

    def save(value, **options):
        return lambda path: torch.save(value, path, **options)

    def of(build, **options):
        return save({"state_dict": prefixed(build(num_classes=CLASSES, **options).state_dict(), "model.")})

    quantized = {**state, "fc.weight": torch.quantize_per_tensor(state["fc.weight"], 0.1, 0, torch.qint8)}
    sparse = {**state, "fc.weight": state["fc.weight"].to_sparse()}
    block = dict(state)
    block["layer1.0.se.fc1.weight"] = torch.zeros(4, 64, 1, 1)
    missing = {k: v for k, v in state.items() if not k.startswith("fc.")}
    head = {**missing, "fc.0.weight": torch.zeros(64, 512), "fc.0.bias": torch.zeros(64),
            "fc.3.weight": torch.zeros(10, 64), "fc.3.bias": torch.zeros(10)}
    text = lambda content: lambda path: path.write_bytes(content)
    return {
        "resnet34": (of(models.resnet34), "ResNet34"), "resnet50": (of(models.resnet50), "ResNet50"),
        "resnext50": (of(models.resnext50_32x4d), "ResNeXt"), "wide": (of(models.wide_resnet50_2), "wide ResNet50"),
        "vit": (of(models.vit_b_32), "vision transformer"), "mobilenet": (of(models.mobilenet_v3_small), "MobileNetV3"),
        "mobilenet2": (of(models.mobilenet_v2), "MobileNetV2"), "densenet": (of(models.densenet121), "DenseNet"),
        "efficientnet": (of(models.efficientnet_b0), "EfficientNet of"),
        "efficientnet2": (of(models.efficientnet_v2_s), "EfficientNetV2"), "convnext": (of(models.convnext_tiny), "ConvNeXt"),
        "swin": (of(models.swin_t), "Swin"), "squeezenet": (of(models.squeezenet1_1), "SqueezeNet"),
        "shufflenet": (of(models.shufflenet_v2_x0_5), "ShuffleNetV2"), "regnet": (of(models.regnet_y_400mf), "RegNet"),
        "se": (save(block), "SE"), "attention": (save(resnet_with("ca", nn.Linear(64, 4))), "--leave-out"),
        "headless": (save(missing), "fc.weight"), "two-layer-head": (save(head), "in the place of one"),
        "quantized": (save(quantized), "quantized"), "sparse": (save(sparse), "sparse"),
        "pickled": (text(pickle.dumps({"a": collections.Counter("ab")})), "collections.Counter"),
        "lfs": (text(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"), "git lfs pull"),
        "html": (text(b"<!DOCTYPE html><html></html>"), "web page"), "hdf5": (text(b"\x89HDF\r\n\x1a\n" + bytes(99)), "HDF5"),
        "gguf": (text(b"GGUF" + bytes(99)), "GGUF"), "empty": (text(b""), "empty"),
        "npz": (lambda path: np.savez(path.open("wb"), a=np.zeros(3)), "NumPy"),
        "optimizer-only": (save(torch.optim.Adam(net.parameters()).state_dict()), "no tensors"),
    }


def export(train, source, output):
    return subprocess.run([train, "export", source, "--image-size", str(SIZE), "-o", output], capture_output=True, text=True)


def compare(train, form, write, net, images, folder):
    path, output = folder / form, folder / "model.onnx"
    other = write(path)  # a folder, or a file inside one
    path = other if isinstance(other, pathlib.Path) else path
    done = export(train, path, output)
    if done.returncode != 0:
        print(f"{form}: FAILED {done.stderr.strip()}")
        return False
    found = onnxruntime.InferenceSession(output).run(["logits"], {"input": images.numpy()})[0]
    with torch.no_grad():
        expected = net(images).numpy()
    relative = np.abs(found - expected).max() / np.abs(expected).max()
    notes = [line for line in done.stdout.splitlines() if line.startswith(("tensors", "also", "passed", "assumed"))]
    print(f"{form}: {relative:.1e}" + "".join(f"\n    {note}" for note in notes))
    return relative <= TOLERANCE


def refuse(train, form, write, part, folder):
    path, output = folder / form, folder / "refused.onnx"
    write(path)
    done = export(train, path, output)
    print(f"{form}: {done.stderr.strip() or done.stdout.strip()}")
    return done.returncode == 2 and part in done.stderr and not output.exists()


def main():
    torch.set_num_threads(2)
    train, chosen = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:]
    net, failed = network(), []
    images = torch.randn(4, 3, SIZE, SIZE)
    small = small_images().eval()
    cases = {form: (write, net) for form, write in forms(net).items()}
    cases["small-images"] = (lambda path: torch.save(small.state_dict(), path), small)
    cases["kuangliu"] = (lambda path: torch.save({"net": prefixed(kuangliu(small.state_dict()), "module.")}, path), small)
    for form, (write, expected) in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            if not chosen or form in chosen:
                if not compare(train, form, write, expected, images, pathlib.Path(folder)):
                    failed.append(form)
    for form, (write, part) in refusals(net).items():
        with tempfile.TemporaryDirectory() as folder:
            if (not chosen or form in chosen) and not refuse(train, form, write, part, pathlib.Path(folder)):
                failed.append(form)
    assert not failed, failed


if __name__ == "__main__":
    main()
