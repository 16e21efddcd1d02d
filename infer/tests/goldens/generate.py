"""Resizes and crops images as torchvision does, for tests/preprocess.rs.

Run here with Pillow and torchvision: python generate.py
Each NAME.png becomes NAME-RESIZE-CROP.png.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

HERE = Path(__file__).parent
CASES = {
    "wide": ((61, 37), [(32, 32), (32, 28), (17, 16), (50, 45)]),
    "tall": ((23, 71), [(32, 32), (16, 13), (40, 33)]),
    "tiny": ((5, 3), [(32, 28)]),
}


def image(width, height):
    """Slopes, a sharp edge and a fine pattern, so that a filter or an offset that is wrong shows."""
    y, x = np.mgrid[:height, :width]
    red = 255 * x // max(width - 1, 1)
    green = np.where(x + y < (width + height) // 2, 20, 235)
    blue = (x * 7 + y * 13) % 4 * 85
    return Image.fromarray(np.stack([red, green, blue], axis=-1).astype(np.uint8))


for name, (size, steps) in CASES.items():
    original = image(*size)
    original.save(HERE / f"{name}.png", optimize=True)
    for resize, crop in steps:
        transform = Compose([Resize(resize, InterpolationMode.BILINEAR), CenterCrop(crop)])
        transform(original).save(HERE / f"{name}-{resize}-{crop}.png", optimize=True)
