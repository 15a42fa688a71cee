"""How PyTorch's networks are timed: eager as people run them, or through torch.compile."""

import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.work import Work
from benchmarks.work.inputs import DECAY, MOMENTUM
from benchmarks.work.ours import COMPARED_STEPS, WEIGHTS


def prepare() -> None:
    """All cores that this process may use, and the same weights every time."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)


def draw(model: nn.Module) -> None:
    """He's weights, with which activations neither vanish nor explode."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")


def measure_statistics(model: nn.Module, forward: Callable[[], object]) -> None:
    """Gives batch norms this batch's statistics, so that inference with them is no empty test.

    `forward` runs the model, which is in training mode.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        forward()
    for norm in norms:
        norm.momentum = 0.1


def hand_over(state: dict[str, torch.Tensor], shared: pathlib.Path) -> None:
    """Leaves a state dict for our side."""
    from safetensors.numpy import save_file

    arrays = {name: np.ascontiguousarray(x.detach().numpy()).copy() for name, x in state.items()}
    save_file(arrays, shared / WEIGHTS)


def inference(run: Callable[[], Any], images: int, steps: int, outputs: Callable) -> Work:
    """`run()`, so many times in a round; `outputs(what it returned)` are compared."""
    with torch.inference_mode():
        began = time.perf_counter()
        compared = outputs(run())
        facts = {"compile_seconds": time.perf_counter() - began}

    def rounds() -> None:
        with torch.inference_mode():
            for _ in range(steps):
                run()

    return Work(rounds, images * steps, compared, facts)


def training(
    model: nn.Module,
    forward: Callable[[], tuple[torch.Tensor, dict[str, torch.Tensor]]],
    images: int,
    steps: int,
    rate: float,
    outputs: Callable[[], dict[str, np.ndarray]] | None = None,
) -> Work:
    """The full step.

    Args:
      model: its parameters that want gradients are trained.
      forward: the loss, and what else is reported of a step.
      images, steps: of a step, and of a round.
      rate: of learning.
      outputs: what to compare where losses are random; None: the losses of the first steps.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, rate, MOMENTUM, weight_decay=DECAY)

    def step() -> float:
        optimizer.zero_grad()
        loss, reported = forward()
        loss.backward()
        optimizer.step()
        for value in reported.values():
            value.item()
        return loss.item()

    compared = {} if outputs is None else outputs()
    began = time.perf_counter()
    losses = [step()]
    facts = {"compile_seconds": time.perf_counter() - began}
    losses += [step() for _ in range(COMPARED_STEPS - 1)]

    def rounds() -> None:
        for _ in range(steps):
            step()

    return Work(rounds, images * steps, compared or {"loss": np.array(losses)}, facts)
