"""Measures PyTorch's training steps on a GPU, and makes the table of benches/gpu/training.sh.

    python benches/peers/training_gpu.py measure DATA [--batch 64] [--amp] [--loop] [--steps 100] [--device cuda]
    python benches/peers/training_gpu.py table FILE

`measure` prints a JSON object for each way to train models/tests/goldens/reference.py with fused Adam: eager, eager in
channels_last, and both with the whole step captured in a CUDA graph. Their batches are gathered on the device, without
augmentation. It also adds up the times of an eager step's kernels by PyTorch's profiler. --loop adds the usual loop: a
DataLoader with as many workers as there are cores (at most 16), whose torchvision transforms augment Pillow's images as the
three-phase recipe does. --amp is bf16. Convolutions use TF32, PyTorch's default. Needs torch, torchvision and Pillow.

`table` reads such lines, and those that the program `training` prints, and writes Markdown.
"""

import argparse
import json
import os
import statistics
import sys
import time
import traceback
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

WARM_UP = 12
ROUNDS = 3
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def decoded(path):
    from PIL import Image

    return Image.open(path).convert("RGB").resize((32, 32))


def files(folder, count):
    """Image files with labels: `count`, evenly over all."""
    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    found = [(path, label) for label, name in enumerate(classes) for path in sorted(name.iterdir())]
    return [found[index * len(found) // count] for index in range(count)]


def dataset(folder, count):
    """Decoded images in memory, augmented by torchvision in the workers."""
    from torch.utils.data import Dataset
    from torchvision import transforms

    chosen = files(folder, count)
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(decoded, (path for path, _ in chosen)))
    labels = [label for _, label in chosen]
    transform = transforms.Compose([
        transforms.RandomCrop(32, padding=4),
        transforms.RandomHorizontalFlip(),
        transforms.ColorJitter(0.2, 0.2, 0.2, 0.1),
        transforms.RandomRotation(15),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ])

    class Images(Dataset):
        def __len__(self):
            return len(images)

        def __getitem__(self, index):
            return transform(images[index]), labels[index]

    return Images()


class Training:
    """Network, optimizer and a set of images on the device."""

    def __init__(self, torch, args, channels_last, capturable):
        sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "models/tests/goldens"))
        import reference

        torch.manual_seed(1)
        self.torch, self.args = torch, args
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.model = reference.ResNet18_CBAM(num_classes=10).to(args.device, memory_format=self.format).train()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4, fused=True, capturable=capturable)
        count = 4 * args.batch
        self.images = torch.randn(count, 3, 32, 32, device=args.device)
        self.labels = torch.randint(10, (count,), device=args.device)
        self.order = torch.randperm(count, device=args.device)

    def batch(self, step):
        chosen = self.order[step % 4 * self.args.batch:][: self.args.batch]
        return self.images[chosen].contiguous(memory_format=self.format), self.labels[chosen]

    def step(self, images, labels):
        torch = self.torch
        with torch.autocast(self.args.device.split(":")[0], torch.bfloat16, enabled=self.args.amp):
            logits = self.model(images)
        loss = torch.nn.functional.cross_entropy(logits.float(), labels)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def eager(self):
        def run(step):
            self.optimizer.zero_grad(set_to_none=True)
            return self.step(*self.batch(step))

        return run

    def captured(self):
        """Captures the step; each call copies a batch to the captured one and replays."""
        torch = self.torch
        images, labels = self.batch(0)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(5):
                self.optimizer.zero_grad(set_to_none=True)
                self.step(images, labels)
        torch.cuda.current_stream().wait_stream(side)
        self.optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = self.step(images, labels)

        def run(step):
            new_images, new_labels = self.batch(step)
            images.copy_(new_images)
            labels.copy_(new_labels)
            graph.replay()
            return loss

        return run


def synchronise(torch, args):
    if args.device != "cpu":
        torch.cuda.synchronize()


def milliseconds(torch, args, run):
    """Milliseconds of a step, the median of some rounds of steps; the device is waited for at their ends only."""
    for step in range(WARM_UP):
        run(step)
    rounds = []
    for _ in range(ROUNDS):
        synchronise(torch, args)
        started = time.perf_counter()
        for step in range(args.steps):
            loss = run(step)
        synchronise(torch, args)
        rounds.append(1e3 * (time.perf_counter() - started) / args.steps)
    if not torch.isfinite(loss):
        raise SystemExit(f"the loss is {loss.item()}")
    return statistics.median(rounds)


def kernels(torch, args, run, steps=10):
    """Sum of the kernel times of a step in milliseconds, and the longest kernels."""
    from torch.profiler import ProfilerActivity, profile

    for step in range(WARM_UP):
        run(step)
    synchronise(torch, args)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        for step in range(steps):
            run(step)
        synchronise(torch, args)
    times, counts = defaultdict(float), defaultdict(int)
    for event in profiler.events():
        # Annotations such as the optimizer's span kernels that are listed too.
        annotation = getattr(event, "is_user_annotation", False) or event.name.startswith("Optimizer.")
        if event.device_type == torch.autograd.DeviceType.CUDA and not annotation:
            times[event.name] += event.time_range.elapsed_us() / 1e3 / steps
            counts[event.name] += 1
    longest = sorted(times, key=times.get, reverse=True)[:12]
    return {
        "kernel_ms": sum(times.values()),
        "kernels": sum(counts.values()) / steps,
        "longest": {name[:90]: round(times[name], 4) for name in longest},
    }


