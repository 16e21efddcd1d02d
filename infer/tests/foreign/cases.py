"""Cases of answers.json: a file, how images are prepared for it, and the right answers."""
import pathlib
import tempfile

import numpy as np
import onnxruntime

import oracle
from networks import CLASSES, SIDE

HERE = pathlib.Path(tempfile.mkdtemp())
UNIT = ["--mean", "0,0,0", "--std", "1,1,1"]
IMAGES, FILES, CASES = oracle.images(), {}, {}


def case(name, data=None, *, file=None, flags=UNIT, values="logits", activation=None, expect="run", why="",
         classes=CLASSES, output=None, rank=None, one_score=False, threshold=0.5, size=(SIDE, SIDE), **how):
    """One case; `data` is the file's bytes, `how` the preprocessing of `oracle.tensor`."""
    file = file or f"{name}.onnx"
    if data is not None:
        FILES[file] = data
        (HERE / file).write_bytes(data)
    activation = activation or {"logits": "softmax", "log-probabilities": "softmax"}.get(values, "none")
    multi_label = not one_score and (activation == "sigmoid" or values == "scores")
    entry = {"file": file, "flags": flags, "values": values, "activation": activation, "expect": expect, "why": why,
             "multi_label": multi_label, "classes": classes}
    if multi_label:
        entry["threshold"] = threshold
    if expect != "refuse":
        entry["answers"] = {image: answer(file, pixels, size, how, output, rank, entry)
                            for image, pixels in IMAGES.items()}
        tell_apart(name, file, size, how, output, rank, entry)
    CASES[name] = entry


def raw_output(file, image, size, how, output, rank):
    """The row of the output for one image; a fixed batch is filled with it, `rank` is the input's number of axes."""
    session = onnxruntime.InferenceSession(HERE / file, providers=["CPUExecutionProvider"])
    taken = session.get_inputs()[0]
    batch = taken.shape[0] if isinstance(taken.shape[0], int) else 1
    values = np.stack([oracle.tensor(image, *size, **how)] * batch)
    if rank == 2:
        values = values.reshape(batch, -1)
    if rank == 3 and how.get("channels") == "gray":
        values = values.reshape(batch, *size)
    elif rank == 3:
        values = values[0]
    names = [value.name for value in session.get_outputs()]
    found = session.run(None, {taken.name: values})[names.index(output) if output else 0]
    if isinstance(found, list):  # a ZipMap's maps
        found = np.array([list(row.values()) for row in found])
    return np.asarray(found if rank == 3 and how.get("channels") != "gray" else found[0], np.float64).reshape(-1)


def answer(file, image, size, how, output, rank, entry):
    values = oracle.probabilities(raw_output(file, image, size, how, output, rank), entry["activation"])
    return {"top": str(entry["classes"][int(values.argmax())]), "probabilities": values.round(6).tolist()}


def tell_apart(name, file, size, how, output, rank, entry):
    """Fails where a wrong preprocessing gives nearly the same answers."""
    color = {"rgb": "bgr", "bgr": "rgb"}.get(how.get("channels", "rgb"))
    wrong = {"white": how | {"white": 1 if how.get("white", 1) == 255 else 255},
             "fit": how | {"fit": "crop" if how.get("fit") == "squash" else "squash"}}
    if color:
        wrong["channels"] = how | {"channels": color}
    if how.get("dtype") in (np.uint8, np.int32):
        del wrong["white"]
    for what, other in {"right": how, **wrong}.items():
        differ, top = 0, set()
        for image, pixels in IMAGES.items():
            raw = raw_output(file, pixels, size, how, output, rank)
            right = oracle.probabilities(raw, entry["activation"])
            top.add(int(right.argmax()))
            found = oracle.probabilities(raw_output(file, pixels, size, other, output, rank), entry["activation"])
            differ = max(differ, np.nan_to_num(np.abs(right - found), nan=1).max())
        assert what == "right" or differ > 0.01, f"{name}: a wrong {what} changes {differ:.4f}"
        assert len(top) > 1, f"{name}: all images have the same class"
