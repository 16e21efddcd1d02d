"""Writes files.tar.gz, small models as other tools write them, images, and the right answers: `python generate.py`.

    pip install onnx==1.23.2 onnxruntime==1.31.1 numpy==2.4.6 pillow==13.0.0 scikit-learn==1.9.1 skl2onnx==1.20.0

`answers.json` has `images`, and `cases` by name:

- `file`, and `flags` that have to be given to `infer` (a file says all the rest);
- `values`: what the output is (logits, probabilities, log-probabilities, scores, unknown);
- `activation`: what has to be applied to it (softmax, sigmoid, none); `multi_label` with `threshold`; `classes`;
- `expect`: `run`; `refuse` (a message, no answers); `flags` (refused without a flag that is in `flags`, right with
  all); `either` (refused by name, or these answers);
- `why`: what a reader would get wrong;
- `answers`: for each image, `top` and the `probabilities` in the order of `classes`. The probabilities of one score p
  are 1 - p and p.

ONNX Runtime computes the outputs, Pillow and NumPy (`oracle.py`) everything before and after. The script fails if a
wrong channel order, scale or geometry would give nearly the same answers.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import onnxruntime

import interfaces
import outputs
import trees
from cases import CASES, FILES, HERE, IMAGES, case
from networks import CLASSES

FOLDER = pathlib.Path(__file__).parent
sys.path.append(str(FOLDER / "../../../models/tests"))
from packing import pack  # noqa: E402


def runtime_format():
    """ONNX Runtime's own format, which is no protobuf: its graph cannot be read."""
    for name, values in {"logits": "logits", "softmax": "probabilities", "sigmoid": "scores"}.items():
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / f"{name}.onnx").write_bytes(FILES[f"{name}.onnx"])
            subprocess.run([sys.executable, "-m", "onnxruntime.tools.convert_onnx_models_to_ort", folder,
                            "--optimization_style", "Fixed"], check=True, capture_output=True)
            data = (pathlib.Path(folder) / f"{name}.ort").read_bytes()
        case(f"{name}_ort", data, file=f"{name}.ort", values=values, why="known from what it gives only")


def main():
    onnxruntime.set_default_logger_severity(3)
    for name, image in IMAGES.items():
        image.save(HERE / name)
    for name, labels in {"five.json": CLASSES, "two.json": ["no", "yes"]}.items():
        (HERE / name).write_text(json.dumps(labels) + "\n")
    outputs.outputs_of_classifiers()
    interfaces.interfaces()
    interfaces.metadata()
    runtime_format()
    trees.pipelines()
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(entry)}" for name, entry in CASES.items())
    text = f'{{"images": {json.dumps(list(IMAGES))}, "cases": {{\n{lines}\n}}}}\n'
    (HERE / "answers.json").write_text(text)
    size = sum(file.stat().st_size for file in HERE.iterdir() if file.suffix in (".onnx", ".ort"))
    pack(HERE, FOLDER / "files.tar.gz")
    print(f"{len(CASES)} cases, {len(FILES)} models, {size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
