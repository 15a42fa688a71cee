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


def prepare(device: str = "cpu") -> None:
    """All cores that this process may use, and the same weights every time.

    Raises:
      RuntimeError: torch sees no GPU, which is the device.
    """
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    if device == "cuda":
        if not torch.cuda.is_available():
            raise RuntimeError("torch sees no GPU")
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")


def autocast(device: str, amp: bool) -> torch.autocast:
    """With `amp`, products and convolutions in bfloat16; weights and norms stay float32."""
    return torch.autocast(device, torch.bfloat16, enabled=amp)


def compiled(function: Callable, how: bool | str) -> Callable:
    """By torch.compile, in one of its modes if `how` names one; as it is if `how` is False."""
    if not how:
        return function
    return torch.compile(function, mode=how if isinstance(how, str) else "default")


def forget(device: str) -> None:
    """Gives memory back that only the preparation took, and begins to count the most in use."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak(device: str) -> dict[str, float]:
    """The most memory of the device that was in use, where it tells."""
    return {"device_peak_bytes": torch.cuda.max_memory_allocated()} if device == "cuda" else {}


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

    arrays = {
        name: np.ascontiguousarray(x.detach().cpu().numpy()).copy() for name, x in state.items()
    }
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
    device: str = "cpu",
) -> Work:
    """The full step.

    On a GPU nothing is read before a round's end, since reading waits for the device.

    Args:
      model: its parameters that want gradients are trained.
      forward: the loss, and what else is reported of a step.
      images, steps: of a step, and of a round.
      rate: of learning.
      outputs: what to compare where losses are random; None: the losses of the first steps.
      device: 'cpu' or 'cuda'.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    fused = True if device == "cuda" else None
    optimizer = torch.optim.SGD(parameters, rate, MOMENTUM, weight_decay=DECAY, fused=fused)

    def step() -> list[torch.Tensor]:
        optimizer.zero_grad()
        loss, reported = forward()
        loss.backward()
        optimizer.step()
        values = [value.detach() for value in (loss, *reported.values())]
        if device == "cpu":
            read(values)
        return values

    def read(values: list[torch.Tensor]) -> list[float]:
        return [value.item() for value in values]

    compared = {} if outputs is None else outputs()
    forget(device)
    began = time.perf_counter()
    losses = read(step())[:1]
    facts = {"compile_seconds": time.perf_counter() - began}
    losses += [read(step())[0] for _ in range(COMPARED_STEPS - 1)]

    def rounds() -> None:
        for _ in range(steps):
            values = step()
        if device != "cpu":
            read(values)  # of the last step: all are done

    compared = compared or {"loss": np.array(losses)}
    return Work(rounds, images * steps, compared, facts, lambda: peak(device))
