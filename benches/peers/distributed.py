"""Compares data-parallel training on the CPU with PyTorch's DistributedDataParallel, and one process with two ranks.

    cargo build --release -p benches --bin data_parallel
    python3 -m venv venv && venv/bin/pip install torch==2.13.0 torchvision safetensors numpy
    venv/bin/python benches/peers/distributed.py [--data DIR] [--steps 20] [--rounds 6] [--profile release]

With --data, `cargo build --release -p ferronnx-train` too. The machine should be quiet, for ranks wait for each other.

1. Same losses: two ranks of ours and two of DistributedDataParallel (Gloo, 25 MB buckets) train ResNet18 + CBAM
   (models/tests/goldens/reference.py) with Adam from the same weights on the same batches of 2 x 32 images, each rank with
   the batch statistics of its own images. Losses of every step must agree within 1e-4.
2. Speed, taking turns, by the fastest step of all turns, because other work on the machine makes steps only slower, and by
   the median of the turns' ratios, with the least and the greatest: two ranks of one thread, ours and PyTorch's; one process
   of two threads on batches of 64; and ours with the gradients added after the backward pass, and not at all, which shows
   what adding costs and what is hidden.
3. With --data, a folder of class folders with images of 32x32: `train fit` with two ranks of one thread against one
   process of two threads, by the images per second in metrics.jsonl.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "models/tests/goldens"))
import reference  # noqa: E402

BATCH = 64
RATE = 1e-4
# Uncounted steps.
WARM_UP = 2


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def variables(rank, size, port):
    if size == 1:
        return {}
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    found = ranks | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return {name: str(value) for name, value in found.items()}


def together(command, size, threads):
    """Runs a command in `size` processes; returns what each wrote."""
    port = free_port()
    command = [str(part) for part in command]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    processes = [
        subprocess.Popen(command, env=environment | variables(rank, size, port), stdout=subprocess.PIPE, text=True)
        for rank in range(size)
    ]
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        sys.exit(f"{command[0]} failed")
    return outputs


def ours(program, folder, batches, size, threads, reduce="overlapped"):
    command = [program, folder / "weights.safetensors", batches, "--threads", threads]
    command += ["--learning-rate", RATE, "--reduce", reduce]
    found = [json.loads(output) for output in together(command, size, threads)]
    return summary([one["losses"] for one in found], [one["step_ms"] for one in found])


def their_rank(rank, size, threads, folder, batches, port, results):
    torch.set_num_threads(threads)
    model = reference.ResNet18_CBAM(num_classes=10)
    model.load_state_dict(load_file(folder / "weights.safetensors"), strict=False)
    model.train()
    if size > 1:
        dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=size)
        model = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)
    given = load_file(batches)
    each = given["images"].shape[1] // size
    losses, times = [], []
    for images, labels in zip(given["images"], given["labels"]):
        started = time.perf_counter()
        images, labels = (part[rank * each:(rank + 1) * each] for part in (images, labels.long()))
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        times.append((time.perf_counter() - started) * 1e3)
    results.put((losses, times))
    if size > 1:
        dist.destroy_process_group()


def theirs(folder, batches, size, threads):
    context = mp.get_context("spawn")
    results, port = context.Queue(), free_port()
    processes = [
        context.Process(target=their_rank, args=(rank, size, threads, folder, batches, port, results))
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    found = [results.get() for _ in processes]
    for process in processes:
        process.join()
    return summary(*zip(*found))


def summary(losses, times):
    """Mean loss of the ranks in each step, and milliseconds of the fastest step, after the first ones."""
    mean = [statistics.mean(step) for step in zip(*losses)]
    slowest = [max(step) for step in zip(*times)]
    return mean, min(slowest[WARM_UP:])


def make_inputs(folder, steps):
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(1)
    model = reference.ResNet18_CBAM(num_classes=10)
    state = {name: value for name, value in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "weights.safetensors")
    for name, count in [("same", steps), ("speed", WARM_UP + 8)]:
        labels = torch.randint(10, (count, BATCH), generator=generator)
        images = torch.randn(count, BATCH, 3, 32, 32, generator=generator) + labels[:, :, None, None, None] * 0.1
        save_file({"images": images, "labels": labels.float()}, folder / f"{name}.safetensors")


def fit(program, data, folder, size, threads, name):
    """Images per second of two epochs of `train fit`."""
    recipe = folder / "recipe.toml"
    phase = '[[phase]]\nname = "all"\nepochs = 2\nlearning_rate = 1e-3\ntrain = ["*"]\n'
    recipe.write_text(f'name = "speed"\nbatch_size = {BATCH // size}\n\n{phase}')
    out = folder / name
    command = [program, "fit", "--data", data, "--recipe", recipe, "--limit", 640, "--device", "cpu", "--out", out]
    together(command, size, threads)
    epochs = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return statistics.median(epoch["images_per_second"] for epoch in epochs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--profile", default="release")
    parser.add_argument("--target", type=Path, default=ROOT / "target")
    arguments = parser.parse_args()
    program = arguments.target / arguments.profile / "data_parallel"
    print(f"torch {torch.__version__}, {os.cpu_count()} cores, {BATCH} images a step of all ranks")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        make_inputs(folder, arguments.steps)
        ours_losses, _ = ours(program, folder, folder / "same.safetensors", 2, 1)
        their_losses, _ = theirs(folder, folder / "same.safetensors", 2, 1)
        off = max(abs(a - b) for a, b in zip(ours_losses, their_losses))
        span = f"{ours_losses[0]:.4f} to {ours_losses[-1]:.4f}"
        print(f"losses of {arguments.steps} steps: {span}, at most {off:.1e} from DistributedDataParallel's")
        speed = folder / "speed.safetensors"
        ways = {
            "ours, one process of two threads": lambda: ours(program, folder, speed, 1, 2),
            "ours, two ranks": lambda: ours(program, folder, speed, 2, 1),
            "ours, two ranks, added after the backward pass": lambda: ours(program, folder, speed, 2, 1, "after"),
            "ours, two ranks, not added": lambda: ours(program, folder, speed, 2, 1, "never"),
            "DistributedDataParallel, two ranks": lambda: theirs(folder, speed, 2, 1),
        }
        rounds = []
        for number in range(arguments.rounds):
            # Every other turn in the opposite order.
            order = list(ways) if number % 2 == 0 else list(reversed(ways))
            rounds.append({name: ways[name]()[1] for name in order})
        fastest = {name: min(times[name] for times in rounds) for name in ways}
        base = "ours, two ranks"
        for name in ways:
            ratios = sorted(times[name] / times[base] for times in rounds)
            print(
                f"{name:48} {fastest[name]:8.1f} ms a step; two ranks are {fastest[name] / fastest[base]:.3f} times as fast; "
                f"in turns {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})",
                flush=True,
            )
        if arguments.data:
            train = arguments.target / arguments.profile / "train"
            ratios = []
            for number in range(arguments.rounds):
                one = fit(train, arguments.data, folder, 1, 2, f"one-{number}")
                two = fit(train, arguments.data, folder, 2, 1, f"two-{number}")
                ratios.append(two / one)
                print(f"train fit, round {number + 1}: {two:.1f} images/s by two ranks, {one:.1f} by one process", flush=True)
            ratio = statistics.median(ratios)
            print(f"train fit: two ranks are {ratio:.3f} times as fast as one process of two threads")
        if off > 1e-4:
            sys.exit("the losses differ")


if __name__ == "__main__":
    main()
