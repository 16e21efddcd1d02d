"""Makes files.tar.gz, the checkpoints that `models/tests/checkpoints.rs` reads.

    python3 -m venv venv && venv/bin/pip install torch==2.13.0 torchvision==0.28.0 numpy safetensors==0.8.0
    venv/bin/python generate.py

All good ones hold the same two tensors, whose values the test computes too, in another form each. `reference.pkl` is
the pickle of the whole reference's state dict without its 45 MB of values: the test makes those by the formula of
models/src/testing.rs, in the order of `reference.txt`.
"""
import argparse
import builtins
import collections
import datetime
import enum
import io
import json
import os
import pathlib
import pickle
import sys
import tempfile
import zipfile
from collections import OrderedDict
from unittest import mock

import numpy as np
import torch
import torch.nn as nn
from safetensors.torch import save_file

FOLDER = pathlib.Path(__file__).parent
HERE = pathlib.Path(tempfile.mkdtemp())
sys.path += [str(FOLDER.parent), str(FOLDER.parent / "goldens")]
from packing import pack  # noqa: E402
from reference import ResNet18_CBAM  # noqa: E402

WEIGHT = torch.arange(12.0).view(3, 4) / 4 - 1  # exact in every floating type
BIAS = torch.arange(3.0) / 2 - 0.5


def state(dtype=torch.float32, prefix=""):
    counter = torch.tensor(7)  # int64, as PyTorch's batch norm keeps
    values = {"fc.weight": WEIGHT.to(dtype), "fc.bias": BIAS.to(dtype), "bn.num_batches_tracked": counter}
    return {prefix + name: value.clone() for name, value in values.items()}


def module():
    net = nn.Sequential(OrderedDict(fc=nn.Linear(4, 3), bn=nn.BatchNorm1d(3, affine=False)))
    net.fc.load_state_dict({"weight": WEIGHT, "bias": BIAS})
    return net


def module_state():
    """An OrderedDict with _metadata."""
    names = module().state_dict()
    del names["bn.running_mean"], names["bn.running_var"]
    return names


def strided():
    everything = state()
    everything["fc.weight"] = WEIGHT.t().contiguous().t()
    everything["fc.four"] = torch.arange(24.0).view(1, 2, 3, 4).to(memory_format=torch.channels_last)
    everything["fc.expanded"] = torch.tensor([[2.5]]).expand(3, 4)
    return everything


def shared():
    """Both tensors and a column lie in one storage, after something else."""
    storage = torch.cat([torch.full((5,), 9.0), WEIGHT.flatten(), BIAS])
    weight = storage[5:17].view(3, 4)
    return {"fc.weight": weight, "fc.column": weight[:, 1], "fc.bias": storage[17:], "fc.tied": weight}


