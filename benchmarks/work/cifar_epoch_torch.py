"""The work of `cifar_epoch` in PyTorch: all images on the device, augmented there as a batch."""

import itertools
import pathlib
from collections.abc import Iterator

import torch
from torch.nn import functional

from benchmarks.work import Work, classify_torch, theirs
from benchmarks.work.cifar_batches import MEAN, STD, Arrays
from benchmarks.work.inputs import RATE

_PAD = 4


def train(
    shared: pathlib.Path, images: int, batch_size: int, device: str, compiled: bool | str = False
) -> Work:
    """The full training step, `images // batch_size` times.

    Args:
      shared: not used.
      images: in the set.
      batch_size: of a step.
      device: 'cuda' or 'cpu'.
      compiled: whether augmentation and network are, by torch.compile, or in which of its modes.
    """
    theirs.prepare(device)
    model = classify_torch.make("resnet20").to(device)
    arrays = Arrays(images).arrays()
    image = torch.from_numpy(arrays["image"]).permute(0, 3, 1, 2).to(device)
    label = torch.from_numpy(arrays["label"]).long().to(device)
    mean, std = (torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (MEAN, STD))

    def from_pixels(batch: torch.Tensor, corner: torch.Tensor, flipped: torch.Tensor):
        return model((augment(batch, corner, flipped) / 255 - mean) / std)

    run = theirs.compiled(from_pixels, compiled)
    rows = _order(images, batch_size, device)

    def loss() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        chosen = next(rows)
        corner = torch.randint(2 * _PAD + 1, (2, batch_size), device=device)
        flipped = torch.rand(batch_size, device=device) < 0.5
        with theirs.autocast(device, True):
            logits = run(image[chosen], corner, flipped)
            total = functional.cross_entropy(logits, label[chosen])
        return total, {"accuracy": (logits.argmax(1) == label[chosen]).float().mean()}

    return theirs.training(model, loss, batch_size, images // batch_size, RATE, device=device)


def augment(image: torch.Tensor, corner: torch.Tensor, flipped: torch.Tensor) -> torch.Tensor:
    """Pads each side with zeros, crops the old size, mirrors some.

    Args:
      image: (b, c, h, w).
      corner: (2, b), first row and column of each crop, from 0 to twice the padding.
      flipped: (b,) bool.
    """
    b, c, height, width = image.shape
    padded = functional.pad(image, (_PAD,) * 4)
    column = torch.arange(width, device=image.device)
    column = torch.where(flipped[:, None], width - 1 - column, column) + corner[1, :, None]
    row = torch.arange(height, device=image.device) + corner[0, :, None]
    number = torch.arange(b, device=image.device)[:, None, None, None]
    channel = torch.arange(c, device=image.device)[:, None, None]
    found = padded[number, channel, row[:, None, :, None], column[:, None, None, :]]
    return found.contiguous(memory_format=torch.channels_last)


def _order(count: int, batch_size: int, device: str) -> Iterator[torch.Tensor]:
    """Numbers of the images of each batch, epoch after epoch without end."""
    for _ in itertools.count():
        order = torch.randperm(count, device=device)
        for start in range(0, count - batch_size + 1, batch_size):
            yield order[start : start + batch_size]
