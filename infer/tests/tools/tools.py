"""Compares `infer` with other tools on the models that they write; prints a Markdown table for docs/other-tools.md.

    cargo build --release -p ferronnx-infer
    venv/bin/pip install torch==2.15.0 torchvision==0.29.2 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.31.1 \
        ultralytics==8.4.190 timm==1.0.31 transformers==5.24.0 keras==3.15.1 scikit-learn==1.9.1 skl2onnx==1.20.0 \
        onnxconverter-common==1.16.0 onnxslim==0.1.98 numpy==2.4.6 pillow==13.0.0
    venv/bin/python infer/tests/tools/tools.py target/release/infer [--only NAME] [--keep DIR]

Run by hand: it needs Python, and a quarter of an hour to train a small network with each tool. No weights are
downloaded. For each model, 100 images of 200 to 1,500 pixels, none square, as PNG and as JPEG: the most probable class
has to be the tool's own for all, and no probability further away than 1e-3 (PNG) or 5e-3 (JPEG). Before that, the
tool's mean top-1 probability has to be above 0.6, and at least five classes have to occur. Ends with 1 otherwise.
"""
import argparse
import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

os.environ |= {"KERAS_BACKEND": "torch", "YOLO_OFFLINE": "true", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

import numpy as np  # noqa: E402
import torch  # noqa: E402

import converters  # noqa: E402
import makers  # noqa: E402
import scenes  # noqa: E402

TOLERANCES = {"PNG": 1e-3, "JPEG": 5e-3}
CLASSES = scenes.CLASSES
TOOLS = {  # by package
    "ultralytics": makers.ultralytics, "timm": makers.timm, "transformers": makers.transformers, "keras": makers.keras,
    "skl2onnx": makers.sklearn, "onnxruntime": converters.quantizer, "onnxconverter-common": converters.halves,
}


def predicted(infer, made, files):
    """`[images, classes]` probabilities by `infer`, with the classes' names checked."""
    command = [infer, "classify", "--format", "json", "--top-k", len(CLASSES), "--model", made.file, *made.flags]
    done = subprocess.run([str(part) for part in [*command, *files]], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"ended with {done.returncode}")
    results = json.loads(done.stdout)
    values = np.full((len(files), len(CLASSES)), np.nan)
    for row, result in zip(values, results, strict=True):
        for prediction in result["predictions"]:
            if prediction["label"] != CLASSES[prediction["index"]]:
                raise RuntimeError(f"class {prediction['index']} is called {prediction['label']}")
            row[prediction["index"]] = prediction["probability"]
    return values


def compared(found, own, tolerance):
    """What the table says, and whether it is good."""
    same, differ = int((found.argmax(1) == own.argmax(1)).sum()), np.abs(found - own).max()
    return f"{same}, {differ:.0e}", bool(same == len(own) and differ <= tolerance)


def row(infer, tool, made, files):
    """A row of the table, and whether it is good."""
    columns, good = [], True
    for kind, paths in files.items():
        own = np.array([made.predict(path) for path in paths])
        if kind == "PNG":
            sure, classes = own.max(1).mean(), len(set(own.argmax(1)))
            columns.append(f"{sure:.2f}, {classes}")
            good &= bool(sure > 0.6 and classes >= 5)
        try:
            text, right = compared(predicted(infer, made, paths), own, made.tolerance * TOLERANCES[kind])
        except Exception as error:  # whatever goes wrong belongs in the table; the whole text is for stderr
            print(error, file=sys.stderr)
            right = bool(made.refusal and made.refusal in str(error))
            text = f"refused: {made.refusal}" if right else f"fails: {str(error).splitlines()[0][:90]}"
        columns.append(("" if right else "DIFFERS: ") + text)
        good &= right
    flags = " ".join(part.name if isinstance(part, pathlib.Path) else part for part in made.flags)
    cells = [f"{tool} {importlib.metadata.version(tool)}", made.name, f"`{flags}`" if flags else "none", *columns]
    return cells, good


def markdown(rows):
    head = ["tool", "model", "flags", "mean top-1, classes", "PNG: same class, largest difference", "JPEG"]
    print("\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("infer", type=pathlib.Path, help="the program")
    parser.add_argument("--only", action="append", choices=TOOLS, help="only this tool")
    parser.add_argument("--keep", type=pathlib.Path, help="an empty folder for models and images")
    options = parser.parse_args()
    torch.set_num_threads(1)
    infer = options.infer.resolve()
    rows, failed = [], []
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.keep or pathlib.Path(temporary)).resolve()
        (folder / "images").mkdir(parents=True, exist_ok=True)
        files = scenes.test_files(folder / "images")
        for tool in options.only or TOOLS:
            start = time.monotonic()
            here = folder / tool
            here.mkdir(exist_ok=True)
            for made in TOOLS[tool](here):
                cells, good = row(infer, tool, made, files)
                print(f"{' | '.join(cells)} ({time.monotonic() - start:.0f} s)", file=sys.stderr)
                rows.append(cells)
                failed += [f"{tool} {made.name}"] * (not good)
    markdown(rows)
    if failed:
        sys.exit("failed: " + "; ".join(failed))


if __name__ == "__main__":
    main()
