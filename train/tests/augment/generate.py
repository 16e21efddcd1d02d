"""Changes images as torchvision does, for train/src/data/augment/tests.rs.

Run here with torchvision, Pillow and safetensors: python generate.py
Writes goldens.safetensors.gz: each image under its name, and under NAME|CHANGES what torchvision's functions make of
it on Pillow's images, as bytes [3, H, W]. Prints the quantiles that resized.rs holds random resized crops against.
"""

import gzip
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as F

HERE = Path(__file__).parent
COLOURS = {
    "brightness": F.adjust_brightness,
    "contrast": F.adjust_contrast,
    "saturation": F.adjust_saturation,
    "hue": F.adjust_hue,
}
ONE_EACH = [
    *(f"dx={dx} dy={dy}" for dx, dy in [(0, 0), (4, -4), (-3, 1), (1, 0), (40, 0)]),
    "flip",
    "dx=-3 dy=2 flip",
    *(f"{name}={factor}" for name in ("brightness", "contrast", "saturation") for factor in (0, 0.5, 0.83, 1.2, 1.9)),
    *(f"hue={shift}" for shift in (-0.5, -0.1, -0.03, 0.004, 0.07, 0.1, 0.5)),
    *(f"angle={angle}" for angle in (-15, -7.3, -0.4, 7.3, 15, 45, 90, 180, -90)),
    "dx=2 dy=-1 flip contrast=0.8 hue=0.06 brightness=1.17 saturation=1.2 angle=-7.3",
    "dx=-4 dy=4 hue=-0.1 saturation=0.8 contrast=1.2 brightness=0.8 angle=15",
    "brightness=1.2 contrast=1.2 saturation=1.2 hue=0.1 angle=3.9",
    "saturation=1.13 brightness=0.91 hue=0.02 contrast=1.05",
]
RESIZED = [(0, 0, 33, 47, 24), (5, 3, 17, 13, 24), (0, 40, 33, 7, 24), (32, 46, 1, 1, 5), (4, 7, 24, 24, 24), (3, 2, 30, 40, 7)]


def landscape(width, height, seed):
    """Like a photo: soft shapes, mixed colours, noise, a dark edge and a bright spot."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(width, height)
    waves = sum(
        random.normal(size=(3, 1, 1)) / k * np.sin(k * (random.uniform(2, 7) * x + random.uniform(2, 7) * y) + k)
        for k in range(1, 6)
    )
    values = 120 + 55 * waves + random.normal(scale=6, size=(3, height, width))
    values[:, -3:] *= 0.2
    values[:, 2:5, 2:6] += 120
    return values.clip(0, 255).astype(np.uint8)


def swatches(width, height, seed):
    """Pure colours, grays and random ones: the corners of the colour space."""
    random = np.random.default_rng(seed)
    values = random.integers(0, 256, size=(3, height, width))
    values[:, ::3] = random.choice([0, 1, 127, 128, 254, 255], size=values[:, ::3].shape)
    values[:, 1::3] = values[:1, 1::3]
    return values.astype(np.uint8)


def change(image, changes):
    """The changes in torchvision's order; those of colour in the order in which they are named."""
    image = Image.fromarray(image.transpose(1, 2, 0))
    width, height = image.size
    steps = [step.partition("=")[::2] for step in changes.split()]
    values = {name: float(value) for name, value in steps if value}
    offset = int(values.get("dx", 0)), int(values.get("dy", 0))
    border = max(map(abs, offset))
    image = F.crop(F.pad(image, border), border + offset[1], border + offset[0], height, width)
    image = F.hflip(image) if "flip" in changes else image
    for name, value in steps:
        image = COLOURS[name](image, float(value)) if name in COLOURS else image
    image = F.rotate(image, values["angle"], InterpolationMode.NEAREST) if "angle" in values else image
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def resized(image, left, top, width, height, side):
    image = Image.fromarray(image.transpose(1, 2, 0))
    image = F.resized_crop(image, top, left, height, width, [side, side], InterpolationMode.BILINEAR)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def quantiles(values):
    values = sorted(values)
    return [round(values[int(len(values) * share)], 3) for share in (0.1, 0.5, 0.9)]


goldens = {
    "landscape": landscape(16, 16, 1),
    "wide": landscape(19, 13, 2),
    "swatches": swatches(17, 18, 3),
    "photo": landscape(33, 47, 4),
}
for name in ("landscape", "wide", "swatches"):
    goldens |= {f"{name}|{changes}": change(goldens[name], changes) for changes in ONE_EACH}
for box in RESIZED:
    changes = " ".join(map(str, box))
    goldens[f"photo|{changes}"] = resized(goldens["photo"], *box)
(HERE / "goldens.safetensors.gz").write_bytes(gzip.compress(save(goldens), mtime=0))

torch.manual_seed(0)
large = Image.new("RGB", (1000, 800))
boxes = [RandomResizedCrop.get_params(large, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(50_000)]
print("AREA", quantiles([h * w / 800_000 for _, _, h, w in boxes]))
print("RATIO", quantiles([math.log(w / h) for _, _, h, w in boxes]))
