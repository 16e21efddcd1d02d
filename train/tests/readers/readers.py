"""Shows which runtimes read the exported files and agree with PyTorch; prints Markdown tables for docs/export.md.

    cargo build --release -p train
    venv/bin/pip install torch==2.13.0 torchvision==0.28.0 onnx==1.23.2 onnxruntime==1.31.1 openvino==2026.4.1 \
        numpy safetensors==0.8.0
    old/bin/pip install onnxruntime==1.20.1 numpy
    venv/bin/python readers.py ../../../target/release/train RUN old/bin/python

RUN is a run folder of `train fit` at 32x32 with the default network. Run by hand: it needs Python, two versions of ONNX
Runtime, and builds tract and rten. Ends with 1 if a file fails the checker, shape inference or ONNX Runtime, or if the
default file fails anywhere.
"""
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import tomllib

import numpy as np
import onnx
import onnxruntime
import openvino
import torch
from safetensors.torch import load_file

HERE = pathlib.Path(__file__).resolve().parent
OPSETS = range(17, 24)
DEFAULT_OPSET = 17
OLD_OPSETS = range(17, 22)  # what ONNX Runtime 1.20.1 knows
FORMS = {  # flags, and the difference allowed of the largest logit, as `train export` allows it
    "fp32": ([], 1e-4),
    "no fold": (["--no-fold"], 1e-4),
    "bytes, attention": (["--input", "uint8", "--attention-outputs"], 1e-4),
    "fp16": (["--precision", "fp16"], 1e-2),
    "int8": (["--precision", "int8"], 0.1),
}
OLD = """
import sys, numpy, onnxruntime
model, inputs, outputs = sys.argv[1:]
session = onnxruntime.InferenceSession(model)
numpy.save(outputs, session.run(["logits"], {"input": numpy.load(inputs)})[0])
"""


def reference(run):
    """The network of the run in PyTorch, four pictures as bytes and as the network's input, and its logits."""
    path = HERE.parents[2] / "models/tests/goldens/reference.py"
    spec = importlib.util.spec_from_file_location("reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    state = load_file(run / "best.safetensors")
    net = module.ResNet18_CBAM(state["backbone.fc.weight"].shape[0])
    net.load_state_dict(state, strict=False)
    preprocessing = tomllib.loads((run / "config.toml").read_text())["preprocessing"]
    # Smooth pictures: calibration has seen photographs, not noise.
    small = np.random.default_rng(0).integers(0, 256, (4, 3, 4, 4)).astype(np.float32)
    pictures = torch.nn.functional.interpolate(torch.from_numpy(small), size=32, mode="bilinear").byte()
    mean, std = (torch.tensor(preprocessing[key]).view(3, 1, 1) for key in ("mean", "std"))
    floats = (pictures / 255 - mean) / std
    with torch.no_grad():
        logits = net.eval()(floats).numpy()
    return pictures.permute(0, 2, 3, 1).contiguous().numpy(), floats.numpy(), logits


def checked(path):
    """onnx's own word on the file."""
    onnx.checker.check_model(path, full_check=True)
    onnx.shape_inference.infer_shapes(onnx.load(path), check_type=True, strict_mode=True, data_prop=True)


def current(path, batch):
    return onnxruntime.InferenceSession(path).run(["logits"], {"input": batch})[0]


def old(python):
    def run(path, batch):
        with tempfile.TemporaryDirectory() as folder:
            inputs, outputs = (pathlib.Path(folder) / name for name in ("inputs.npy", "outputs.npy"))
            np.save(inputs, batch)
            called([python, "-c", OLD, path, inputs, outputs])
            return np.load(outputs)
    return run


def with_openvino(path, batch):
    # Its CPU plugin would compute in bfloat16 where the processor can.
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled(batch)[compiled.output("logits")]


def rust(runtime):
    def run(path, batch):
        with tempfile.NamedTemporaryFile() as file:
            file.write(batch.tobytes())
            file.flush()
            kind = "uint8" if batch.dtype == np.uint8 else "float"
            shape = ",".join(map(str, batch.shape))
            answer = json.loads(called(["cargo", "run", "--quiet", "--release", "--manifest-path", HERE / "Cargo.toml",
                                        "--", runtime, path, file.name, kind, shape]))
        both = (np.array(answer[how], np.float32).reshape(len(batch), -1) for how in ("batch", "single"))
        whole, single = both
        assert np.allclose(whole, single, rtol=1e-4, atol=1e-4), "a batch is not what its pictures are"
        return whole
    return run


def called(command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=os.environ)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return done.stdout


def verdict(read, path, tolerance, batch, expected):
    """What a cell of the tables says, and whether it is good."""
    try:
        logits = read(path, batch)
    except Exception as error:  # whatever a runtime has against a file belongs into the table
        print(f"{path.name}: {error}", file=sys.stderr)
        return "refuses", False
    relative = np.abs(logits - expected).max() / np.abs(expected).max()
    good = relative <= tolerance and (tolerance > 1e-2 or (logits.argmax(1) == expected.argmax(1)).all())
    return f"{relative:.0e}" if good else f"DIFFERS: {relative:.0e}", bool(good)


def main():
    train, run, old_python = sys.argv[1:]
    train, run = pathlib.Path(train).resolve(), pathlib.Path(run).resolve()
    pictures, floats, expected = reference(run)
    readers = {f"ONNX Runtime {onnxruntime.__version__}": current, "ONNX Runtime 1.20.1": old(old_python),
               f"OpenVINO {openvino.__version__.split('-')[0]}": with_openvino,
               "tract 0.23.9": rust("tract"), "rten 0.27.0": rust("rten")}
    failed = []
    table = {form: [] for form in FORMS}
    with tempfile.TemporaryDirectory() as folder:
        print(f"| opset | {' | '.join(FORMS)} |\n|---|{'---|' * len(FORMS)}")
        for opset in OPSETS:
            cells = []
            for form, (flags, tolerance) in FORMS.items():
                path = pathlib.Path(folder) / f"{form} {opset}.onnx"
                called([train, "export", run, "-o", path, "--opset", opset, *flags])
                batch = pictures if "--input" in flags else floats
                checked(path)
                answers = []
                for name, read in readers.items():
                    first = name.startswith("ONNX Runtime")
                    if opset == DEFAULT_OPSET or first and (read is current or opset in OLD_OPSETS):
                        answer, good = verdict(read, path, tolerance, batch, expected)
                        if opset == DEFAULT_OPSET:
                            table[form].append(answer)
                        if first:
                            answers.append(answer)
                        if not good and (first or form == "fp32"):
                            failed.append(f"{path.name} in {name}")
                cells.append(" / ".join(answers))
            print(f"| {opset} | {' | '.join(cells)} |", flush=True)
    print(f"\n| form | {' | '.join(readers)} |\n|---|{'---|' * len(readers)}")
    for form, cells in table.items():
        print(f"| {form} | {' | '.join(cells)} |")
    if failed:
        sys.exit("failed: " + ", ".join(failed))


if __name__ == "__main__":
    main()
