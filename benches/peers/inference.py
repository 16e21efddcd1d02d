"""Compares `infer` with a Python script that uses Pillow, numpy and ONNX Runtime. Prints medians and ratios.

    cargo build --release -p ferronnx-infer
    venv/bin/pip install onnxruntime==1.31.1 pillow==13.0.0 numpy
    ORT_DYLIB_PATH=... venv/bin/python benches/peers/inference.py target/release/infer MODEL.onnx IMAGES \
        [--ours INT8.onnx] [--size 500x375] [--count 500] [--rounds 3]

IMAGES is a folder of images. With --size, they are first enlarged and written as --count JPEG files, repeated if there
are fewer. --ours gives `infer` another form of the model, such as int8. Both sides use two threads and batches of 32, and
take turns. The script decodes a batch before it runs the network on it.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

THREADS, BATCH = 2, 32
SUFFIXES = {".jpg", ".jpeg", ".png"}


def peer(model, folder, what):
    """Runs the Python side, in a process of its own so that its imports count."""
    import numpy as np
    import onnxruntime
    from PIL import Image

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(model, options)
    card = json.loads(session.get_modelmeta().custom_metadata_map["ferronnx.card"])
    steps = card["preprocessing"]
    mean, std = (np.array(steps[key], np.float32).reshape(3, 1, 1) for key in ("mean", "std"))
    resize, crop = steps["resize"], steps["crop"]

    def prepare(path):
        image = Image.open(path).convert("RGB")
        width, height = image.size
        short = min(width, height)
        image = image.resize((width * resize // short, height * resize // short), Image.BILINEAR)
        left, top = ((size - crop) // 2 for size in image.size)
        pixels = np.asarray(image.crop((left, top, left + crop, top + crop)), np.float32)
        return (pixels.transpose(2, 0, 1) / 255 - mean) / std

    paths = images_in(folder)
    if what == "prepare":
        for path in paths[:BATCH]:
            prepare(path)
        started = time.perf_counter()
        for path in paths[:256]:
            prepare(path)
        print(1e3 * (time.perf_counter() - started) / min(256, len(paths)))
        return
    for first in range(0, len(paths), BATCH):
        batch = paths[first:first + BATCH]
        logits = session.run(["logits"], {"input": np.stack([prepare(path) for path in batch])})[0]
        powers = np.exp(logits - logits.max(1, keepdims=True))
        for path, row in zip(batch, powers / powers.sum(1, keepdims=True)):
            best = row.argsort()[::-1][:5]
            print(json.dumps({"path": str(path), "predictions": [
                {"label": card["labels"][index], "probability": float(row[index])} for index in best]}))


def images_in(path):
    path = pathlib.Path(path)
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [path for path in found if path.suffix in SUFFIXES]


def enlarged(images, folder, size, count):
    from PIL import Image

    width, height = map(int, size.split("x"))
    paths = images_in(images)
    for index in range(count):
        image = Image.open(paths[index % len(paths)]).convert("RGB").resize((width, height), Image.BICUBIC)
        image.save(pathlib.Path(folder) / f"{index:05}.jpg", quality=90)
    return folder


def seconds(command):
    started = time.perf_counter()
    done = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)
    return time.perf_counter() - started, done.stdout


def main():
    if sys.argv[1:2] == ["--peer"]:
        return peer(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("infer")
    parser.add_argument("model")
    parser.add_argument("images")
    parser.add_argument("--ours")
    parser.add_argument("--size")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ours = options.ours or options.model
    with tempfile.TemporaryDirectory() as folder:
        images = options.images
        if options.size:
            images = enlarged(images, folder, options.size, options.count)
        one = images_in(images)[0]
        python = [sys.executable, __file__, "--peer", options.model]
        classify = [options.infer, "classify", "--model", ours, "--threads", THREADS, "--batch", BATCH, "--format", "jsonl"]
        bench = [options.infer, "bench", "--model", ours, "--threads", THREADS, "--batch", BATCH, "--seconds", 0.1,
                 "--images", images, "--format", "json"]
        found = {"one image, whole process, ms": ([], []), "folder, whole process, s": ([], []),
                 "decode and prepare, one core, ms an image": ([], [])}
        for _ in range(options.rounds):
            for what, target in [("one image, whole process, ms", one), ("folder, whole process, s", images)]:
                scale = 1e3 if what.startswith("one") else 1
                theirs, answers = seconds([*python, target, "classify"])
                mine, own = seconds([*classify, target])
                assert len(answers.splitlines()) == len(own.splitlines()), "not the same images"
                found[what][0].append(scale * theirs)
                found[what][1].append(scale * mine)
            prepared = json.loads(seconds(bench)[1])["pictures"]
            found["decode and prepare, one core, ms an image"][0].append(float(seconds([*python, images, "prepare"])[1]))
            found["decode and prepare, one core, ms an image"][1].append(
                prepared["decode_ms"]["mean"] + prepared["preprocess_ms"]["mean"])
    print("| | Python | infer | ratio |\n|---|---|---|---|")
    for what, (theirs, mine) in found.items():
        theirs, mine = statistics.median(theirs), statistics.median(mine)
        print(f"| {what} | {theirs:.3g} | {mine:.3g} | {theirs / mine:.2f} times as fast |")


if __name__ == "__main__":
    main()
