"""Reading and writing again leaves a model the message that it was, for files of other programs:
`python compare.py REWRITE FILE|FOLDER...`, where REWRITE is the built example `rewrite`.

Without files it takes all models, the light ones among them, that come with the `onnx` package. A file that is no model, or
one with nothing but inputs in a folder of test data, is left out.
"""
import subprocess
import sys
import tempfile
from pathlib import Path

import onnx


def models(places):
    for place in places:
        yield from sorted(place.rglob("*.onnx")) if place.is_dir() else [place]


def main(rewrite, *places):
    package = Path(onnx.__file__).parent / "backend/test/data"
    places = [Path(place) for place in places] or [package]
    same, different = 0, []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.onnx"
        for path in models(places):
            done = subprocess.run([rewrite, path, out], capture_output=True, text=True)
            before = onnx.load(path, load_external_data=False)
            if done.returncode != 0:
                different.append(f"{path}: {done.stderr.strip()}")
            elif onnx.load(out, load_external_data=False) != before:
                different.append(f"{path}: another message")
            else:
                same += 1
    print(f"{same} the same, {len(different)} not", *different, sep="\n")
    sys.exit(bool(different or not same))


if __name__ == "__main__":
    main(*sys.argv[1:])
