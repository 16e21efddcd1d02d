"""Writes a small image in every kind that `infer` reads, and beside each what Pillow makes of it (NAME.png).

    venv/bin/pip install pillow==13.0.0 numpy
    venv/bin/python infer/tests/formats/generate.py
"""
import pathlib

import numpy as np
from PIL import Image

HERE = pathlib.Path(__file__).resolve().parent
EXPECTED = HERE / "expected"


def image():
    """Smooth colours with an edge, 37x23: odd sizes, so that subsampled chroma ends within a block."""
    y, x = np.mgrid[0:23, 0:37].astype(np.float32)
    red = 128 + 100 * np.sin(x / 7) * np.cos(y / 5)
    green = 255 * x / 36
    blue = np.where(x + y > 30, 200, 40)
    return Image.fromarray(np.stack([red, green, blue], -1).clip(0, 255).astype(np.uint8))


def over_white(image):
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def main():
    EXPECTED.mkdir(exist_ok=True)
    rgb = image()
    gray, palette, cmyk = rgb.convert("L"), rgb.convert("P"), rgb.convert("CMYK")
    rgba = rgb.copy()
    rgba.putalpha(gray)
    deep = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    kinds = {
        "baseline.jpg": (rgb, {"quality": 90}), "progressive.jpg": (rgb, {"quality": 90, "progressive": True}),
        "subsampled.jpg": (rgb, {"quality": 90, "subsampling": "4:2:0"}), "gray.jpg": (gray, {"quality": 90}),
        "cmyk.jpg": (cmyk, {"quality": 95}),
        "rgb.png": (rgb, {}), "gray.png": (gray, {}), "black-and-white.png": (rgb.convert("1"), {}),
        "palette.png": (palette, {}), "transparent-palette.png": (palette, {"transparency": 5}),
        "rgba.png": (rgba, {}), "gray-alpha.png": (rgba.convert("LA"), {}), "deep.png": (deep, {}),
        "palette.gif": (palette, {}), "animation.gif": (palette, {"save_all": True, "append_images": [gray.convert("P")]}),
        "rgb.bmp": (rgb, {}), "palette.bmp": (palette, {}), "black-and-white.bmp": (rgb.convert("1"), {}),
        "rgb.tiff": (rgb, {}), "lzw.tiff": (rgb, {"compression": "tiff_lzw"}), "cmyk.tiff": (cmyk, {}),
        "fax.tiff": (rgb.convert("1"), {"compression": "group4"}), "deep.tiff": (deep, {}),
        "lossy.webp": (rgb, {"quality": 90}), "lossless.webp": (rgb, {"lossless": True}), "rgba.webp": (rgba, {"lossless": True}),
    }
    for name, (image, options) in kinds.items():
        image.save(HERE / name, **options)
        with Image.open(HERE / name) as read:
            if read.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
                read = Image.fromarray((np.asarray(read) / 257).round().astype(np.uint8))
            over_white(read).save(EXPECTED / f"{name}.png")
    exif = Image.Exif()
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        rgb.save(HERE / f"orientation-{orientation}.png", exif=exif)
        turned = {2: [Image.Transpose.FLIP_LEFT_RIGHT], 3: [Image.Transpose.ROTATE_180],
                  4: [Image.Transpose.FLIP_TOP_BOTTOM], 5: [Image.Transpose.TRANSPOSE],
                  6: [Image.Transpose.ROTATE_270], 7: [Image.Transpose.TRANSVERSE], 8: [Image.Transpose.ROTATE_90]}
        upright = rgb
        for how in turned.get(orientation, []):
            upright = upright.transpose(how)
        upright.save(EXPECTED / f"orientation-{orientation}.png.png")


if __name__ == "__main__":
    main()
