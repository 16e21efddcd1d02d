#!/usr/bin/env python3
"""Resumes and exports a run that an older program began, and compares with the older program finishing it.

    python train/tests/old_runs/try.py OLD_TRAIN NEW_TRAIN NEW_INFER
    python train/tests/old_runs/try.py OLD_TRAIN --fixture train/tests/old_runs/stopped

OLD_TRAIN is `train` of the commit before runs moved into the library, NEW_TRAIN and NEW_INFER are today's programs.
The old program begins a run of the full network and is killed; a copy of its folder is finished by the old program and
another by the new one. Weights, optimizer, metrics, predictions and result must be the same to the bit, and the export
must verify. Only the standard library is needed.

With --fixture, the text files of a run that was killed after three epochs are kept in a folder, which
`train/tests/old_runs.rs` resumes. Weights are 45 MB each, so that test makes them by a formula.
"""

import json
import pathlib
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib

COLOURS = {"blue": (0, 0, 180), "green": (0, 180, 0), "red": (180, 0, 0)}

# The built-in recipe as it was: names of parameters, attention among them, which a plain ResNet18 does not have.
RECIPE = """
name = "old"
batch_size = 8

[augment]
crop_padding = 0.125
horizontal_flip = 0.5
brightness = 0.2

[[phase]]
name = "head"
epochs = 2
learning_rate = 1e-3
train = ["backbone.fc.*", "cbam_layer*"]

[[phase]]
name = "high level"
epochs = 2
learning_rate = 1e-4
train = ["backbone.fc.*", "cbam_layer*", "backbone.layer3.*", "backbone.layer4.*"]

[[phase]]
name = "all"
epochs = 2
learning_rate = 1e-5
train = ["*"]
"""


def png(path, colour, index):
    """An 8x8 image of one colour with noise, as `colours` in train/tests/common/mod.rs."""
    noise = lambda x, y: (x * 7 + y * 13 + index * 29) % 40
    row = lambda y: bytes(min(255, value + noise(x, y)) for x in range(8) for value in colour)
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row(y) for y in range(8)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))


def data(folder):
    for split, count in [("train", 14), ("test", 4)]:
        for name, colour in COLOURS.items():
            for index in range(count):
                png(folder / split / name / f"{index:03}.png", colour, index)


def begin(old, folder, attention):
    """Begins a run with the old program and kills it in the epoch after the third."""
    data(folder / "colours")
    (folder / "old.toml").write_text(RECIPE)
    arguments = ["fit", "--data", "colours", "--out", "run", "--recipe", "old.toml", "--image-size", "8"]
    arguments += ["--device", "cpu", "--attention", attention]
    process = subprocess.Popen([old, *arguments], cwd=folder, stdout=subprocess.DEVNULL)
    state = folder / "run/last/state.json"
    while not state.exists() or json.loads(state.read_text())["epoch"] < 3:
        assert process.poll() is None, "the old program ended by itself"
        time.sleep(0.001)
    time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "run/result.json").exists()


def finish(program, folder, out):
    shutil.copytree(folder / "run", folder / out)
    subprocess.run([program, "fit", "--resume", out], cwd=folder, check=True)


def metrics(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in ("seconds", "images_per_second")} for line in lines]


FILES = ["best.safetensors", "last/weights.safetensors", "last/optimizer.safetensors", "predictions.csv", "result.json"]


def compare(old_train, new_train, new_infer):
    for attention in ["cbam", "none"]:
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            begin(old_train, folder, attention)
            finish(old_train, folder, "old")
            finish(new_train, folder, "new")
            assert metrics(folder / "old") == metrics(folder / "new"), "metrics differ"
            for name in FILES:
                same = (folder / "old" / name).read_bytes() == (folder / "new" / name).read_bytes()
                assert same, f"{name} differs"
            subprocess.run([new_train, "export", "new", "-o", "new.onnx"], cwd=folder, check=True)
            subprocess.run([new_infer, "verify", "--model", "new.onnx"], cwd=folder, check=True)
            # A folder that the old program finished is exported as well.
            subprocess.run([new_train, "export", "old", "-o", "old.onnx"], cwd=folder, check=True)
            print(f"attention {attention}: the same to the bit, exported and verified")


def fixture(old_train, target):
    """Keeps the text files of a run without attention; the folder of images becomes the word DATA."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        begin(old_train, folder, "none")
        for name in ["config.toml", "plan.json", "metrics.jsonl", "last/state.json"]:
            path = pathlib.Path(target) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            text = (folder / "run" / name).read_text()
            path.write_text(text.replace(str((folder / "colours").resolve()), "DATA"))


if __name__ == "__main__":
    if "--fixture" in sys.argv:
        fixture(str(pathlib.Path(sys.argv[1]).resolve()), sys.argv[3])
    else:
        compare(*(str(pathlib.Path(path).resolve()) for path in sys.argv[1:4]))
