"""Writes what PyTorch's optimizers and schedulers do, beside this file: adam.safetensors, sgd.safetensors, plateau.json
and schedules.json.gz.

Run by hand, with torch 2.13: python generate.py
"""

import gzip
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

HERE = Path(__file__).parent
STEPS = 200
SHAPES = {"a": (5, 3), "b": (7,)}
CASES = {
    "adam": (torch.optim.Adam, dict(lr=1e-3)),
    "adam_decay": (torch.optim.Adam, dict(lr=3e-3, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.05)),
    "adamw": (torch.optim.AdamW, dict(lr=1e-2, weight_decay=0.01)),
}


SGD_CASES = {
    "sgd": (dict(lr=1e-2), None),
    "sgd_decay": (dict(lr=1e-2, momentum=0.8, weight_decay=0.05), None),
    "nesterov": (dict(lr=1e-2, momentum=0.9, nesterov=True, weight_decay=5e-4), None),
    # Weight decay leaves out parameters with one axis.
    "nesterov_weights_only": (dict(lr=1e-2, momentum=0.9, nesterov=True, weight_decay=0.05), dict(max_lr=0.1)),
}


def sgd():
    torch.manual_seed(2)
    tensors = problem()
    for case, (settings, cycle) in SGD_CASES.items():
        parameters = {name: torch.nn.Parameter(tensors[f"start.{name}"].clone()) for name in SHAPES}
        groups = [dict(params=[parameter]) for parameter in parameters.values()]
        if case.endswith("weights_only"):
            groups[1]["weight_decay"] = 0.0
        optimizer = torch.optim.SGD(groups, foreach=False, fused=False, **settings)
        scheduler = cycle and torch.optim.lr_scheduler.OneCycleLR(optimizer, total_steps=STEPS, **cycle)
        for step in range(STEPS):
            for name, parameter in parameters.items():
                parameter.grad = tensors[f"gradients.{name}"][step].clone()
            optimizer.step()
            if scheduler and step + 1 < STEPS:
                scheduler.step()
        for name, parameter in parameters.items():
            tensors[f"{case}.{name}"] = parameter.detach().clone()
            if "momentum_buffer" in optimizer.state[parameter] and optimizer.state[parameter]["momentum_buffer"] is not None:
                tensors[f"{case}.{name}.momentum_buffer"] = optimizer.state[parameter]["momentum_buffer"].clone()
    save_file(tensors, HERE / "sgd.safetensors")


def problem():
    """Parameters, and gradients of every step: of very different sizes, and some that are nothing."""
    tensors = {}
    for name, shape in SHAPES.items():
        tensors[f"start.{name}"] = torch.randn(shape)
        scale = torch.logspace(-6, 2, STEPS).view(-1, *[1] * len(shape))
        gradients = torch.randn(STEPS, *shape) * scale[torch.randperm(STEPS)]
        gradients[::7] = 0
        tensors[f"gradients.{name}"] = gradients
    return tensors


def adam():
    torch.manual_seed(0)
    tensors = problem()
    for case, (algorithm, settings) in CASES.items():
        parameters = {name: torch.nn.Parameter(tensors[f"start.{name}"].clone()) for name in SHAPES}
        optimizer = algorithm(parameters.values(), foreach=False, fused=False, **settings)
        for step in range(STEPS):
            for name, parameter in parameters.items():
                parameter.grad = tensors[f"gradients.{name}"][step].clone()
            optimizer.step()
        for name, parameter in parameters.items():
            tensors[f"{case}.{name}"] = parameter.detach().clone()
            tensors[f"{case}.{name}.exp_avg"] = optimizer.state[parameter]["exp_avg"].clone()
            tensors[f"{case}.{name}.exp_avg_sq"] = optimizer.state[parameter]["exp_avg_sq"].clone()
    save_file(tensors, HERE / "adam.safetensors")


