"""Writes a small image in every kind that `infer` reads, and what Pillow makes of it (NAME.png in expected.tar.gz); what
`infer` refuses by name goes into refused/.

    venv/bin/pip install pillow==13.0.0 pillow-heif==1.8.1 tifffile==2026.3.3 imagecodecs numpy
    venv/bin/python infer/tests/formats/generate.py CJPEG

CJPEG is the program `cjpeg` of libjpeg-turbo 3.
"""
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import pillow_heif
import tifffile
from PIL import Image

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE / "../../../models/tests"))
from packing import pack  # noqa: E402

EXPECTED = pathlib.Path(tempfile.mkdtemp())
REFUSED = HERE / "refused"

# Scripts of scans: one a component, and luma before both chromas.
SCANS = {"apart": "0;\n1;\n2;\n", "luma-first": "0;\n1,2;\n"}


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


def expect(name, image):
    image.save(EXPECTED / f"{name}.png", optimize=True)


def cjpeg(to, *options):
    """Writes the image with libjpeg-turbo's own program, which knows layouts that Pillow cannot write."""
    source = HERE / "source.ppm"
    image().save(source)
    subprocess.run([sys.argv[1], "-quality", "90", *options, "-outfile", to, source], check=True)
    source.unlink()


def jpegs():
    script = HERE / "scans.txt"
    layouts = {f"{name}-{sampling}.jpg": (scans, sampling, []) for name, scans in SCANS.items()
               for sampling in ["1x1", "2x1", "1x2", "2x2", "4x1"]}
    layouts["apart-restart-2x2.jpg"] = (SCANS["apart"], "2x2", ["-restart", "3B"])
    layouts["restart-2x2.jpg"] = (None, "2x2", ["-restart", "1B"])
    layouts["progressive-restart-2x2.jpg"] = (None, "2x2", ["-progressive", "-restart", "2B"])
    layouts["chroma-larger.jpg"] = (None, "1x1,2x2,2x2", [])
    layouts["thirds.jpg"] = (None, "3x1", [])
    for name, (scans, sampling, options) in layouts.items():
        if scans:
            script.write_text(scans)
            options = [*options, "-scans", script]
        cjpeg(HERE / name, "-sample", sampling, *options)
        expect(name, Image.open(HERE / name).convert("RGB"))
    script.unlink()
    REFUSED.mkdir(exist_ok=True)
    cjpeg(REFUSED / "arithmetic.jpg", "-arithmetic")
    cjpeg(REFUSED / "lossless.jpg", "-lossless", "1")
    cjpeg(REFUSED / "deep.jpg", "-precision", "12")


def tiffs():
    rgb = np.asarray(image())
    gray, palette = np.asarray(image().convert("L")), image().convert("P")
    rgba = np.dstack([rgb, gray])
    premultiplied = (rgba[..., :3].astype(int) * rgba[..., 3:] + 127) // 255
    tall = np.tile(rgb, (3, 1, 1))
    kinds = {
        "big.tiff": (rgb, {"bigtiff": True}), "planar.tiff": (np.moveaxis(rgb, -1, 0), {"planarconfig": "separate"}),
        "tiled.tiff": (tall, {"tile": (16, 16), "compression": "zlib"}), "big-endian.tiff": (rgb, {"byteorder": ">"}),
        "predictor.tiff": (rgb, {"compression": "lzw", "predictor": True}),
        "packbits.tiff": (rgb, {"compression": "packbits"}), "strips.tiff": (tall, {"rowsperstrip": 5}),
        "jpeg.tiff": (rgb, {"compression": "jpeg"}),
        "rgba.tiff": (rgba, {"extrasamples": ["unassalpha"]}),
    }
    for name, (pixels, options) in kinds.items():
        options = {"photometric": "rgb", "metadata": None} | options
        tifffile.imwrite(HERE / name, pixels, **options)
        expect(name, over_white(Image.open(HERE / name)))
    # Over white, a premultiplied colour is added to what shows through.
    pixels = np.dstack([premultiplied, gray]).astype(np.uint8)
    tifffile.imwrite(HERE / "premultiplied.tiff", pixels, photometric="rgb", extrasamples=["assocalpha"], metadata=None)
    expect("premultiplied.tiff", Image.fromarray((pixels[..., :3] + 255 - pixels[..., 3:]).astype(np.uint8)))
    palette.save(HERE / "palette.tiff")
    palette.quantize(16).save(HERE / "palette-4.tiff", compression="tiff_lzw")
    image().convert("1").save(HERE / "black-and-white.tiff")
    for name in ["palette.tiff", "palette-4.tiff", "black-and-white.tiff"]:
        expect(name, Image.open(HERE / name).convert("RGB"))
    for bits in [2, 4]:
        small = gray >> (8 - bits)
        tifffile.imwrite(HERE / f"gray-{bits}.tiff", small, bitspersample=bits, photometric="minisblack", metadata=None)
        expect(f"gray-{bits}.tiff", Image.fromarray((small.astype(int) * 255 // (2**bits - 1)).astype(np.uint8)))
    inverted = {"photometric": "miniswhite", "metadata": None}
    tifffile.imwrite(HERE / "white-is-zero.tiff", 255 - gray, **inverted)
    expect("white-is-zero.tiff", Image.fromarray(gray))
    image().convert("1").save(REFUSED / "fax-3.tiff", compression="group3")
    tifffile.imwrite(REFUSED / "float.tiff", gray.astype(np.float32), photometric="minisblack", metadata=None)
    tifffile.imwrite(REFUSED / "zstd.tiff", rgb, photometric="rgb", compression="zstd", metadata=None)
    tifffile.imwrite(REFUSED / "planar-tiled.tiff", np.moveaxis(np.tile(rgb, (3, 1, 1)), -1, 0), photometric="rgb", planarconfig="separate",
                     tile=(16, 16), metadata=None)


def others():
    rgb = image()
    pillow_heif.from_pillow(rgb).save(REFUSED / "photo.heic", quality=80)
    for name in ["photo.avif", "photo.jp2", "photo.ico", "photo.ppm", "photo.tga", "photo.dds", "photo.pcx", "photo.sgi"]:
        rgb.save(REFUSED / name)
    (REFUSED / "photo.jxl").write_bytes(b"\xff\x0a" + bytes(16))
    frames = [rgb, rgb.transpose(Image.Transpose.ROTATE_180)]
    for name in ["animation.webp", "animation.png"]:
        frames[0].save(HERE / name, save_all=True, append_images=frames[1:], duration=100, lossless=True)
        expect(name, rgb)
    interlaced = rgb.quantize(60)
    interlaced.save(HERE / "interlaced.gif", interlace=True)
    expect("interlaced.gif", Image.open(HERE / "interlaced.gif").convert("RGB"))


def main():
    jpegs()
    tiffs()
    others()
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
    for name, (pixels, options) in kinds.items():
        pixels.save(HERE / name, **options)
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
    # Equal files in a row make a much smaller archive.
    pack(EXPECTED, HERE / "expected.tar.gz", key=lambda file: (file.read_bytes(), file.name))


if __name__ == "__main__":
    main()
