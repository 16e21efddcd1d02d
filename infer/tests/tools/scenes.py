"""Generated images of six classes: sharp shapes before a background with fine texture, so that every difference in
resampling, cropping, colour or orientation shows."""
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

CLASSES = ["blue disc", "cyan cross", "green square", "magenta ring", "red triangle", "yellow bars"]
COLORS = {"blue": (40, 60, 220), "cyan": (20, 200, 210), "green": (40, 170, 60), "magenta": (210, 50, 190),
          "red": (220, 40, 40), "yellow": (235, 210, 40)}


def background(rng, width, height):
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    slope, wave = rng.uniform(-1, 1, 2), rng.uniform(0.02, 0.5, 2)
    light = 128 + 50 * (slope[0] * x / width + slope[1] * y / height) + 18 * np.sin(wave[0] * x + wave[1] * y)
    tint = rng.uniform(0.7, 1.2, 3)
    grain = rng.integers(-12, 13, (height // 2 + 1, width // 2 + 1, 1)).repeat(2, 0).repeat(2, 1)[:height, :width]
    return Image.fromarray((light[..., None] * tint + grain).clip(0, 255).astype(np.uint8))


def scene(rng, kind, width, height):
    """An image of the class `kind`; its shape lies near the centre."""
    image = background(rng, width, height)
    draw, side = ImageDraw.Draw(image), min(width, height)
    radius = side * rng.uniform(0.2, 0.33)
    cx, cy = width / 2 + side * rng.uniform(-0.1, 0.1), height / 2 + side * rng.uniform(-0.1, 0.1)
    color, shape = CLASSES[kind].split()
    fill = tuple(int(np.clip(c + rng.integers(-25, 26), 0, 255)) for c in COLORS[color])
    box = (cx - radius, cy - radius, cx + radius, cy + radius)
    if shape == "disc":
        draw.ellipse(box, fill)
    elif shape == "ring":
        draw.ellipse(box, outline=fill, width=max(2, int(radius / 3)))
    elif shape == "square":
        draw.rectangle(box, fill)
    elif shape == "triangle":
        corners = [math.pi * (0.5 + 2 * corner / 3) for corner in range(3)]
        draw.polygon([(cx + radius * math.cos(a), cy - radius * math.sin(a)) for a in corners], fill)
    elif shape == "cross":
        third = radius / 3
        draw.rectangle((cx - radius, cy - third, cx + radius, cy + third), fill)
        draw.rectangle((cx - third, cy - radius, cx + third, cy + radius), fill)
    else:
        for bar in range(3):
            left = cx - radius + bar * radius * 0.8
            draw.rectangle((left, cy - radius, left + radius * 0.4, cy + radius), fill)
    return image.filter(ImageFilter.GaussianBlur(0.8))  # no lens gives edges of a single pixel


def training(count=720, side=(110, 200)):
    """Images for training, with their classes."""
    rng = np.random.default_rng(1)
    kinds = np.arange(count) % len(CLASSES)
    return [scene(rng, kind, *rng.integers(*side, 2)) for kind in kinds], kinds


def test_files(folder, count=100):
    """Paths of the same test images as PNG and as JPEG: 200 to 1,500 pixels, none square."""
    rng = np.random.default_rng(2)
    files = {"PNG": [], "JPEG": []}
    for number in range(count):
        width, height = (int(200 * 7.5 ** rng.beta(1, 2)) for _ in range(2))
        image = scene(rng, number % len(CLASSES), width, height + (width == height))
        for kind, how in {"PNG": {}, "JPEG": {"quality": 90}}.items():
            files[kind].append(folder / f"{number:03}.{kind.lower()}")
            image.save(files[kind][-1], **how)
    return files
