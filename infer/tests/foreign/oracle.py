"""Preprocessing, activations and images of the fixtures, in Pillow and NumPy: what `infer` is compared with."""
import numpy as np
from PIL import Image

FILTERS = {"nearest": Image.NEAREST, "bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}


def images():
    """Smooth images without any symmetry; their sizes make every resize of the fixtures exact or torchvision's."""
    def image(width, height, phase):
        y, x = np.mgrid[0:height, 0:width].astype(np.float64)
        x, y = x / width, y / height
        planes = [255 * x ** 1.5 * (1 - 0.6 * y), 128 + 127 * np.sin(3 * y + 5 * x + phase),
                  255 * (1 - y) ** 2 * (0.3 + 0.7 * x)]
        pixels = np.stack(planes[phase:] + planes[:phase], -1)
        pixels[(x - 0.7) ** 2 + (y - 0.25) ** 2 < 0.03] = (240, 40 + 60 * phase, 30)
        return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))
    return {"wide.png": image(40, 28, 0), "tall.png": image(30, 60, 1), "small.png": image(10, 6, 2)}


def fitted(image, height, width, fit="crop", interpolation="bilinear", resize=None):
    """The image with the input's size: `crop` covers it and cuts out the centre, `letterbox` pads with gray."""
    kernel = FILTERS[interpolation]
    if fit == "squash":
        return image.resize((width, height), kernel)
    if fit == "letterbox":
        scale = min(width / image.width, height / image.height)
        size = round(image.width * scale), round(image.height * scale)
        canvas = Image.new(image.mode, (width, height), (114,) * len(image.mode))
        canvas.paste(image.resize(size, kernel), ((width - size[0]) // 2, (height - size[1]) // 2))
        return canvas
    if resize or height == width:  # torchvision's Resize(resize): the longer side is rounded down
        short = resize or height
        size = (short, int(short * image.height / image.width)) if image.width <= image.height else (
            int(short * image.width / image.height), short)
    else:
        scale = max(width / image.width, height / image.height)
        size = round(image.width * scale), round(image.height * scale)
    left, top = round((size[0] - width) / 2), round((size[1] - height) / 2)
    return image.resize(size, kernel).crop((left, top, left + width, top + height))


def tensor(image, height, width, channels="rgb", layout="nchw", white=1, mean=0, std=1, dtype=np.float32,
           **geometry):
    """One image as the input takes it, without the batch axis; `white` is the value of a byte of 255."""
    if channels == "gray":
        image = image.convert("L")
    values = np.asarray(fitted(image, height, width, **geometry), np.float32).reshape(height, width, -1)
    if channels == "bgr":
        values = values[..., ::-1]
    if white == 1:
        values = values / np.float32(255)
    values = (values - np.float32(mean)) / np.float32(std)
    return (values if layout == "nhwc" else values.transpose(2, 0, 1)).astype(dtype)


def softmax(values):
    powers = np.exp(values - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def probabilities(raw, activation):
    """What `infer` should report for one row of the output; one score is the second of two classes."""
    raw = np.asarray(raw, np.float64).reshape(-1)
    values = {"softmax": softmax, "sigmoid": sigmoid, "none": lambda x: x}[activation](raw)
    return np.array([1 - values[0], values[0]]) if len(raw) == 1 else values
