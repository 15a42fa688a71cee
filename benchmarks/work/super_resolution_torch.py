"""The work of `super_resolution` in plain PyTorch, run eagerly."""

import pathlib

import torch
from torch import nn

from benchmarks.work import Work, theirs
from benchmarks.work.inputs import RATE
from benchmarks.work.super_resolution import BLOCKS, FACTOR, LIMIT, WIDTH, pictures
from vision_jax.tasks import CAFFE_MEAN


class Unit(nn.Module):
    """A convolution and its norm, with a ReLU unless the map is to be added."""

    def __init__(self, conv: nn.Module, act: bool = True) -> None:
        super().__init__()
        self.conv, self.norm, self.act = conv, nn.BatchNorm2d(WIDTH), act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x))
        return torch.relu(x) if self.act else x


class Block(nn.Module):
    """Two units beside an identity."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = Unit(nn.Conv2d(WIDTH, WIDTH, 3, padding=1))
        self.conv2 = Unit(nn.Conv2d(WIDTH, WIDTH, 3, padding=1), act=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv2(self.conv1(x))


class Network(nn.Module):
    """Blocks at the small size, then doublings."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = Unit(nn.Conv2d(3, WIDTH, 9, padding=4))
        for i in range(1, BLOCKS + 1):
            self.add_module(f"block{i}", Block())
        for i in range(1, FACTOR.bit_length()):
            self.add_module(f"up{i}", Unit(nn.ConvTranspose2d(WIDTH, WIDTH, 3, 2, 1, 1)))
        self.conv2 = nn.Conv2d(WIDTH, 3, 9, padding=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for module in self.children():
            x = module(x)
        return LIMIT * torch.tanh(x)


class Setting:
    """The network on its device, small images and what is to be made of them."""

    def __init__(self, shared: pathlib.Path, batch_size: int, size: int) -> None:
        theirs.prepare()
        self.small, self.large = (
            torch.from_numpy(x).permute(0, 3, 1, 2) for x in pictures(batch_size, size)
        )
        self.mean = 255 * torch.tensor(CAFFE_MEAN).view(1, 3, 1, 1)
        self.model = Network().to(memory_format=torch.channels_last)
        theirs.draw(self.model)
        theirs.measure_statistics(self.model, self.made)
        theirs.hand_over(self.model.state_dict(), shared)

    def made(self) -> torch.Tensor:
        """Computes pixels, which may lie beyond 0..255."""
        x = self.small.float().contiguous(memory_format=torch.channels_last) - self.mean
        return self.model(x) + self.mean


def infer(shared: pathlib.Path, batch_size: int, size: int, steps: int) -> Work:
    setting = Setting(shared, batch_size, size)
    setting.model.eval()

    def outputs(made: torch.Tensor) -> dict:
        return {"image": made.permute(0, 2, 3, 1).numpy()}

    return theirs.inference(lambda: setting.made().clamp(0, 255), batch_size, steps, outputs)


def train(shared: pathlib.Path, batch_size: int, size: int, steps: int) -> Work:
    setting = Setting(shared, batch_size, size)

    def forward() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        target = setting.large.float().contiguous(memory_format=torch.channels_last)
        loss = (((setting.made() - target) / 255) ** 2).mean()
        return loss, {"pixel": loss}

    return theirs.training(setting.model, forward, batch_size, steps, RATE)
