"""Deletion and insertion curves (Petsiuk et al. 2018, RISE, arXiv:1806.07421) of class activation maps.

Pixels are removed from an image (set to the mean colour), or added to a blurred copy of it, in the order of a map. A map that
knows what speaks for a class makes its probability fall early (small area under the deletion curve) and rise early (large area
under the insertion curve). Compared are the maps of `infer explain`, random maps of the same grid, random pixels, and a map of
the centre, on the class that the network predicts.

    pip install numpy pillow onnxruntime
    train export RUN --explain-outputs -o model.onnx
    python benches/peers/explaining.py model.onnx FOLDER --infer target/release/infer --images 200

FOLDER has a folder of images for each class; the images are spread over all of it.
"""

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime as ort
from PIL import Image, ImageFilter

STEPS = 32
"""Number of steps of a curve: 1/32 of the pixels each."""
BLUR = 5
"""Standard deviation of the blurred copy, in pixels."""


def spread(folder, count):
    files = (Path(place) / name for place, _, names in os.walk(folder, followlinks=True) for name in names)
    images = sorted(path for path in files if path.suffix.lower() in {".png", ".jpg", ".jpeg"})
    return [images[index * len(images) // count] for index in range(min(count, len(images)))]


def seen(image, preprocessing):
    """Resizes and crops as the card says, for cards of square images."""
    side, crop = preprocessing["resize"], preprocessing["crop"]
    scale = side / min(image.size)
    image = image.resize([round(size * scale) for size in image.size], Image.BILINEAR)
    left, top = [(size - crop) // 2 for size in image.size]
    return image.crop((left, top, left + crop, top + crop))


def upsampled(grid, side):
    return np.asarray(Image.fromarray(grid.astype(np.float32)).resize((side, side), Image.BILINEAR))


def curve(probability, start, end, order, label):
    """Probabilities of a class while the pixels of `start` become those of `end`, in this order."""
    side = start.shape[-1]
    frames, frame = [start.copy()], start.copy()
    for part in np.array_split(order, STEPS):
        frame = frame.copy()
        frame[:, part // side, part % side] = end[:, part // side, part % side]
        frames.append(frame)
    return probability(np.stack(frames))[:, label]


def area(values):
    return float(np.mean((values[1:] + values[:-1]) / 2))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("folder")
    parser.add_argument("--infer", default="infer")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(args.model, options, providers=["CPUExecutionProvider"])
    card = json.loads(session.get_modelmeta().custom_metadata_map["ferronnx.card"])
    preprocessing = card["preprocessing"]
    mean, std = [np.array(preprocessing[key], np.float32)[:, None, None] for key in ("mean", "std")]
    name = session.get_inputs()[0].name

    def normalised(image):
        return (np.asarray(image, np.float32).transpose(2, 0, 1) / 255 - mean) / std

    def probability(batch):
        logits = session.run(["logits"], {name: batch})[0]
        exp = np.exp(logits - logits.max(1, keepdims=True))
        return exp / exp.sum(1, keepdims=True)

    random = np.random.default_rng(args.seed)
    results = {}
    with tempfile.TemporaryDirectory() as scratch:
        for path in spread(args.folder, args.images):
            command = [args.infer, "explain", str(path), "--format", "json", "--device", "cpu", "--model", args.model]
            command += ["-o", f"{scratch}/overlay.png"]
            found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            label, grid = found["class_map"]["index"], np.array(found["class_map"]["values"])
            image = seen(Image.open(path).convert("RGB"), preprocessing)
            whole, side = normalised(image), image.width
            blurred = normalised(image.filter(ImageFilter.GaussianBlur(BLUR)))
            # JPEG decoders round otherwise, which moves probabilities a little.
            difference = probability(whole[None])[0, label] - found["predictions"][0]["probability"]
            assert abs(difference) < 0.05, f"{path}: prepared otherwise than by infer ({difference:+.3f})"
            rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
            maps = {
                "class activation map": upsampled(grid, side),
                "random map of the same grid": upsampled(random.random(grid.shape), side),
                "random pixels": random.random((side, side)),
                "centre": -(rows**2 + columns**2),
            }
            for kind, values in maps.items():
                order = np.argsort(-values, axis=None, kind="stable")
                deletion = area(curve(probability, whole, np.zeros_like(whole), order, label))
                insertion = area(curve(probability, blurred, whole, order, label))
                results.setdefault(kind, []).append((deletion, insertion))

    ours = np.array(results["class activation map"])
    print(f"{len(ours)} images, map of {grid.shape[0]}x{grid.shape[1]}, {STEPS} steps\n")
    print("| map | deletion (less is better) | insertion (more is better) | CAM better: deletion | insertion |")
    print("|---|---|---|---|---|")
    for kind, values in results.items():
        values = np.array(values)
        means = " | ".join(f"{value:.3f}" for value in values.mean(0))
        if kind == "class activation map":
            print(f"| {kind} | {means} | | |")
            continue
        gain = (ours - values) * [-1, 1]
        error = gain.std(0, ddof=1) / np.sqrt(len(gain))
        print(f"| {kind} | {means} | " + " | ".join(f"{a:+.3f} ± {b:.3f}" for a, b in zip(gain.mean(0), error)) + " |")


if __name__ == "__main__":
    main()
