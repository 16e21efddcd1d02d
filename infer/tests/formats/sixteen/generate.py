"""Writes images of 16 bits as Pillow and OpenCV do: a row of the values of `infer/tests/formats.rs`.

    venv/bin/pip install pillow==13.0.0 opencv-python-headless==5.0.0 numpy
    venv/bin/python infer/tests/formats/sixteen/generate.py
"""
import pathlib

import cv2
import numpy as np
from PIL import Image

HERE = pathlib.Path(__file__).resolve().parent
VALUES = [0, 127, 128, 129, 255, 256, 257, 385, 386, 4095, 32767, 65279, 65280, 65535]

gray = np.array([VALUES], dtype=np.uint16)
# Blue, green, red, as OpenCV orders them.
rgb = np.stack([gray, gray[:, ::-1], np.full_like(gray, 4095)], -1)
for ending in ["png", "tiff"]:
    Image.fromarray(gray).save(HERE / f"pillow-gray.{ending}")
    assert cv2.imwrite(str(HERE / f"opencv-gray.{ending}"), gray)
    assert cv2.imwrite(str(HERE / f"opencv-rgb.{ending}"), rgb)