def training():
    """What training scripts save beside the weights."""
    net = module()
    optimizer = torch.optim.Adam(net.parameters())
    net.fc(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    return {"epoch": 3, "arch": "resnet18", "best": 0.5, "best_tensor": torch.tensor(0.5), "nothing": None,
            "history": [1, 2.5, -3, 70_000, 2**40, -(2**70), True], "optimizer": optimizer.state_dict()}


class Colour(enum.Enum):
    RED = 1


class Config:
    """An object of the user's own, which is an attribute of itself."""

    def __init__(self, **values):
        self.__dict__.update(values)
        self.myself = self


def opaque():
    """Objects of many classes, none of which weights need."""
    return {"namespace": argparse.Namespace(lr=0.1, path=pathlib.PurePosixPath("data")),
            "counter": collections.Counter("abca"), "default": collections.defaultdict(list, a=[1]),
            "when": datetime.datetime(2026, 1, 1), "scalar": np.float32(0.5), "int": np.int64(3),
            "dtype": np.dtype("float32"), "rng": torch.get_rng_state()[:8].clone(), "device": torch.device("cpu"),
            "torch_dtype": torch.float16, "enum": Colour.RED, "own": Config(a=1, b=[2]), "set": {1, 2},
            "frozen": frozenset("ab"), "bytes": b"\x00\xff", "complex": 1j, "deque": collections.deque([1, 2]),
            "big": 1 << 2100, "text": "\udc80"}


def numpy_state(order):
    return {name: np.array(value.numpy(), order=order) for name, value in state().items()}


class Wrapped(nn.Module):
    """A module whose state dict is not all that it holds."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        self.register_buffer("scratch", torch.zeros(3), persistent=False)
        self.unregistered = [nn.Linear(2, 2)]
        self.__dict__["myself"] = self


def unusable():
    """Tensors that cannot be weights, beside those that can."""
    quantized = torch.quantize_per_tensor(WEIGHT, 0.25, 0, torch.qint8)
    return {"sparse": WEIGHT.to_sparse(), "quantized": quantized, "meta": torch.zeros(3, device="meta"),
            "complex": torch.zeros(3, dtype=torch.complex64)}


def forms():
    """Files that hold the two tensors under other keys and prefixes."""
    torch.save({**opaque(), "weights": state()}, HERE / "opaque.pth")
    torch.save({**opaque(), "weights": state()}, HERE / "opaque-protocol5.pth", pickle_protocol=5)
    torch.save({**opaque(), "weights": state()}, HERE / "opaque-legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"weights": state()}, HERE / "protocol1.pth", pickle_protocol=1)
    torch.save(state(), HERE / "legacy-protocol1.pth", pickle_protocol=1, _use_new_zipfile_serialization=False)
    torch.save([{"epoch": 1}, (state(),)], HERE / "list.pth")
    torch.save({"state_dict": {**state(prefix="model._orig_mod."), "criterion.weight": torch.ones(3)},
                "callbacks": {"best": torch.tensor(0.5)}}, HERE / "lightning.ckpt")
    torch.save({"models": {"student": state(), "teacher": {k: v * 2 for k, v in state().items()}}}, HERE / "two.pth")
    torch.save({**state(), **unusable()}, HERE / "unusable.pth")
    torch.save({"fc.weight": WEIGHT.to_sparse(), "fc.bias": BIAS}, HERE / "sparse.pth")
    torch.save({"fc.weight": state()["fc.weight"].to(torch.uint16), "fc.bias": BIAS}, HERE / "uint16.pth")
    torch.save(numpy_state("C"), HERE / "numpy.pth")
    torch.save(numpy_state("F"), HERE / "numpy-fortran.pth", pickle_protocol=4)
    (HERE / "numpy.pkl").write_bytes(pickle.dumps({"model": numpy_state("C")}, protocol=5))
    (HERE / "big-endian.pkl").write_bytes(pickle.dumps(
        {name: value.astype(value.dtype.newbyteorder(">")) for name, value in numpy_state("C").items()}, protocol=2))
    torch.save({"model": nn.DataParallel(Wrapped(module()))}, HERE / "wrapped-module.pth")
    torch.save(module(), HERE / "legacy-module.pth", _use_new_zipfile_serialization=False)
    torch.jit.script(module().eval()).save(HERE / "scripted.pth")
    (HERE / "counter.pkl").write_bytes(pickle.dumps({"a": collections.Counter("ab")}, protocol=4))
    folder = HERE / "sharded"
    folder.mkdir(exist_ok=True)
    save_file({"fc.weight": WEIGHT}, folder / "model-00001-of-00002.safetensors")
    save_file({"fc.bias": BIAS}, folder / "model-00002-of-00002.safetensors")
    parts = {"fc.weight": "model-00001-of-00002.safetensors", "fc.bias": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}) + "\n")


def big_endian(path):
    swapped = {name: torch.from_numpy(value.numpy().byteswap()) for name, value in state().items()}
    with mock.patch.object(sys, "byteorder", "big"):
        torch.save(swapped, path)


class Call:
    """Unpickles as function(argument)."""

    def __init__(self, function, argument):
        self.call = function, (argument,)

    def __reduce__(self):
        return self.call


class Built:
    """Unpickles as an OrderedDict with a state."""

    def __init__(self, state):
        self.state = state

    def __reduce__(self):
        return OrderedDict, (), self.state


def save_pickled(pickled, path):
    """A file of torch.save whose pickle is replaced."""
    buffer = io.BytesIO()
    torch.save(state(), buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, pickled if name.endswith("data.pkl") else old.read(name))


def hostile():
    system = Call(os.system, "touch hostile-was-here")
    torch.save({**state(), "extra": system}, HERE / "hostile-global.pth")
    torch.save({**state(), "extra": system}, HERE / "hostile-stack-global.pth", pickle_protocol=4)
    torch.save({**state(), "extra": system}, HERE / "hostile-legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"extra": Call(builtins.eval, "1 + 1")}, HERE / "hostile-eval.pth")
    torch.save({"extra": Built(system)}, HERE / "hostile-build.pth")
    # Under the name people know; Python itself writes the module that defines it, posix.
    save_pickled(b"\x80\x02cos\nsystem\nX\x16\x00\x00\x00touch hostile-was-here\x85R.", HERE / "hostile-os.pth")
    save_pickled(pickle.dumps({"fc.weight": [1.0]}, protocol=2), HERE / "no-tensor.pth")


def main():
    legacy = {"_use_new_zipfile_serialization": False}
    torch.save(module_state(), HERE / "zip.pth")
    torch.save(module_state(), HERE / "legacy.pth", **legacy)
    torch.save(state(), HERE / "plain.pth")
    torch.save(state(), HERE / "twenty-one-characters.pth")  # the first entry of its directory has 76 bytes
    torch.save(state(), HERE / "protocol4.pth", pickle_protocol=4)
    torch.save(state(), HERE / "legacy-protocol4.pth", pickle_protocol=4, **legacy)
    for name, dtype in {"half": torch.float16, "bfloat16": torch.bfloat16, "double": torch.float64}.items():
        torch.save(state(dtype), HERE / f"{name}.pth")
        torch.save(state(dtype), HERE / f"legacy-{name}.pth", **legacy)
        save_file(state(dtype), HERE / f"{name}.safetensors")
    torch.save(strided(), HERE / "strided.pth")
    torch.save(strided(), HERE / "legacy-strided.pth", **legacy)
    torch.save(shared(), HERE / "shared.pth")
    torch.save(shared(), HERE / "legacy-shared.pth", **legacy)
    torch.save({name: nn.Parameter(value, requires_grad=value.is_floating_point())
                for name, value in state().items()}, HERE / "parameter.pth")
    torch.save(state(prefix="module."), HERE / "data-parallel.pth")
    save_file(state(prefix="module."), HERE / "data-parallel.safetensors")
    kept = training()
    torch.save({**kept, "state_dict": state()}, HERE / "nested-state_dict.pth")
    torch.save({**kept, "model": state()}, HERE / "nested-model.pth", **legacy)
    torch.save({**kept, "state_dict": {"fc.weight": torch.zeros(3, 4)}, "state_dict_ema": state()},
               HERE / "nested-ema.pth")
    torch.save({**kept, "network": state()}, HERE / "nested-elsewhere.pth")
    big_endian(HERE / "big-endian.pth")

    torch.save({**state(), "fc.indices": torch.arange(3, dtype=torch.int32)}, HERE / "integers.pth")
    save_file({**state(), "fc.indices": torch.arange(3, dtype=torch.int32)}, HERE / "integers.safetensors")
    torch.save(module(), HERE / "whole-module.pth")
    torch.jit.script(nn.Linear(2, 2)).save(HERE / "torchscript.pth")
    hostile()
    forms()

    buffer = io.BytesIO()
    names = ResNet18_CBAM().state_dict()
    torch.save(names, buffer)
    with zipfile.ZipFile(buffer) as archive:
        (pickled,) = [name for name in archive.namelist() if name.endswith("data.pkl")]
        (HERE / "reference.pkl").write_bytes(archive.read(pickled))
    (HERE / "reference.txt").write_text("".join(f"{name}\n" for name in names))
    pack(HERE, FOLDER / "files.tar.gz")


if __name__ == "__main__":
    main()
