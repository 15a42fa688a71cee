"""The work of `classify` in PyTorch, channels last: torchvision's networks where it has them."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from benchmarks.work import Work, theirs
from benchmarks.work import networks_torch as plain
from benchmarks.work.inputs import AUX_WEIGHT, RATE, VOID, images, normalisation


def make(network: str) -> nn.Module:
    """The network with drawn weights, without dropout."""

    def of_torchvision(name: str, **options: object) -> Callable[[], nn.Module]:
        def build() -> nn.Module:
            import torchvision

            return getattr(torchvision.models, name)(weights=None, **options)

        return build

    makers: dict[str, Callable[[], nn.Module]] = {
        "lenet": plain.LeNet,
        "resnet20": plain.ResNet20,
        "resnet50": of_torchvision("resnet50"),
        "vgg16": of_torchvision("vgg16", dropout=0.0),
        "mobilenet_v1": plain.MobileNetV1,
        "inception_v3": of_torchvision("inception_v3", dropout=0.0, init_weights=True),
        "fcn8s": plain.FCN8s,
    }
    model = makers[network]()
    if isinstance(model, plain.PLAIN):
        theirs.draw(model)
    return model.to(memory_format=torch.channels_last)


def infer(
    shared: Path,
    network: str,
    batch_size: int,
    size: int,
    steps: int,
    compiled: bool = False,
    half: bool = False,
) -> Work:
    """Inference; with `half`, all weights and numbers between layers are bfloat16."""
    dtype = torch.bfloat16 if half else torch.float32
    model, forward, _ = _setting(shared, network, batch_size, size, compiled, "cpu", dtype)
    model.to(dtype).eval()
    return theirs.inference(forward, batch_size, steps, lambda logits: {"logits": _last(logits)})


def train(
    shared: Path,
    network: str,
    batch_size: int,
    size: int,
    steps: int,
    compiled: bool | str = False,
    amp: bool = False,
    device: str = "cpu",
) -> Work:
    """The full training step.

    Args:
      shared, network, batch_size, size, steps: as of `classify.train`.
      compiled: whether by torch.compile, or in which of its modes.
      amp: products and convolutions in bfloat16.
      device: 'cpu' or 'cuda', where the batch lies too.
    """
    model, forward, label = _setting(shared, network, batch_size, size, compiled, device)

    def loss() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        with theirs.autocast(device, amp):
            found = forward()
            logits, *aux = found if isinstance(found, tuple) else (found,)
            total = functional.cross_entropy(logits, label, ignore_index=VOID)
            for other in aux:
                total = total + AUX_WEIGHT * functional.cross_entropy(other, label)
        return total, {"accuracy": (logits.argmax(1) == label).float().mean()}

    return theirs.training(model, loss, batch_size, steps, RATE, device=device)


def _setting(
    shared: Path,
    network: str,
    batch_size: int,
    size: int,
    compiled: bool | str,
    device: str,
    dtype: torch.dtype = torch.float32,
):
    """The model in training mode, a function from nothing to logits, and the labels."""
    theirs.prepare(device)
    model = make(network).to(device)
    image, label = images(network, batch_size, size)
    image = torch.from_numpy(image).permute(0, 3, 1, 2)  # channels last in memory already
    image, label = image.to(device), torch.from_numpy(label).long().to(device)
    mean, std = (
        torch.tensor(values, device=device).view(1, -1, 1, 1) for values in normalisation(network)
    )

    def from_pixels(image: torch.Tensor, dtype: torch.dtype = dtype):
        return model(((image / 255 - mean) / std).to(dtype))

    theirs.measure_statistics(model, lambda: from_pixels(image, torch.float32))
    theirs.hand_over(model.state_dict(), shared)
    run = theirs.compiled(from_pixels, compiled)
    return model, lambda: run(image), label


def _last(logits: torch.Tensor):
    """Channels last, as ours are."""
    return logits.float().movedim(1, -1).numpy()
