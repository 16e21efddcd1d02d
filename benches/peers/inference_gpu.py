"""Measures PyTorch's passes on a GPU, and makes the tables of benches/gpu/inference.sh.

    python benches/peers/inference_gpu.py measure [--batch 1,8,64,256] [--seconds 0.3] [--compile] [--device cuda]
    python benches/peers/inference_gpu.py row FORM BENCH.json
    python benches/peers/inference_gpu.py evaluated FORM SECONDS EVALUATION.json
    python benches/peers/inference_gpu.py table FILE

`measure` prints a JSON object for each way to run models/tests/goldens/reference.py and each batch size, with the median
milliseconds of a pass: from an input in pinned host memory to logits in pinned host memory. The ways are eager fp32 (with
TF32, as ONNX Runtime's default), eager fp16 in channels_last, the same captured as a CUDA graph, and the same fed with bytes
that the device normalises. --compile adds two modes of torch.compile, which take minutes. Needs torch and torchvision.

`row` prints such objects for what `infer bench --format json` wrote, `evaluated` one for `infer evaluate --format json`.
`table` reads the objects and writes Markdown, with ratios to PyTorch in the same run.
"""

import argparse
import json
import statistics
import sys
import time
import traceback
from collections import defaultdict
from pathlib import Path

MODES = ("max-autotune-no-cudagraphs", "reduce-overhead")
OURS = "infer"


class Network:
    """Reference network on the device, and passes from host memory to host memory."""

    def __init__(self, torch, device, half, data="floats", mode=None):
        sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "models/tests/goldens"))
        import reference

        torch.manual_seed(1)
        self.torch, self.device, self.bytes = torch, device, data == "bytes"
        self.type = torch.float16 if half else torch.float32
        self.format = torch.channels_last if half else torch.contiguous_format
        model = reference.ResNet18_CBAM(num_classes=10).eval()
        self.model = model.to(device, self.type, memory_format=self.format)
        if mode:
            self.model = torch.compile(self.model, mode=mode, dynamic=False)
        mean, std = ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010])
        self.mean, self.std = (
            torch.tensor(values, device=device, dtype=self.type).view(1, 3, 1, 1) for values in (mean, std))

    def host(self, values):
        return values.pin_memory() if self.device != "cpu" else values

    def forward(self, given):
        given = given.to(self.type)
        if self.bytes:
            given = (given / 255 - self.mean) / self.std
        return self.model(given.contiguous(memory_format=self.format)).float()

    def synchronise(self):
        if self.device != "cpu":
            self.torch.cuda.synchronize()

    def tensors(self, batch):
        torch = self.torch
        values = torch.randint(256, (batch, 3, 32, 32), dtype=torch.uint8) if self.bytes else torch.randn(batch, 3, 32, 32)
        return self.host(values), self.host(torch.empty(batch, 10))

    def eager(self, batch):
        source, target = self.tensors(batch)

        def run():
            target.copy_(self.forward(source.to(self.device, non_blocking=True)), non_blocking=True)
            self.synchronise()
            return target

        return run

    def captured(self, batch):
        """Captures the pass between the copies; each call copies, replays and copies back."""
        torch = self.torch
        source, target = self.tensors(batch)
        fixed = source.to(self.device)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.forward(fixed)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            logits = self.forward(fixed)

        def run():
            fixed.copy_(source, non_blocking=True)
            graph.replay()
            target.copy_(logits, non_blocking=True)
            self.synchronise()
            return target

        return run


def milliseconds(run, seconds):
    """Median milliseconds of a pass; half as long as `seconds` before it, at least three passes, do not count."""
    samples, started = [], time.perf_counter()
    for _ in range(3):
        run()
    while time.perf_counter() - started < seconds / 2:
        run()
    started = time.perf_counter()
    while time.perf_counter() - started < seconds or len(samples) < 10:
        begun = time.perf_counter()
        logits = run()
        samples.append(1e3 * (time.perf_counter() - begun))
    if not logits.isfinite().all():
        raise SystemExit("the logits are not finite")
    return statistics.median(samples)