def loop(torch, args):
    """Images per second of the usual loop with workers, its first steps left out."""
    from torch.utils.data import DataLoader

    training = Training(torch, args, channels_last=False, capturable=False)
    workers = min(16, os.cpu_count())
    data = dataset(args.data, (args.steps + WARM_UP) * args.batch)
    loader = DataLoader(data, args.batch, shuffle=True, num_workers=workers, drop_last=True, pin_memory=args.device != "cpu")
    total = torch.zeros((), device=args.device)
    for step, (images, labels) in enumerate(loader):
        if step == WARM_UP:
            synchronise(torch, args)
            started = time.perf_counter()
        training.optimizer.zero_grad(set_to_none=True)
        total += training.step(images.to(args.device, non_blocking=True), labels.to(args.device, non_blocking=True))
    synchronise(torch, args)
    seconds = time.perf_counter() - started
    return {"ms": 1e3 * seconds / args.steps, "workers": workers}


def measure(args):
    import torch

    torch.backends.cudnn.benchmark = True
    about = {"side": "PyTorch " + torch.__version__, "batch": args.batch, "amp": "bf16" if args.amp else "fp32"}

    def report(form, augment, found):
        found = {"images_per_second": 1e3 * args.batch / found["ms"]} | found if "ms" in found else found
        print(json.dumps(about | {"form": form, "augment": augment} | found), flush=True)

    def attempt(form, work, augment=False):
        try:
            report(form, augment, work())
        except Exception as error:  # one form must not stop the others
            traceback.print_exc()
            report(form, augment, {"error": str(error).splitlines()[0]})

    def timed(channels_last, capture):
        training = Training(torch, args, channels_last, capturable=capture)
        return {"ms": milliseconds(torch, args, training.captured() if capture else training.eager())}

    cuda = args.device != "cpu"
    for form, channels_last in [("", False), (", channels_last", True)]:
        attempt("eager" + form, lambda: timed(channels_last, False))
        if cuda:
            attempt("captured" + form, lambda: timed(channels_last, True))
            attempt("kernels" + form, lambda: kernels(torch, args, Training(torch, args, channels_last, False).eager()))
    if args.loop:
        attempt("loop with workers", lambda: loop(torch, args), augment=True)


def table(lines):
    """Markdown of all lines: a table for each batch size and precision, with ratios to what the goals name."""
    groups = defaultdict(list)
    for line in lines:
        groups[line["batch"], line["amp"]].append(line)
    for (batch, amp), rows in sorted(groups.items(), key=lambda item: (item[0][0], item[0][1] != "fp32")):
        least = lambda start: min(
            (row["ms"] for row in rows if row["side"] != "ours" and row["form"].startswith(start) and "ms" in row),
            default=None)
        sums = [row["kernel_ms"] for row in rows if "kernel_ms" in row]
        bases = {"kernels": min(sums, default=None), "eager": least("eager"), "captured": least("captured"), "loop": least("loop")}
        print(f"\nBatch {batch}, {amp}\n")
        print("| side | form | augmentation | ms a step | images/s | of the kernels | of PyTorch's captured step "
              "| times PyTorch eager | times the loop |\n|---|---|---|---|---|---|---|---|---|")
        for row in rows:
            start = f"| {row['side']} | {row['form']} | {'yes' if row['augment'] else 'no'} |"
            if "error" in row:
                print(f"{start} failed: {row['error']} | | | | | |")
                continue
            ms = row.get("ms", row.get("kernel_ms"))
            less = [f"{ms / bases[name]:.2f}" if bases[name] else "" for name in ("kernels", "captured")]
            more = [f"{bases[name] / ms:.2f}" if bases[name] else "" for name in ("eager", "loop")]
            print(f"{start} {ms:.3f} | {1e3 * batch / ms:.0f} | {' | '.join(less + more)} |")
        for row in rows:
            if "unrecorded" in row:
                print(f"\n{row['form']}: no graph was recorded, because: {row['unrecorded']}")
            if "longest" in row:
                longest = ", ".join(f"{ms:.3f} `{name}`" for name, ms in row["longest"].items())
                print(f"\n{row['form']}: {row['kernels']:.0f} kernels a step; the longest in ms: {longest}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measured = commands.add_parser("measure")
    measured.add_argument("data", type=Path)
    measured.add_argument("--batch", type=int, nargs="+", default=[64])
    measured.add_argument("--amp", nargs="+", default=["fp32"], choices=["fp32", "bf16"])
    measured.add_argument("--loop", action="store_true")
    measured.add_argument("--steps", type=int, default=100)
    measured.add_argument("--device", default="cuda")
    commands.add_parser("table").add_argument("file", type=Path)
    args = parser.parse_args()
    if args.command == "table":
        lines = args.file.read_text().splitlines()
        return table([json.loads(line) for line in lines if line.startswith("{")])
    args.data = args.data / "train" if (args.data / "train").is_dir() else args.data
    for batch in args.batch:
        for amp in args.amp:
            # Its loop with workers is for small batches: workers are its limit.
            measure(argparse.Namespace(**vars(args) | {"batch": batch, "amp": amp == "bf16", "loop": args.loop and batch <= 64}))


if __name__ == "__main__":
    main()
