"""Carries checkpoints between PyTorch and `train`, both ways, and prints how far the outputs are apart.

    cargo build --release -p ferronnx-train
    venv/bin/pip install torch==2.13.0 torchvision==0.28.0 numpy pillow safetensors==0.8.0 onnxruntime==1.31.1
    venv/bin/python round_trip.py ../../target/release/train RUN [REFERENCE.py]

RUN is a run folder of `train fit` at 32x32 with the default network and test images, which still lie where they were.
Run by hand: it needs Python, and files of 45 MB. `train` takes ONNX Runtime from $ORT_DYLIB_PATH, or from where `cargo xtask setup` put it.
"""
import csv
import importlib.util
import pathlib
import subprocess
import sys
import tempfile
import tomllib

import numpy as np
import onnxruntime
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).parent
TOLERANCE = 1e-5  # of the largest logit
CIFAR = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))


def load_reference(path):
    spec = importlib.util.spec_from_file_location("reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ResNet18_CBAM


def seasoned(net):
    """Moves the statistics and the scales of the batch norms away from where they begin."""
    torch.manual_seed(0)
    net.train()
    with torch.no_grad():
        for _ in range(5):
            net(torch.randn(16, 3, 32, 32))
        for name, value in net.named_parameters():
            if value.dim() == 1:
                value.add_(0.1 * torch.randn_like(value))
    return net.eval()


def onnx_logits(train, source, images, folder):
    model = folder / "model.onnx"
    subprocess.run([train, "export", source, "-o", model], check=True, stdout=subprocess.DEVNULL)
    return onnxruntime.InferenceSession(model).run(["logits"], {"input": images.numpy()})[0]


def report(what, found, expected):
    difference = np.abs(found - expected).max()
    relative = difference / np.abs(expected).max()
    same = (found.argmax(1) == expected.argmax(1)).sum()
    print(f"{what}: {difference:.2e} at most, {relative:.2e} of the largest logit; {same} of {len(found)} the same class")
    assert relative <= TOLERANCE and same == len(found), what


def from_pytorch(train, reference, folder):
    net = seasoned(reference())
    images = torch.randn(8, 3, 32, 32)
    with torch.no_grad():
        expected = net(images).numpy()
    for name, save in {
        "zip.pth": torch.save,
        "legacy.pth": lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False),
        "nested.pth": lambda state, path: torch.save({"epoch": 1, "state_dict": state}, path),
        "parallel.pth": lambda state, path: torch.save({f"module.{k}": v for k, v in state.items()}, path),
        "plain.safetensors": save_file,
    }.items():
        save(net.state_dict(), folder / name)
        report(f"PyTorch -> {name} -> train export", onnx_logits(train, folder / name, images, folder), expected)


def to_pytorch(train, reference, run, folder):
    state = load_file(run / "best.safetensors")
    net = reference(state["backbone.fc.weight"].shape[0])
    result = net.load_state_dict(state, strict=False)
    assert not result.unexpected_keys
    assert all(key.endswith("num_batches_tracked") for key in result.missing_keys), result.missing_keys
    net.eval()

    with open(run / "predictions.csv") as file:
        rows = list(csv.reader(file))[1:][:500]  # the images alone: Pillow decodes JPEG a little differently
    data = pathlib.Path(tomllib.loads((run / "config.toml").read_text())["data"])
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in CIFAR)
    images = torch.stack([
        (torch.from_numpy(np.asarray(Image.open(data / path).convert("RGB")).copy()).permute(2, 0, 1) / 255 - mean) / std
        for path, *_ in rows])
    with torch.no_grad():
        logits = net(images)
    report("run -> best.safetensors -> PyTorch, against the run's .onnx",
           onnx_logits(train, run, images, folder), logits.numpy())

    # And once through PyTorch's own format.
    torch.save(net.state_dict(), folder / "back.pth")
    report("... -> back.pth -> train export", onnx_logits(train, folder / "back.pth", images, folder), logits.numpy())


def main():
    torch.set_num_threads(2)
    train, run = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])
    default = HERE.parents[2] / "models/tests/goldens/reference.py"
    reference = load_reference(pathlib.Path(sys.argv[3]) if len(sys.argv) > 3 else default)
    with tempfile.TemporaryDirectory() as folder:
        from_pytorch(train, reference, pathlib.Path(folder))
        to_pytorch(train, reference, run, pathlib.Path(folder))


if __name__ == "__main__":
    main()
