"""Networks that torchvision has not, in plain PyTorch; our tables know their parameters' names."""

from torch import nn
from torch.nn import functional


class LeNet(nn.Module):
    """LeNet-5 with ReLU and max pooling, for 28×28 images (LeCun et al. 1998)."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        x = functional.relu(self.fc1(x.flatten(1)))
        return self.fc3(functional.relu(self.fc2(x)))


class CifarBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut that strides and pads with zero channels."""

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride, self.padding = stride, (width - channels) // 2

    def forward(self, x):
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        if self.stride > 1:
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.padding, self.padding))
        return functional.relu(x + y, inplace=True)


class ResNet20(nn.Module):
    """For CIFAR (He et al. 2015, section 4.2)."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        channels = 16
        for stage in (1, 2, 3):
            blocks = []
            for i in range(3):
                stride = 2 if stage > 1 and i == 0 else 1
                blocks.append(CifarBlock(channels, 8 * 2**stage, stride))
                channels = 8 * 2**stage
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        return self.linear(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


class Separable(nn.Module):
    """A 3×3 convolution of each channel alone, and a 1×1 convolution over channels."""

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.conv_dw = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv_pw = nn.Conv2d(channels, width, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x):
        x = functional.relu6(self.bn1(self.conv_dw(x)), inplace=True)
        return functional.relu6(self.bn2(self.conv_pw(x)), inplace=True)


class MobileNetV1(nn.Module):
    """MobileNet (Howard et al. 2017, table 1)."""

    def __init__(self):
        super().__init__()
        self.conv_stem = nn.Conv2d(3, 32, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        stages, channels = [], 32
        for stage, (width, count) in enumerate(((64, 1), (128, 2), (256, 2), (512, 6), (1024, 2))):
            blocks = []
            for i in range(count):
                blocks.append(Separable(channels, width, 2 if stage and i == 0 else 1))
                channels = width
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.classifier = nn.Linear(1024, 1000)

    def forward(self, x):
        x = functional.relu6(self.bn1(self.conv_stem(x)), inplace=True)
        return self.classifier(self.blocks(x).mean((2, 3)))


class FCN8s(nn.Module):
    """On VGG-16 (Long et al. 2015), with the published padding of 100 pixels and its crops."""

    def __init__(self, classes: int = 21):
        super().__init__()
        channels = 3
        for stage, count in enumerate((2, 2, 3, 3, 3), start=1):
            width = 32 * 2 ** min(stage, 4)
            for i in range(1, count + 1):
                padding = 100 if channels == 3 else 1
                setattr(self, f"conv{stage}_{i}", nn.Conv2d(channels, width, 3, 1, padding))
                channels = width
        self.stages = (2, 2, 3, 3, 3)
        self.fc6, self.fc7 = nn.Conv2d(512, 4096, 7), nn.Conv2d(4096, 4096, 1)
        self.score_fr = nn.Conv2d(4096, classes, 1)
        self.score_pool4 = nn.Conv2d(512, classes, 1)
        self.score_pool3 = nn.Conv2d(256, classes, 1)
        self.upscore2 = nn.ConvTranspose2d(classes, classes, 4, 2, bias=False)
        self.upscore_pool4 = nn.ConvTranspose2d(classes, classes, 4, 2, bias=False)
        self.upscore8 = nn.ConvTranspose2d(classes, classes, 16, 8, bias=False)

    def forward(self, x):
        height, width = x.shape[2:]
        pools = []
        for stage, count in enumerate(self.stages, start=1):
            for i in range(1, count + 1):
                x = functional.relu(getattr(self, f"conv{stage}_{i}")(x), inplace=True)
            x = functional.max_pool2d(x, 2, ceil_mode=True)
            pools.append(x)
        x = functional.relu(self.fc7(functional.relu(self.fc6(x), inplace=True)), inplace=True)
        x = self.upscore2(self.score_fr(x))
        x = x + _window(self.score_pool4(pools[3]), 5, *x.shape[2:])
        x = self.upscore_pool4(x)
        x = x + _window(self.score_pool3(pools[2]), 9, *x.shape[2:])
        return _window(self.upscore8(x), 31, height, width)


def _window(x, start: int, height: int, width: int):
    return x[:, :, start : start + height, start : start + width]


PLAIN = (LeNet, ResNet20, MobileNetV1, FCN8s)
