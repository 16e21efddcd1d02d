"""Writes what PyTorch's optimizers and its plateau scheduler do: adam.safetensors and plateau.json beside this file.

Run by hand, with torch 2.13: python generate.py
"""

import json
from pathlib import Path

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


def adam():
    torch.manual_seed(0)
    tensors = {}
    for name, shape in SHAPES.items():
        tensors[f"start.{name}"] = torch.randn(shape)
        # Gradients of very different sizes, and some that are nothing.
        scale = torch.logspace(-6, 2, STEPS).view(-1, *[1] * len(shape))
        gradients = torch.randn(STEPS, *shape) * scale[torch.randperm(STEPS)]
        gradients[::7] = 0
        tensors[f"gradients.{name}"] = gradients
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


if __name__ == "__main__":
    adam()
    plateau()