def plateau():
    generator = torch.Generator().manual_seed(1)
    falling = [2 * 0.9**epoch + 0.05 * torch.rand(1, generator=generator).item() for epoch in range(40)]
    noisy = [1 + torch.rand(1, generator=generator).item() for _ in range(60)]
    edge = [1.0, 1.0, 0.99995, 0.9999, 0.99985, 0.9998, 0.99975, 0.9997] * 3
    cases = [
        ({}, 1e-3, falling + noisy),
        ({}, 1e-3, edge),
        (dict(factor=0.1, patience=0, cooldown=2, min_learning_rate=1e-5), 1e-2, noisy),
        (dict(patience=2, threshold=0.1), 1e-4, falling),
        (dict(factor=0.5, patience=1), 3e-8, noisy),
    ]
    recorded = []
    for settings, learning_rate, losses in cases:
        plateau = dict(factor=0.5, patience=3, threshold=1e-4, cooldown=0, min_learning_rate=0.0) | settings
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=learning_rate)
        torchs = {("min_lr" if key == "min_learning_rate" else key): value for key, value in plateau.items()}
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="min", **torchs)
        learning_rates = []
        for loss in losses:
            scheduler.step(loss)
            learning_rates.append(optimizer.param_groups[0]["lr"])
        recorded.append(dict(plateau=plateau, learning_rate=learning_rate, losses=losses, learning_rates=learning_rates))
    (HERE / "plateau.json").write_text(json.dumps(recorded))


def schedules():
    lr_scheduler = torch.optim.lr_scheduler
    one_cycle = lambda **settings: lambda optimizer, steps: lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.4, total_steps=steps, **settings
    )
    fixed = dict(cycle_momentum=False)
    cyclic = lambda up, **settings: lambda optimizer, steps: lr_scheduler.CyclicLR(
        optimizer, base_lr=0.1, max_lr=0.4, step_size_up=up, step_size_down=steps - up, **settings
    )
    # keller jordan's airbench: from a fifth of the peak to it at a fifth of the steps, then to nothing
    triangle = lambda optimizer, steps: lr_scheduler.LambdaLR(
        optimizer, lambda step: float(np.interp(step, [0, int(0.2 * steps), steps], [0.2, 1, 0]))
    )
    linear = lambda optimizer, steps: lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    cosine = lambda optimizer, steps: lr_scheduler.CosineAnnealingLR(optimizer, steps)
    cases = [
        ("one-cycle", {}, 200, one_cycle(**fixed)),
        ("one-cycle", dict(momentum=[0.95, 0.85]), 200, one_cycle()),
        ("one-cycle", dict(momentum=[0.9, 0.8]), 7, one_cycle(base_momentum=0.8, max_momentum=0.9)),
        (
            "one-cycle",
            dict(rise=0.15, start=0.1, end=1e-3),
            200,
            one_cycle(pct_start=0.15, div_factor=10, final_div_factor=100, **fixed),
        ),
        ("triangular", {}, 200, triangle),
        ("triangular", {}, 13, triangle),
        ("triangular", dict(rise=0.4, start=0.25, end=0.25), 200, cyclic(80, **fixed)),
        (
            "triangular",
            dict(rise=0.25, start=0.25, end=0.25, momentum=[0.9, 0.8]),
            200,
            cyclic(50, base_momentum=0.8, max_momentum=0.9),
        ),
        ("linear", {}, 200, linear),
        ("cosine", {}, 200, cosine),
    ]
    recorded = []
    for schedule, cycle, steps, make in cases:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4, momentum=0.9)
        scheduler = make(optimizer, steps)
        learning_rates, momentums = [], []
        for step in range(steps):
            learning_rates.append(optimizer.param_groups[0]["lr"])
            momentums.append(optimizer.param_groups[0]["momentum"])
            optimizer.step()
            if step + 1 < steps:
                scheduler.step()
        momentums = momentums if "momentum" in cycle else None
        recorded.append(
            dict(schedule=schedule, cycle=cycle, learning_rate=0.4, learning_rates=learning_rates, momentums=momentums)
        )
    (HERE / "schedules.json.gz").write_bytes(gzip.compress(json.dumps(recorded).encode(), mtime=0))


if __name__ == "__main__":
    adam()
    sgd()
    schedules()
    plateau()
