"""The same in PyTorch, channels last: eager as people run it, and through torch.compile.

The network is written out here, with torchvision's parameter names, so that torchvision is not
needed.
"""

import os
import pathlib
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.work import Work
from benchmarks.work.resnet50 import DECAY, MEAN, MOMENTUM, RATE, STD, images


def infer(shared: pathlib.Path, batch_size: int, size: int, steps: int) -> Work:
    return _infer(shared, batch_size, size, steps, compiled=False)


def infer_compiled(shared: pathlib.Path, batch_size: int, size: int, steps: int) -> Work:
    return _infer(shared, batch_size, size, steps, compiled=True)


def train(shared: pathlib.Path, batch_size: int, size: int, steps: int) -> Work:
    return _train(shared, batch_size, size, steps, compiled=False)


def train_compiled(shared: pathlib.Path, batch_size: int, size: int, steps: int) -> Work:
    return _train(shared, batch_size, size, steps, compiled=True)


class Bottleneck(nn.Module):
    """1×1, 3×3 (which strides), 1×1 four times as wide."""

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or channels != 4 * width:
            shortcut = nn.Conv2d(channels, 4 * width, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(4 * width))

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet50(nn.Module):
    """He et al. 2015, with the stride in the 3×3."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        for stage, blocks in enumerate((3, 4, 6, 3)):
            width, layers = 64 * 2**stage, []
            for i in range(blocks):
                layers.append(Bottleneck(channels, width, 2 if stage and not i else 1))
                channels = 4 * width
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(2048, 1000)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        x = functional.max_pool2d(x, 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


def _setting(shared: pathlib.Path, batch_size: int, size: int, compiled: bool):
    """Network, its possibly compiled form, a function that makes the input, and the labels."""
    from safetensors.numpy import save_file

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    model = ResNet50().to(memory_format=torch.channels_last)
    state = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    save_file(state, shared / "weights.safetensors")
    image, label = images(batch_size, size)
    image = torch.from_numpy(image).permute(0, 3, 1, 2)  # channels last in memory already
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))

    def network(image):
        return model((image / 255 - mean) / std)

    return model, torch.compile(network) if compiled else network, image, torch.from_numpy(label)


def _infer(shared, batch_size, size, steps, compiled) -> Work:
    model, network, image, _ = _setting(shared, batch_size, size, compiled)
    model.eval()
    with torch.inference_mode():
        began = time.perf_counter()
        logits = network(image).numpy()
        facts = {"compile_seconds": time.perf_counter() - began}

    def run() -> None:
        with torch.inference_mode():
            for _ in range(steps):
                network(image)

    return Work(run, steps * batch_size, {"logits": logits}, facts)


def _train(shared, batch_size, size, steps, compiled) -> Work:
    model, network, image, label = _setting(shared, batch_size, size, compiled)
    label = label.long()
    parameters = model.parameters()
    optimizer = torch.optim.SGD(parameters, RATE, MOMENTUM, weight_decay=DECAY)

    def step() -> tuple[float, float]:
        optimizer.zero_grad()
        logits = network(image)
        loss = functional.cross_entropy(logits, label)
        loss.backward()
        optimizer.step()
        return loss.item(), (logits.argmax(1) == label).float().mean().item()

    began = time.perf_counter()
    loss, _ = step()
    facts = {"compile_seconds": time.perf_counter() - began}

    def run() -> None:
        for _ in range(steps):
            step()

    return Work(run, steps * batch_size, {"loss": np.array([loss])}, facts)
