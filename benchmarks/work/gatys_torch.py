"""The work of `gatys` in plain PyTorch, run eagerly; layers have torchvision's numbers."""

import pathlib
import time

import numpy as np
import torch
from torch import nn

from benchmarks.work import Work, theirs
from benchmarks.work.gatys import ALPHA, BETA, CONTENT, RATE, STYLE, Noise
from benchmarks.work.ours import COMPARED_STEPS
from vision_jax.tasks import CAFFE_MEAN, IMAGENET_MEAN, IMAGENET_STD


def vgg19() -> nn.Sequential:
    """Makes the convolutions of VGG-19, with average pooling."""
    layers, before = [], 3
    for width, count in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
        for _ in range(count):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
            before = width
        layers.append(nn.AvgPool2d(2, 2))
    return nn.Sequential(*layers)


def paint(shared: pathlib.Path, size: int, steps: int) -> Work:
    theirs.prepare()
    network = vgg19()
    theirs.draw(network)
    state = {f"features.{name}": array for name, array in network.state_dict().items()}
    theirs.hand_over(state, shared)
    layers = [*network.requires_grad_(False).to(memory_format=torch.channels_last)]
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))

    def maps(pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        x, found = (pixels / 255 - mean) / std, {}
        stage, number = 1, 0
        for layer in layers:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                number += 1
                found[f"conv{stage}_{number}"] = x
                if f"conv{stage}_{number}" == STYLE[-1]:
                    return found
            elif isinstance(layer, nn.AvgPool2d):
                stage, number = stage + 1, 0
        return found

    def gram(x: torch.Tensor) -> torch.Tensor:
        flat = x.flatten(2)
        return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])

    def pixels(seed: int) -> torch.Tensor:
        image = torch.from_numpy(Noise(seed, size).read()).permute(2, 0, 1)[None]
        return image.contiguous(memory_format=torch.channels_last)

    with torch.no_grad():
        content = {name: maps(pixels(0))[name] for name in CONTENT}
        grams = {name: gram(maps(pixels(1))[name]) for name in STYLE}
    # What is optimised are pixels less the mean, as ours; Adam does not see the difference.
    offset = 255 * torch.tensor(CAFFE_MEAN).view(1, 3, 1, 1)
    image = (pixels(0) - offset).requires_grad_(True)
    optimizer = torch.optim.Adam([image], RATE)

    def step() -> float:
        optimizer.zero_grad()
        found = maps(image + offset)
        loss = sum(ALPHA * ((found[n] - p) ** 2).sum() / 2 for n, p in content.items())
        loss = loss + sum(
            BETA * 0.2 * ((gram(found[n]) - g) ** 2).sum() / 4 for n, g in grams.items()
        )
        loss.backward()
        optimizer.step()
        return loss.item()

    began = time.perf_counter()
    losses = [step()]
    facts = {"compile_seconds": time.perf_counter() - began}
    losses += [step() for _ in range(COMPARED_STEPS - 1)]

    def rounds() -> None:
        for _ in range(steps):
            step()

    return Work(rounds, steps, {"loss": np.array(losses)}, facts)
