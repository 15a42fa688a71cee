"""The work of `masks` in plain PyTorch: the same layers, by deepmask-pytorch's names of weights."""

import pathlib

import torch
from torch import nn
from torch.nn import functional

from benchmarks.work import Work, theirs
from benchmarks.work.inputs import MEAN, STD
from benchmarks.work.masks import windows

CELLS, REDUCED, WIDTH, HIDDEN, MASK = 10, 128, 512, 1024, 56
SKIPS = ((6, 1024), (5, 512), (4, 256), (2, 64))  # layers of the trunk that are read, and channels


def infer(shared: pathlib.Path, batch_size: int, steps: int) -> Work:
    """Computes masks and scores."""
    theirs.prepare()
    model = SharpMask()
    theirs.draw(model)
    calm(model)
    model = model.to(memory_format=torch.channels_last)
    image = torch.from_numpy(windows(batch_size)).permute(0, 3, 1, 2)
    image = image.contiguous(memory_format=torch.channels_last)
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in (MEAN, STD))

    def run() -> tuple[torch.Tensor, torch.Tensor]:
        return model((image / 255 - mean) / std)

    theirs.measure_statistics(model, run)
    model.eval()
    state = {k: v for k, v in model.state_dict().items() if "num_batches" not in k}
    theirs.hand_over(state, shared)

    def outputs(found: tuple[torch.Tensor, torch.Tensor]) -> dict:
        return {"masks": found[0].numpy(), "scores": found[1].numpy()}

    return theirs.inference(run, batch_size, steps, outputs)


def calm(model: nn.Module) -> None:
    """Lets residual branches weigh less than what they are added to.

    With equal weights float32's rounding grows two hundred times on the way through the backbone,
    to nearly 1e-4 of the largest value on each side; in float64 both sides agree to 2e-13.
    """
    for module in model.modules():
        if isinstance(module, Bottleneck):
            nn.init.constant_(module.bn3.weight, 0.25)


class Symmetric(nn.Module):
    """Three pixels more on each side, mirrored with the edge itself."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, columns = (
            torch.cat([torch.arange(2, -1, -1), torch.arange(n), torch.arange(n - 1, n - 4, -1)])
            for n in x.shape[2:]
        )
        return x[:, :, rows][:, :, :, columns]


class Bottleneck(nn.Module):
    """A residual block with torchvision's names, which strides in its 3x3 convolution."""

    def __init__(self, before: int, width: int, stride: int = 1):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width)
        middle = nn.Conv2d(width, width, 3, stride, bias=False)
        self.conv2, self.bn2 = nn.Sequential(nn.ReflectionPad2d(1), middle), nn.BatchNorm2d(width)
        after = 4 * width
        self.conv3, self.bn3 = nn.Conv2d(width, after, 1, bias=False), nn.BatchNorm2d(after)
        self.downsample = nn.Identity()
        if before != after:
            projection = nn.Conv2d(before, after, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(after))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class SharpMask(nn.Module):
    """The network (Pinheiro et al. 2016); of its coarse mask it has the weights alone."""

    def __init__(self, width: int = 32):
        super().__init__()
        self.trunk = nn.Sequential(_backbone(), nn.Sequential(
            nn.Conv2d(1024, REDUCED, 1), nn.ReLU(), nn.Conv2d(REDUCED, WIDTH, CELLS)
        ))  # fmt: skip
        self.maskBranchDM = nn.Sequential(nn.Sequential(nn.Conv2d(WIDTH, MASK**2, 1)))
        self.scoreBranch = nn.Sequential(
            nn.Identity(), nn.Conv2d(WIDTH, HIDDEN, 1), nn.Threshold(0, 1e-6),
            nn.Identity(), nn.Conv2d(HIDDEN, 1, 1),
        )  # fmt: skip
        self.netvs = nn.ModuleList([nn.ConvTranspose2d(WIDTH, width, CELLS)])
        self.neths = nn.ModuleList()
        for i, (_, channels) in enumerate(SKIPS):
            k = width >> i
            crop = [nn.Identity()] if i else []
            self.neths.append(nn.Sequential(
                *crop, *_conv(channels, 64), nn.ReLU(), *_conv(64, k), nn.ReLU(), *_conv(k, k // 2)
            ))  # fmt: skip
            self.netvs.append(nn.Sequential(*_conv(k, k), nn.ReLU(), *_conv(k, k // 2)))
        last = nn.Sequential(*_conv(width >> len(SKIPS), 1))
        self.refs = nn.ModuleList([nn.Identity() for _ in range(len(SKIPS) + 1)] + [last])

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        skips, places = [], [place for place, _ in SKIPS]
        for i, layer in enumerate(self.trunk[0]):
            x = layer(x)
            if i in places:
                around = x.shape[-1] // 12  # sixteen pixels of context
                skips.append(x[:, :, around:-around, around:-around])
        x = self.trunk[1](skips[-1])
        score = self.scoreBranch(x)
        mask = self.netvs[0](x)
        for neth, netv, skip in zip(self.neths, self.netvs[1:], skips[::-1], strict=True):
            mask = functional.interpolate(functional.relu(neth(skip) + netv(mask)), scale_factor=2)
        return self.refs[-1](mask)[:, 0], score.flatten()


def _conv(channels: int, width: int) -> tuple[nn.Module, nn.Module]:
    return nn.ReflectionPad2d(1), nn.Conv2d(channels, width, 3)


def _backbone() -> nn.Sequential:
    """Makes ResNet-50 up to conv4_x, whose maps continue as their mirror images."""
    layers = [
        nn.Sequential(Symmetric(), nn.Conv2d(3, 64, 7, 2, bias=False)),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    ]
    before = 64
    for blocks, width, stride in ((3, 64, 1), (4, 128, 2), (6, 256, 2)):
        first = Bottleneck(before, width, stride)
        before = 4 * width
        rest = (Bottleneck(before, width) for _ in range(blocks - 1))
        layers.append(nn.Sequential(first, *rest))
    return nn.Sequential(*layers)
