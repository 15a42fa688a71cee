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

VGG16, VGG19 = (2, 2, 3, 3, 3), (2, 2, 4, 4, 4)  # convolutions of each stage
WIDTHS = (64, 128, 256, 512, 512)


def vgg(counts: tuple[int, ...], pool: type[nn.Module]) -> nn.Sequential:
    """Makes the convolutions of a VGG, frozen, each stage with a pooling behind it."""
    layers, before = [], 3
    for width, count in zip(WIDTHS, counts, strict=True):
        for _ in range(count):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
            before = width
        layers.append(pool(2, 2))
    network = nn.Sequential(*layers)
    theirs.draw(network)
    return network.requires_grad_(False).to(memory_format=torch.channels_last)


def hand_over(network: nn.Sequential, shared: pathlib.Path) -> None:
    """Leaves a VGG's weights for our side, by torchvision's names."""
    state = network.state_dict()
    theirs.hand_over({f"features.{name}": array for name, array in state.items()}, shared)


def maps(network: nn.Sequential, pixels: torch.Tensor, last: str) -> dict[str, torch.Tensor]:
    """Computes the maps of pixels in 0..255 by their names, up to the last that is wanted."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    x, found = (pixels / 255 - mean) / std, {}
    stage, number = 1, 0
    for layer in network:
        x = layer(x)
        if isinstance(layer, nn.ReLU):
            number += 1
            found[f"conv{stage}_{number}"] = x
            if f"conv{stage}_{number}" == last:
                break
        elif not isinstance(layer, nn.Conv2d):
            stage, number = stage + 1, 0
    return found


def gram(x: torch.Tensor) -> torch.Tensor:
    flat = x.flatten(2)
    return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])


def pixels(picture: Noise) -> torch.Tensor:
    """Reads a picture, (1, 3, h, w) in 0..255."""
    image = torch.from_numpy(picture.read()).permute(2, 0, 1)[None]
    return image.contiguous(memory_format=torch.channels_last)


def paint(shared: pathlib.Path, size: int, steps: int) -> Work:
    theirs.prepare()
    network = vgg(VGG19, nn.AvgPool2d)
    hand_over(network, shared)
    with torch.no_grad():
        given, style = (maps(network, pixels(Noise(i, size)), STYLE[-1]) for i in (0, 1))
        content = {name: given[name] for name in CONTENT}
        grams = {name: gram(style[name]) for name in STYLE}
    # What is optimised are pixels less the mean, as ours; Adam does not see the difference.
    offset = 255 * torch.tensor(CAFFE_MEAN).view(1, 3, 1, 1)
    image = (pixels(Noise(0, size)) - offset).requires_grad_(True)
    optimizer = torch.optim.Adam([image], RATE)

    def step() -> float:
        optimizer.zero_grad()
        found = maps(network, image + offset, STYLE[-1])
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
