"""The work of `stylize` in plain PyTorch, run eagerly; layers have pytorch/examples' names."""

import pathlib

import torch
from torch import nn

from benchmarks.work import Work, theirs
from benchmarks.work.gatys import Noise
from benchmarks.work.gatys_torch import VGG16, gram, hand_over, maps, pixels, vgg
from benchmarks.work.stylize import (
    BACKBONE,
    CONTENT,
    RATE,
    STYLE,
    STYLE_WEIGHT,
    pictures,
)


class Padded(nn.Module):
    """A convolution whose border is mirrored first."""

    def __init__(self, before: int, width: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.pad = nn.ReflectionPad2d(kernel // 2)
        self.conv2d = nn.Conv2d(before, width, kernel, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv2d(self.pad(x))


class Block(nn.Module):
    """Two convolutions with instance norms beside an identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = Padded(width, width, 3), Padded(width, width, 3)
        self.in1, self.in2 = (nn.InstanceNorm2d(width, affine=True) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.in2(self.conv2(torch.relu(self.in1(self.conv1(x)))))


class Network(nn.Module):
    """The layers by name; those that halve and double the map stand around five blocks."""

    def __init__(self) -> None:
        super().__init__()
        sizes = ((3, 32, 9, 1), (32, 64, 3, 2), (64, 128, 3, 2))
        for number, size in enumerate(sizes, start=1):
            self.add_module(f"conv{number}", Padded(*size))
            self.add_module(f"in{number}", nn.InstanceNorm2d(size[1], affine=True))
        for number in range(1, 6):
            self.add_module(f"res{number}", Block(128))
        for number, (before, width) in enumerate(((128, 64), (64, 32)), start=1):
            self.add_module(f"deconv{number}", Padded(before, width, 3))
            self.add_module(f"in{3 + number}", nn.InstanceNorm2d(width, affine=True))
        self.deconv3 = Padded(32, 3, 9)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        part = self.get_submodule
        for i in (1, 2, 3):
            x = torch.relu(part(f"in{i}")(part(f"conv{i}")(x)))
        for i in range(1, 6):
            x = part(f"res{i}")(x)
        for i in (1, 2):
            x = nn.functional.interpolate(x, scale_factor=2, mode="nearest")
            x = torch.relu(part(f"in{3 + i}")(part(f"deconv{i}")(x)))
        return self.deconv3(x)


def repaint(shared: pathlib.Path, batch_size: int, size: int, steps: int) -> Work:
    model, image = _network(shared), torch.from_numpy(pictures(batch_size, size))

    def run() -> torch.Tensor:
        return model(_floats(image)).clamp(0, 255)

    def outputs(made: torch.Tensor) -> dict:
        return {"image": made.permute(0, 2, 3, 1).numpy()}

    return theirs.inference(run, batch_size, steps, outputs)


def train(shared: pathlib.Path, batch_size: int, size: int, steps: int) -> Work:
    model, image = _network(shared), torch.from_numpy(pictures(batch_size, size))
    network = vgg(VGG16, nn.MaxPool2d)
    (shared / BACKBONE).mkdir()
    hand_over(network, shared / BACKBONE)
    with torch.no_grad():
        style = maps(network, pixels(Noise(1, size)), STYLE[-1])
        grams = {name: gram(style[name]) for name in STYLE}

    def differs(x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The squared difference over the target's squared size, mean over images."""
        axes = tuple(range(1, x.ndim))
        return (((x - target) ** 2).sum(axes) / (target**2).sum(axes)).mean()

    def forward() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        x = _floats(image)
        with torch.no_grad():
            given = maps(network, x, CONTENT)
        made = maps(network, model(x), STYLE[-1])
        content = differs(made[CONTENT], given[CONTENT])
        style = sum(differs(gram(made[name]), grams[name]) for name in STYLE) * STYLE_WEIGHT
        return content + style, {"content": content, "style": style}

    return theirs.training(model, forward, batch_size, steps, RATE)


def _network(shared: pathlib.Path) -> Network:
    """Makes the network, and leaves its weights for our side."""
    theirs.prepare()
    model = Network()
    theirs.draw(model)
    theirs.hand_over(model.state_dict(), shared)
    return model.to(memory_format=torch.channels_last)


def _floats(image: torch.Tensor) -> torch.Tensor:
    x = image.permute(0, 3, 1, 2).float()
    return x.contiguous(memory_format=torch.channels_last)
