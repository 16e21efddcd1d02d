"""Shows `train fit` under torchrun: two ranks, killed and restarted, end with the weights of a run that was not disturbed.

    cargo build -p ferronnx-train
    python3 -m venv venv && venv/bin/pip install torch==2.13.0 pillow numpy
    venv/bin/python benches/peers/torchrun.py target/debug/train

1. whole    two ranks under `torchrun --no-python`.
2. killed   the same with `--max-restarts 3`: after the first epoch rank 1 is killed by SIGKILL, after a later one rank 0.
            torchrun has to end with 0, and all files that do not depend on time have to be those of the first run.
3. given up without restarts: one kill has to end torchrun within 60 s.
4. stopped  Ctrl-C to torchrun and its ranks, as a terminal sends it: the run is saved once, and resumes to the same files.

After each, no process may be left.
"""

import argparse
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

from PIL import Image

FILES = ["best.safetensors", "last/weights.safetensors", "last/optimizer.safetensors", "result.json", "predictions.csv"]
RECIPE = """
name = "small"
batch_size = 8

[[phase]]
name = "all"
epochs = 6
learning_rate = 1e-3
train = ["*"]
"""


def make_images(folder):
    draw = random.Random(0)
    for part, count in [("train", 40), ("test", 8)]:
        for number, name in enumerate(["blue", "green", "red"]):
            made = folder / "data" / part / name
            made.mkdir(parents=True)
            for index in range(count):
                image = Image.new("RGB", (8, 8))
                levels = [180 if channel == 2 - number else 0 for channel in range(3)]
                image.putdata([tuple(level + draw.randrange(60) for level in levels) for _ in range(64)])
                image.save(made / f"{index:03}.png")


def children(pid):
    """Processes that a process started."""
    found = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in found.read_text().split()] if found.exists() else []


def rank(process, number):
    """Rank of a torchrun, by its variable."""
    def is_it(pid):
        return f"RANK={number}".encode() in pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next(pid for pid in children(process.pid) if is_it(pid))


def is_gone(pids):
    """Waits until processes have ended."""
    until = time.time() + 30
    while any(pathlib.Path(f"/proc/{pid}").exists() for pid in pids) and time.time() < until:
        time.sleep(0.1)
    return not any(pathlib.Path(f"/proc/{pid}").exists() for pid in pids)


class Bench:
    def __init__(self, train, folder):
        self.train, self.folder = train, folder

    def start(self, out, *flags, resume=False):
        """Starts two ranks on a run."""
        torchrun = [pathlib.Path(sys.executable).parent / "torchrun", "--no-python", "--standalone", "--nproc-per-node", "2"]
        fit = ["--data", "data", "--recipe", "recipe.toml", "--image-size", "8", "--device", "cpu", "--out", out]
        command = [*torchrun, *flags, self.train, "fit", *(["--resume", out] if resume else fit)]
        with open(self.folder / f"{out}.log", "a") as log:
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            return subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True, env=environment
            )

    def wait_for_epochs(self, process, out, count):
        """Waits until a run has so many epochs; returns its ranks."""
        metrics = self.folder / out / "metrics.jsonl"
        while not metrics.exists() or len(metrics.read_text().splitlines()) < count:
            assert process.poll() is None, f"it ended: {(self.folder / f'{out}.log').read_text()}"
            time.sleep(0.02)
        return children(process.pid)

    def end(self, process, out, expected=0):
        code = process.wait(timeout=600)
        assert code == expected, f"{out} ended with {code}: {(self.folder / f'{out}.log').read_text()}"

    def check(self, out):
        whole, other = self.folder / "whole", self.folder / out
        different = [name for name in FILES if (whole / name).read_bytes() != (other / name).read_bytes()]
        assert not different, f"{out}: {different} are not those of the run that was not disturbed"

    def whole(self):
        self.end(self.start("whole"), "whole")
        return "ended"

    def killed(self):
        process = self.start("killed", "--max-restarts", "3")
        seen = []
        for epochs, number in [(1, 1), (3, 0)]:
            seen += self.wait_for_epochs(process, "killed", epochs)
            os.kill(rank(process, number), signal.SIGKILL)
            assert is_gone(seen), "ranks of the killed group go on"
        self.end(process, "killed")
        self.check("killed")
        return f"two kills, {len(FILES)} files with the same bits"

    def given_up(self):
        process = self.start("given-up")
        ranks = self.wait_for_epochs(process, "given-up", 1)
        os.kill(ranks[1], signal.SIGKILL)
        begun = time.time()
        self.end(process, "given-up", 1)
        seconds = time.time() - begun
        assert seconds < 60 and is_gone(ranks)
        return f"ended after {seconds:.1f} s"

    def stopped(self):
        process = self.start("stopped")
        ranks = self.wait_for_epochs(process, "stopped", 2)
        # torchrun starts its ranks in sessions of their own.
        for pid in [process.pid, *ranks]:
            os.kill(pid, signal.SIGINT)
        code = process.wait(timeout=120)
        assert code != 0 and is_gone(ranks)
        text = (self.folder / "stopped.log").read_text()
        assert text.count("everything is saved in stopped") == 1, text
        self.end(self.start("stopped", resume=True), "stopped")
        self.check("stopped")
        return "saved once, resumed to the same bits"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=lambda path: str(pathlib.Path(path).resolve()))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = pathlib.Path(made)
        make_images(folder)
        (folder / "recipe.toml").write_text(RECIPE)
        bench = Bench(options.train, folder)
        for name in ["whole", "killed", "given_up", "stopped"]:
            print(f"{name:10} {getattr(bench, name)()}", flush=True)


if __name__ == "__main__":
    main()
