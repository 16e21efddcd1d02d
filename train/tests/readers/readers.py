"""Shows which runtimes read the exported files and agree with PyTorch; prints Markdown tables for docs/export.md.

    cargo build --release -p ferronnx-train
    venv/bin/pip install torch==2.13.0 torchvision==0.28.0 onnx==1.23.2 onnxruntime==1.31.1 openvino==2026.4.1 \
        numpy safetensors==0.8.0
    old/bin/pip install onnxruntime==1.20.1 numpy
    venv/bin/python train/tests/readers/readers.py target/release/train RUN [--old-python old/bin/python]

RUN is a run folder of `train fit` with the default network at 32x32, whose data still lies where it was. Run by hand:
it needs Python, builds tract and rten, and takes a quarter of an hour. Every file is given a batch of four images,
then the four one by one. Ends with 1 if a file fails the checker, strict shape inference or ONNX Runtime, or if the
default file (fp32, opset 17) fails anywhere.
"""
import argparse
import functools
import importlib.util
import itertools
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
ROOT = HERE.parents[2]
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
session, batch = onnxruntime.InferenceSession(model), numpy.load(inputs)
batches = [batch, *(batch[i:i + 1] for i in range(len(batch)))]
numpy.save(outputs, numpy.concatenate([session.run(["logits"], {"input": batch})[0] for batch in batches]))
"""


def called(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"ended with {done.returncode}")
    return done.stdout


def network(run):
    """The network of the run in PyTorch."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "models/tests/goldens/reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    state = load_file(run / "best.safetensors")
    net = module.ResNet18_CBAM(state["backbone.fc.weight"].shape[0])
    net.load_state_dict(state)
    return net.eval()


def case(net, path):
    """Four images as the file takes them, and PyTorch's logits for them."""
    metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    card = json.loads(metadata["ferronnx.card"])
    # Smooth images, random bytes enlarged: calibration has seen photographs, not noise.
    small = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 3, 4, 4)).astype(np.float32))
    size = card["preprocessing"]["crop"]
    images = torch.nn.functional.interpolate(small, size=size, mode="bilinear").byte()
    mean, std = (torch.tensor(card["preprocessing"][key]).view(3, 1, 1) for key in ("mean", "std"))
    floats = (images / 255 - mean) / std
    with torch.no_grad():
        logits = net(floats).numpy()
    return (images.permute(0, 2, 3, 1).contiguous() if card["input"] == "uint8" else floats).numpy(), logits


def batches(images):
    """All images at once, then one by one."""
    return [images, *(images[i:i + 1] for i in range(len(images)))]


# Readers: a file and images to the logits of all `batches`, from one loaded model.


def current(path, images):
    session = onnxruntime.InferenceSession(path)
    return np.concatenate([session.run(["logits"], {"input": batch})[0] for batch in batches(images)])


def old(python, path, images):
    inputs, outputs = path.with_name("inputs.npy"), path.with_name("outputs.npy")
    np.save(inputs, images)
    called(python, "-c", OLD, path, inputs, outputs)
    return np.load(outputs)


def with_openvino(path, images):
    # Its CPU plugin would compute in bfloat16 where the processor can.
    model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.concatenate([model(batch)["logits"] for batch in batches(images)])


def rust(runtime, path, images):
    inputs = path.with_name("inputs.raw")
    inputs.write_bytes(images.tobytes())
    element, shape = "uint8" if images.dtype == np.uint8 else "float", ",".join(map(str, images.shape))
    answer = called("cargo", "run", "--quiet", "--release", "--locked", "--manifest-path", HERE / "Cargo.toml",
                    "--", runtime, path, inputs, element, shape)
    return np.array(json.loads(answer), np.float32).reshape(2 * len(images), -1)


def readers(old_python):
    """The runtimes by name and version."""
    # Built before it is asked anything, so that a failing build is no refusal; where git ignores it.
    os.environ.setdefault("CARGO_TARGET_DIR", str(ROOT / "target/readers"))
    subprocess.run(["cargo", "build", "--release", "--locked", "--manifest-path", HERE / "Cargo.toml"], check=True)
    locked = tomllib.loads((HERE / "Cargo.lock").read_text())["package"]
    version = {package["name"]: package["version"] for package in locked}
    found = {f"ONNX Runtime {onnxruntime.__version__}": current}
    if old_python:
        number = called(old_python, "-c", "import onnxruntime; print(onnxruntime.__version__)").strip()
        found[f"ONNX Runtime {number}"] = functools.partial(old, old_python)
    return found | {f"OpenVINO {openvino.__version__.split('-')[0]}": with_openvino,
                    f"tract {version['tract-onnx']}": functools.partial(rust, "tract"),
                    f"rten {version['rten']}": functools.partial(rust, "rten")}