def measure(args):
    import torch

    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True
    about = {"side": "PyTorch " + torch.__version__}
    ways = [("eager fp32", {"half": False}, "eager"), ("eager fp16, channels_last", {"half": True}, "eager")]
    if args.device != "cpu":
        ways.append(("captured fp16, channels_last", {"half": True}, "captured"))
    ways.append(("eager fp16, channels_last, bytes", {"half": True, "data": "bytes"}, "eager"))
    if args.compile:
        ways += [(f"compiled fp16, channels_last, {mode}", {"half": True, "mode": mode}, "eager") for mode in MODES]
    for form, options, way in ways:
        try:
            network = Network(torch, args.device, **options)
            for batch in args.batch:
                with torch.inference_mode():
                    ms = milliseconds(getattr(network, way)(batch), args.seconds)
                print(json.dumps(about | {"form": form, "batch": batch, "ms": ms}), flush=True)
        except Exception as error:  # one form must not stop the others
            traceback.print_exc()
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            print(json.dumps(about | {"form": form, "error": reason}), flush=True)


def row(form, found):
    """Lines for what `infer bench` found."""
    for run in found["runs"]:
        line = {"side": OURS, "form": form, "batch": run["batch"], "ms": run["latency_ms"]["p50"]}
        print(json.dumps(line | {"provider": run["provider"], "stable": run["stable"]}))
    start = {key: found[key] for key in ("cold_start_ms", "start_ms") if key in found}
    print(json.dumps({"side": OURS, "form": form, "start": start}))
    if images := found.get("pictures"):
        speed = {key: images[key] for key in ("end_to_end_ips", "end_to_end_batch")}
        print(json.dumps({"side": OURS, "form": form, "from files": speed}))


def evaluated(form, seconds, found):
    """Line for an evaluation that took `seconds` as a whole process."""
    keys = ("images", "accuracy", "provider", "batch", "start_seconds", "images_per_second", "steady_images_per_second")
    print(json.dumps({"side": OURS, "form": form, "process_seconds": seconds} | {key: found.get(key) for key in keys}))


def best(ways, side, word):
    """Least milliseconds by batch size of the ways of a side whose name has a word."""
    least = {}
    for (found, form), times in ways.items():
        if (found == OURS) == (side == OURS) and word in form:
            least = {batch: min(ms, least.get(batch, ms)) for batch, ms in (least | times).items()}
    return least


def table(lines):
    ways, rest = defaultdict(dict), []
    for line in lines:
        if "ms" in line:
            ways[line["side"], line["form"]][line["batch"]] = line["ms"]
        else:
            rest.append(line)
    batches = sorted({batch for times in ways.values() for batch in times})
    bases = [
        ("PyTorch's eager fp16 in channels_last", best(ways, "PyTorch", "eager fp16, channels_last")),
        ("PyTorch's captured fp16", best(ways, "PyTorch", "captured fp16")),
        ("compiled PyTorch", best(ways, "PyTorch", "compiled")),
    ]
    bases = [(name, times) for name, times in bases if times]
    numbers = lambda values: " | ".join(values)
    print("\nMedian milliseconds of a pass, by batch size\n")
    print(f"| side | form | {numbers(map(str, batches))} |")
    print("|---|---|" + "---|" * len(batches))
    for (side, form), times in ways.items():
        print(f"| {side} | {form} | {numbers(f'{times[batch]:.3f}' if batch in times else '' for batch in batches)} |")
    for name, base in bases:
        print(f"\nTimes of `infer` divided by those of {name}; below 1 is faster\n")
        print(f"| form | {numbers(map(str, batches))} |")
        print("|---|" + "---|" * len(batches))
        for (side, form), times in ways.items():
            if side == OURS:
                ratios = (f"{times[batch] / base[batch]:.2f}" if batch in times and batch in base else "" for batch in batches)
                print(f"| {form} | {numbers(ratios)} |")
    print()
    for line in rest:
        print(f"- {line['side']}, {line['form']}: "
              + json.dumps({key: value for key, value in line.items() if key not in ("side", "form")}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measured = commands.add_parser("measure")
    measured.add_argument("--batch", type=lambda text: [int(size) for size in text.split(",")], default=[1, 8, 64, 256])
    measured.add_argument("--seconds", type=float, default=0.3)
    measured.add_argument("--compile", action="store_true")
    measured.add_argument("--device", default="cuda")
    made = commands.add_parser("row")
    made.add_argument("form")
    made.add_argument("file", type=Path)
    made = commands.add_parser("evaluated")
    made.add_argument("form")
    made.add_argument("seconds", type=float)
    made.add_argument("file", type=Path)
    commands.add_parser("table").add_argument("file", type=Path)
    args = parser.parse_args()
    if args.command == "measure":
        return measure(args)
    if args.command == "table":
        lines = args.file.read_text().splitlines()
        return table([json.loads(line) for line in lines if line.startswith("{")])
    found = json.loads(args.file.read_text())
    return row(args.form, found) if args.command == "row" else evaluated(args.form, args.seconds, found)


if __name__ == "__main__":
    main()
