"""Makes the checkpoints that `models/tests/checkpoints.rs` reads.

    python3 -m venv venv && venv/bin/pip install torch==2.13.0 torchvision==0.28.0 numpy safetensors==0.8.0
    venv/bin/python generate.py

All good ones hold the same two tensors, whose values the test computes too, in another form each. `reference.pkl` is
the pickle of the whole reference's state dict without its 45 MB of values: the test makes those by the formula of
models/src/testing.rs, in the order of `reference.txt`.
"""
import builtins
import io
import os
import pathlib
import pickle
import sys
import zipfile
from collections import OrderedDict
from unittest import mock

import torch
import torch.nn as nn
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
sys.path.append(str(HERE.parent / "goldens"))
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
    for file in [*HERE.glob("*.pth"), *HERE.glob("*.safetensors"), *HERE.glob("reference.*")]:
        file.unlink()
    legacy = {"_use_new_zipfile_serialization": False}
    torch.save(module_state(), HERE / "zip.pth")
    torch.save(module_state(), HERE / "legacy.pth", **legacy)
    torch.save(state(), HERE / "plain.pth")
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

    buffer = io.BytesIO()
    names = ResNet18_CBAM().state_dict()
    torch.save(names, buffer)
    with zipfile.ZipFile(buffer) as archive:
        (pickled,) = [name for name in archive.namelist() if name.endswith("data.pkl")]
        (HERE / "reference.pkl").write_bytes(archive.read(pickled))
    (HERE / "reference.txt").write_text("".join(f"{name}\n" for name in names))


if __name__ == "__main__":
    main()