def checker(path, *_):
    onnx.checker.check_model(path, full_check=True)
    return "passes", True


def strict_inference(path, *_):
    model = onnx.shape_inference.infer_shapes(onnx.load(path), check_type=True, strict_mode=True, data_prop=True)
    # Even the strict mode passes over operators that it does not know.
    shaped = {value.name for value in [*model.graph.value_info, *model.graph.output]
              if value.type.tensor_type.HasField("shape")}
    unknown = [node.name for node in model.graph.node if not shaped.issuperset(node.output)]
    assert not unknown, f"no shape from {unknown[0]}"
    return "passes", True


def agreement(read, path, net, tolerance):
    """The largest difference to PyTorch, relative to the largest logit, and how many images have another class."""
    images, logits = case(net, path)
    expected, found = np.concatenate([logits, logits]), read(path, images)
    largest = np.abs(expected).max()
    relative = np.abs(found - expected).max() / largest
    top, others = found.argmax(1), (found.argmax(1) != expected.argmax(1)).sum()
    # Another class is allowed where the two are closer together in PyTorch than the tolerance, as in `train export`.
    gap = (expected.max(1) - expected[range(len(top)), top]).max() / largest
    good = bool(relative <= tolerance and gap <= tolerance)
    return f"{'' if good else 'DIFFERS: '}{relative:.0e}" + f", {others} of 8 another class" * bool(others), good


def attempt(what, action, *arguments):
    """What the tables say, and whether it is good."""
    try:
        text, good = action(*arguments)
    except Exception as error:  # whatever goes wrong belongs in the table; the whole text is for stderr
        print(error, file=sys.stderr)
        reason = str(error).strip().splitlines()[-1][-100:].replace("|", "\\|")  # causes come last
        text, good = f"refuses: {reason}", False
    print(f"{what}: {text}", file=sys.stderr)
    return text, good


def markdown(*rows):
    print("\n".join(f"| {' | '.join(row)} |" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]]), end="\n\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=pathlib.Path, help="the binary")
    parser.add_argument("run", type=pathlib.Path, help="a run folder")
    parser.add_argument("--old-python", help="a Python with ONNX Runtime 1.20.1")
    options = parser.parse_args()
    net, runtimes = network(options.run), readers(options.old_python)
    checks = {"checker": checker, "strict inference": strict_inference}
    strict = [name for name in runtimes if name.startswith("ONNX Runtime")]

    answers, failed = {}, []
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.onnx"
        for opset, (form, (flags, tolerance)) in itertools.product(OPSETS, FORMS.items()):
            called(options.train.resolve(), "export", options.run, "-o", path, "--opset", opset, *flags)
            actions = checks | {name: functools.partial(agreement, read) for name, read in runtimes.items()
                                if opset == DEFAULT_OPSET or read is current or name in strict and opset in OLD_OPSETS}
            for name, action in actions.items():
                what = f"{form}, opset {opset}, {name}"
                answers[opset, form, name], good = attempt(what, action, path, net, tolerance)
                must = name in checks or name in strict or (opset, form) == (DEFAULT_OPSET, "fp32")
                failed += [what] * (must and not good)

    def row(opset):
        """One answer for all forms where they are the same; then the versions of ONNX Runtime side by side."""
        of_checks = (" / ".join(dict.fromkeys(answers[opset, form, name] for form in FORMS)) for name in checks)
        of_forms = (" / ".join(answers.get((opset, form, name), "-") for name in strict) for form in FORMS)
        return [str(opset), *of_checks, *of_forms]

    print(f"Under {' / '.join(strict)}:\n")
    markdown(["opset", *checks, *FORMS], *map(row, OPSETS))
    markdown(["runtime", *FORMS],
             *([name, *(answers[DEFAULT_OPSET, form, name] for form in FORMS)] for name in runtimes))
    if failed:
        sys.exit("failed: " + "; ".join(failed))


if __name__ == "__main__":
    main()
