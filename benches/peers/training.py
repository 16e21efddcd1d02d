"""Compares training on the CPU with PyTorch. Both sides take turns in one run.

    python benches/peers/training.py DATA [--threads 2] [--steps 10] [--rounds 3]

DATA is a folder of class folders with images of 32x32. Needs torch and torchvision. Build our side first with
`cargo build --release -p benches --bin training`. The PyTorch side is models/tests/goldens/reference.py in a usual loop:
Adam, a DataLoader with two workers, torchvision's transforms. The optimizers alone are PyTorch's fused ones, SGD with
Nesterov momentum and weight decay without biases and norms. Batch size and threads are the same on both sides.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
import torchvision
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "models/tests/goldens"))
import reference  # noqa: E402

BATCH = 64
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


class Images(Dataset):
    """Decoded images in memory, as in torchvision's CIFAR10."""

    def __init__(self, folder, count):
        found = torchvision.datasets.ImageFolder(folder)
        chosen = torch.randperm(len(found), generator=torch.Generator().manual_seed(1))[:count]
        self.items = [found[index] for index in chosen]
        self.transform = transforms.Compose([
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(0.2, 0.2, 0.2, 0.1),
            transforms.RandomRotation(15),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ])

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        image, label = self.items[index]
        return self.transform(image), label


def step(model, optimizer, images, labels):
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    return loss


def theirs(data, steps):
    torch.manual_seed(1)
    model = reference.ResNet18_CBAM(num_classes=10)
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    images, labels = torch.randn(BATCH, 3, 32, 32), torch.randint(10, (BATCH,))
    times = []
    for index in range(steps + 2):
        started = time.perf_counter()
        step(model, optimizer, images, labels)
        if index >= 2:
            times.append((time.perf_counter() - started) * 1e3)
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 5e-4}, {"params": others, "weight_decay": 0.0}]
    alone = {
        "adam_ms": torch.optim.Adam(model.parameters(), lr=1e-6, fused=True),
        "sgd_ms": torch.optim.SGD(groups, lr=1e-6, momentum=0.9, nesterov=True, fused=True),
    }
    alone = {name: optimizer_times(optimizer) for name, optimizer in alone.items()}
    loader = DataLoader(Images(data, steps * BATCH), BATCH, shuffle=True, num_workers=2, drop_last=False)
    started, total = time.perf_counter(), 0.0
    for images, labels in loader:
        total += step(model, optimizer, images, labels).item()
    seconds = time.perf_counter() - started
    return alone | {"step_ms": times, "images_per_second": len(loader.dataset) / seconds}


def optimizer_times(optimizer, steps=100):
    times = []
    for _ in range(steps):
        started = time.perf_counter()
        optimizer.step()
        times.append((time.perf_counter() - started) * 1e3)
    return times


def ours(data, steps, threads):
    command = [ROOT / "target/release/training", data, str(threads), str(steps)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    data = Path(arguments.data)
    data = data / "train" if (data / "train").is_dir() else data
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}, {arguments.threads} threads, batch {BATCH}")
    sides = {"PyTorch": [], "ours": []}
    for number in range(arguments.rounds):
        sides["PyTorch"].append(theirs(data, arguments.steps))
        sides["ours"].append(ours(data, arguments.steps, arguments.threads))
        for name, rounds in sides.items():
            last = rounds[-1]
            print(f"round {number + 1}  {name:8} step {statistics.median(last['step_ms']):7.1f} ms  "
                  f"epoch {last['images_per_second']:6.1f} images/s", flush=True)
    steps = {name: statistics.median(time for last in rounds for time in last["step_ms"]) for name, rounds in sides.items()}
    for kind in ["adam_ms", "sgd_ms"]:
        alone = {name: statistics.median(time for last in rounds for time in last[kind]) for name, rounds in sides.items()}
        print(f"{kind[:-3]:6} {alone['ours']:.2f} ms to {alone['PyTorch']:.2f} ms: {alone['ours'] / alone['PyTorch']:.3f} of PyTorch's time")
    rates = {name: statistics.median(last["images_per_second"] for last in rounds) for name, rounds in sides.items()}
    print(f"step   {steps['ours']:.1f} ms to {steps['PyTorch']:.1f} ms: {steps['ours'] / steps['PyTorch']:.3f} of PyTorch's time")
    print(f"epoch  {rates['ours']:.1f} to {rates['PyTorch']:.1f} images/s: {rates['ours'] / rates['PyTorch']:.3f} times as fast")


if __name__ == "__main__":
    main()
