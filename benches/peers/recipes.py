"""Trains the network by the one-cycle recipe in PyTorch, and prints its test accuracy: the peer of `train fit`.

    python benches/peers/recipes.py DATA [--epochs 30] [--batch-size 64] [--learning-rate 0.05] [--seed 1]
                                         [--device cuda] [--amp] [--cache FOLDER]

DATA has train/CLASS and test/CLASS with images of 32x32. Needs torch and Pillow. All images are on the device, and
shifts with a reflected border, flips and cutout are drawn there for each image of a batch. SGD with Nesterov momentum,
weight decay without biases and norms, a triangular rate by step, and a moving average of the weights are those of
train/recipes/one-cycle.toml. As `train fit` does, it leaves out a tenth of the training images, and it reports the mean
loss of each epoch on stderr; the average after the last epoch is evaluated. --cache keeps the decoded images in a folder
for further runs. The output is one JSON object.
"""

import argparse
import copy
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import nn

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


class Block(nn.Module):
    """Basic block of ResNet18."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        conv = lambda i, o, k, s: nn.Conv2d(i, o, k, s, k // 2, bias=False)
        self.conv1, self.bn1 = conv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = conv(outputs, outputs, 3, 1), nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + self.shortcut(x))


class Cbam(nn.Module):
    """Channel, then spatial attention (arXiv:1807.06521)."""

    def __init__(self, channels):
        super().__init__()
        squeezed = channels // 16
        self.fc = nn.Sequential(nn.Linear(channels, squeezed, bias=False), nn.ReLU(), nn.Linear(squeezed, channels, bias=False))
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x):
        weights = torch.sigmoid(self.fc(x.mean((2, 3))) + self.fc(x.amax((2, 3))))
        x = x * weights[:, :, None, None]
        return x * torch.sigmoid(self.conv(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)))


def network(classes):
    layers = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    inputs = 64
    for outputs, stride in [(64, 1), (128, 2), (256, 2), (512, 2)]:
        layers += [Block(inputs, outputs, stride), Block(outputs, outputs, 1), Cbam(outputs)]
        inputs = outputs
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))
    for module in model.modules():
        # torchvision's initialisation of a ResNet; attention and head keep PyTorch's.
        if isinstance(module, nn.Conv2d) and module.in_channels > 2:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model


def decoded(path):
    """Bytes `[3, 32, 32]` of an image file."""
    from PIL import Image

    image = Image.open(path).convert("RGB").resize((32, 32))
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(32, 32, 3).permute(2, 0, 1)


def images(folder, cache=None):
    """Bytes `[N, 3, 32, 32]` and labels `[N]`, from the file that `cache` names if it is there."""
    if cache and cache.exists():
        return torch.load(cache)
    classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    files = [(path, label) for label, name in enumerate(classes) for path in sorted((folder / name).iterdir())]
    with ThreadPoolExecutor(8) as pool:
        pixels = torch.stack(list(pool.map(decoded, (path for path, _ in files))))
    result = pixels, torch.tensor([label for _, label in files])
    if cache:
        cache.parent.mkdir(parents=True, exist_ok=True)
        unfinished = cache.with_suffix(f".{os.getpid()}")
        torch.save(result, unfinished)
        unfinished.replace(cache)
    return result


def normalised(pixels):
    mean, std = (torch.tensor(values, device=pixels.device).view(3, 1, 1) for values in (MEAN, STD))
    return (pixels.float() / 255 - mean) / std


def augmented(pixels, padding=4, square=8):
    """Shifts, flips and erases a square of each image; all draws differ from image to image."""
    count, _, height, width = pixels.shape
    device = pixels.device
    x = torch.arange(width, device=device).expand(count, width)
    flip = torch.rand(count, 1, device=device) < 0.5
    x = torch.where(flip, width - 1 - x, x)
    shifts = torch.randint(0, 2 * padding + 1, (2, count, 1), device=device)
    columns, rows = x + shifts[0], torch.arange(height, device=device) + shifts[1]
    padded = nn.functional.pad(pixels.float(), [padding] * 4, mode="reflect")
    batch = torch.arange(count, device=device)[:, None, None]
    moved = padded.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    corner = torch.randint(0, height, (2, count, 1), device=device) - square // 2
    at = torch.arange(height, device=device)
    inside = [(at >= edge) & (at < edge + square) for edge in corner]
    erased = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return normalised(moved).masked_fill(erased, 0.0)


def evaluate(model, pixels, labels):
    model.eval()
    right, mirrored = 0, 0
    with torch.no_grad():
        for batch, truth in zip(pixels.split(1000), labels.split(1000)):
            batch = normalised(batch)
            logits = model(batch)
            right += (logits.argmax(1) == truth).sum().item()
            mirrored += ((logits + model(batch.flip(3))).argmax(1) == truth).sum().item()
    return right / len(labels), mirrored / len(labels)


def train(args, train_set, test_set):
    pixels, labels = train_set
    model = network(int(labels.max()) + 1).to(args.device, memory_format=torch.channels_last)
    average = copy.deepcopy(model)
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [dict(params=decayed, weight_decay=5e-4), dict(params=others, weight_decay=0.0)]
    optimizer = torch.optim.SGD(groups, lr=args.learning_rate, momentum=0.9, nesterov=True, fused=True)
    steps = args.epochs * -(-len(labels) // args.batch_size)
    rise = int(0.2 * steps)
    factor = lambda step: 0.2 + 0.8 * step / rise if step <= rise else (steps - step) / (steps - rise)
    step = 0
    for epoch in range(args.epochs):
        model.train()
        losses = []
        for chosen in torch.randperm(len(labels), device=args.device).split(args.batch_size):
            for group in optimizer.param_groups:
                group["lr"] = args.learning_rate * factor(step)
            batch = augmented(pixels[chosen]).to(memory_format=torch.channels_last)
            with torch.autocast(args.device.split(":")[0], torch.bfloat16, enabled=args.amp):
                logits = model(batch)
            loss = nn.functional.cross_entropy(logits.float(), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
            step += 1
            share = 1 - min(0.998, (1 + step) / (10 + step))
            with torch.no_grad():
                ours = [t for t in average.state_dict().values() if t.is_floating_point()]
                theirs = [t for t in model.state_dict().values() if t.is_floating_point()]
                torch._foreach_lerp_(ours, theirs, share)
        print(f"epoch {epoch + 1}/{args.epochs}  loss {torch.stack(losses).mean().item():.4f}", file=sys.stderr, flush=True)
    return evaluate(average, *test_set)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--amp", action="store_true", help="bf16")
    parser.add_argument("--cache", type=Path, help="folder of decoded images")
    parser.add_argument("--limit", type=int, help="use every Nth image only, so that this many remain of each part")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.backends.cudnn.benchmark = True
    caches = [args.cache and args.cache / f"{part}.pt" for part in ("train", "test")]
    sets = [images(args.data / part, cache) for part, cache in zip(("train", "test"), caches)]
    if args.limit:
        sets = [tuple(t[:: max(1, len(t) // args.limit)] for t in part) for part in sets]
    learned = torch.arange(len(sets[0][1])) % 10 != 9
    sets[0] = tuple(t[learned] for t in sets[0])
    sets = [tuple(t.to(args.device) for t in part) for part in sets]
    started = time.time()
    accuracy, mirrored = train(args, *sets)
    result = dict(torch=torch.__version__, epochs=args.epochs, seed=args.seed, seconds=round(time.time() - started, 1))
    result |= dict(train_images=len(sets[0][1]), test_images=len(sets[1][1]))
    print(json.dumps(result | dict(test_accuracy=accuracy, mirrored_test_accuracy=mirrored)))


if __name__ == "__main__":
    main()
