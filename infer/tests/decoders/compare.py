"""Compares what `infer` decodes with what Pillow decodes, over folders of images.

    venv/bin/pip install pillow==13.0.0 pillow-heif==1.8.1 numpy
    cargo build -p ferronnx-infer --example decode_images
    venv/bin/python infer/tests/decoders/compare.py target/debug/examples/decode_images CORPUS...

Each file that differs gets a line; a table of formats and corpora follows. docs/images.md has the corpora and the table.

same     at most 4 of 255 apart anywhere (decoders of JPEG and lossy WebP round differently)
close    at most 48 apart anywhere and 1.5 on average: chroma is interpolated in another way
wrong    further apart, or of another size
refused  read by Pillow only
more     read by `infer` only
neither  read by none
"""
import collections
import pathlib
import subprocess
import sys
import warnings

import numpy as np
import pillow_heif
from PIL import Image, ImageOps

TOO_LARGE = 60_000_000  # pixels; `infer` has a limit too


def pillow(path):
    """Format and upright RGB8 over white, as `infer` promises them; None in the place of pixels for what has no 8-bit form."""
    with Image.open(path) as image:
        kind = image.format
        if image.width * image.height > TOO_LARGE:
            raise ValueError("too large")
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
            image = Image.fromarray((np.asarray(image).astype(np.float64) / 257).round().clip(0, 255).astype(np.uint8))
        image = image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode))
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            rgba = np.asarray(image.convert("RGBA")).astype(int)
            color, alpha = rgba[..., :3], rgba[..., 3:]
            return kind, ((color * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
        return kind, np.asarray(image.convert("RGB"))


class Decoder:
    """The example program, started again after a crash."""

    def __init__(self, program):
        self.program, self.process = program, None

    def decode(self, path):
        if self.process is None:
            pipe = subprocess.PIPE
            self.process = subprocess.Popen([self.program], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
        self.process.stdin.write(f"{path}\n".encode())
        self.process.stdin.flush()
        head = self.process.stdout.readline().decode()
        if not head:
            self.process = None
            return None, "CRASHED"
        if head.startswith("error "):
            return None, head[6:].strip()
        width, height = map(int, head.split())
        pixels = self.process.stdout.read(width * height * 3)
        return np.frombuffer(pixels, np.uint8).reshape(height, width, 3), ""


def verdict(found, expected):
    if found is None or expected is None:
        return {(True, True): "neither", (True, False): "refused", (False, True): "more"}[found is None, expected is None], ""
    if found.shape != expected.shape:
        return "wrong", f"{found.shape} instead of {expected.shape}"
    apart = np.abs(found.astype(int) - expected.astype(int))
    largest, mean = int(apart.max()), float(apart.mean())
    word = "same" if largest <= 4 else "close" if largest <= 48 and mean <= 1.5 else "wrong"
    return word, f"{largest} apart, {mean:.2f} on average"


def kind_of(path):
    """Format of a file that Pillow cannot read, from its first bytes."""
    head = path.read_bytes()[:12]
    known = {b"\xff\xd8": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"BM": "BMP", b"II": "TIFF", b"MM": "TIFF", b"RIFF": "WEBP"}
    return next((kind for beginning, kind in known.items() if head.startswith(beginning)), "other")


def main():
    warnings.simplefilter("ignore")
    pillow_heif.register_heif_opener()
    Image.MAX_IMAGE_PIXELS = None
    decoder = Decoder(sys.argv[1])
    counts = collections.defaultdict(collections.Counter)
    for corpus in map(pathlib.Path, sys.argv[2:]):
        for path in sorted(path for path in corpus.rglob("*") if path.is_file()):
            found, reason = decoder.decode(path)
            kind = kind_of(path)
            try:
                kind, expected = pillow(path)
            except Exception as error:  # Pillow raises whatever its plugins raise
                expected, reason = None, f"{reason} | Pillow: {str(error).replace(str(path), 'it')[:80]}"
            word, apart = verdict(found, expected)
            counts[kind, corpus.name]["CRASHED" if reason.startswith("CRASHED") else word] += 1
            if word != "same":
                print(f"{word:8}{kind:6}{path}: {apart or reason}", flush=True)
    words = ["same", "close", "refused", "more", "neither", "wrong", "CRASHED"]
    print(f"\n| format | corpus | files | {' | '.join(words)} |\n|{'---|' * (len(words) + 3)}")
    for (kind, corpus), count in sorted(counts.items()):
        print(f"| {kind} | {corpus} | {count.total()} | {' | '.join(str(count[word]) for word in words)} |")


if __name__ == "__main__":
    main()
