"""YOLOv3 in plain PyTorch: Darknet-53, heads, final boxes and Darknet's loss.

It is called as torchvision's detectors are: a list of images in 0..1, and targets to train.
"""

import torch
from torch import nn
from torch.nn import functional

from benchmarks.work.inputs import YOLO_CLASSES

PRIORS = (
    (10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326)
)  # fmt: skip
SCALES = ((32, 512, (6, 7, 8)), (16, 256, (3, 4, 5)), (8, 128, (0, 1, 2)))
IGNORED, LEAST, CANDIDATES, OVERLAP, COUNT = 0.7, 0.005, 400, 0.45, 100


class Unit(nn.Module):
    """Convolution, batch norm, leaky ReLU."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x):
        return functional.leaky_relu(self.norm(self.conv(x)), 0.1, inplace=True)


class Residual(nn.Module):
    """A 1×1 and a 3×3 convolution beside the identity."""

    def __init__(self, width: int):
        super().__init__()
        self.reduce, self.expand = Unit(width, width // 2, 1), Unit(width // 2, width, 3)

    def forward(self, x):
        return x + self.expand(self.reduce(x))


class Scale(nn.Module):
    """One scale's convolutions; all but the first are led to from a coarser one."""

    def __init__(self, channels: int, width: int, coarser: int):
        super().__init__()
        self.lateral = Unit(coarser, width, 1) if coarser else None
        neck, read = [], channels + (width if coarser else 0)
        for i in range(5):
            out, kernel = (2 * width, 3) if i % 2 else (width, 1)
            neck.append(Unit(read, out, kernel))
            read = out
        self.neck = nn.Sequential(*neck)
        self.out = Unit(width, 2 * width, 3)
        self.predict = nn.Conv2d(2 * width, 3 * (5 + YOLO_CLASSES), 1)

    def forward(self, x, coarser):
        if self.lateral is not None:
            x = torch.cat([functional.interpolate(self.lateral(coarser), scale_factor=2.0), x], 1)
        x = self.neck(x)
        return self.predict(self.out(x)), x


class Heads(nn.Module):
    """Raw predictions (b, h, w, 3, 5 + classes) of each scale."""

    def __init__(self):
        super().__init__()
        widths = [width for _, width, _ in SCALES]
        self.scales = nn.ModuleList(
            Scale(2 * width, width, coarser)
            for width, coarser in zip(widths, [0, *widths[:-1]], strict=True)
        )

    def forward(self, ends):
        found, x = [], None
        for scale, end in zip(self.scales, ends, strict=True):
            y, x = scale(end, x)
            found.append(y.permute(0, 2, 3, 1).unflatten(-1, (3, -1)))
        return found


class YOLOv3(nn.Module):
    """The detector (Redmon & Farhadi 2018)."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.mean, self.std = (torch.tensor(x).view(1, 3, 1, 1) for x in (mean, std))
        self.stem, self.stages = Unit(3, 32, 3), nn.ModuleList()
        for stage, blocks in enumerate((1, 2, 8, 8, 4)):
            width = 64 * 2**stage
            down = Unit(width // 2, width, 3, 2)
            self.stages.append(nn.Sequential(down, *(Residual(width) for _ in range(blocks))))
        self.head = Heads()

    def forward(self, images, targets=None):
        x = self.stem((torch.stack(images) - self.mean) / self.std)
        ends = []
        for stage in self.stages:
            x = stage(x)
            ends.append(x)
        raw = self.head(ends[:1:-1])
        size = images[0].shape[-2:]
        return self.loss(raw, targets, size) if self.training else self.detect(raw, size)

    def detect(self, raw, size):
        """The best boxes of each image after suppression within classes."""
        from torchvision.ops import batched_nms

        boxes = torch.cat([_boxes(x, s).flatten(1, 3) for x, s in zip(raw, SCALES, strict=True)], 1)
        height, width = size
        boxes = torch.stack(
            [b.clamp(0, n) for b, n in zip(boxes.unbind(-1), (width, height) * 2, strict=True)], -1
        )
        scores = torch.cat([x[..., 4:].flatten(1, 3) for x in raw], 1).sigmoid()
        found = []
        for box, score in zip(boxes, scores[..., :1] * scores[..., 1:], strict=True):
            best, index = score.T.topk(CANDIDATES, 1)
            label, place = (best > LEAST).nonzero(as_tuple=True)
            best, box = best[label, place], box[index[label, place]]
            kept = batched_nms(box, best, label, OVERLAP)[:COUNT]
            found.append({"boxes": box[kept], "scores": best[kept], "labels": label[kept] + 1})
        return found

    def loss(self, raw, targets, size):
        """Darknet's terms: means over images of sums over predictions."""
        priors = torch.tensor(PRIORS, dtype=torch.float32)
        terms = dict.fromkeys(("box", "object", "noobject", "class"), torch.zeros(()))
        for image, target in enumerate(targets):
            truth, label = target["boxes"], target["labels"] - 1
            sides = truth[:, 2:] - truth[:, :2]
            common = torch.minimum(sides[:, None], priors).prod(-1)
            shape = common / (sides.prod(-1)[:, None] + priors.prod(-1) - common)
            best = shape.argmax(1)
            for x, scale in zip(raw, SCALES, strict=True):
                for name, value in _level(x[image], scale, truth, label, best, size).items():
                    terms[name] = terms[name] + value / len(targets)
        return terms

    def numbered(self) -> dict[str, torch.Tensor]:
        """The state by the numbers of Darknet's sections, which its files are ordered by."""
        found: dict[str, torch.Tensor] = {}
        number = 0

        def unit(part: Unit) -> None:
            nonlocal number
            found[f"layers.{number}.weight"] = part.conv.weight
            found[f"layers.{number}.norm.weight"] = part.norm.weight
            found[f"layers.{number}.bias"] = part.norm.bias
            found[f"layers.{number}.running_mean"] = part.norm.running_mean
            found[f"layers.{number}.running_var"] = part.norm.running_var
            number += 1

        unit(self.stem)
        for down, *blocks in self.stages:
            unit(down)
            for block in blocks:
                unit(block.reduce)
                unit(block.expand)
                number += 1  # the shortcut
        for scale in self.head.scales:
            if scale.lateral is not None:
                number += 1  # a route back to the neck
                unit(scale.lateral)
                number += 2  # upsampling, and a route to the backbone
            for part in (*scale.neck, scale.out):
                unit(part)
            found[f"layers.{number}.weight"] = scale.predict.weight
            found[f"layers.{number}.bias"] = scale.predict.bias
            number += 2  # with the section of predictions
        return found


def _boxes(raw, scale):
    """xyxy in pixels of raw predictions (..., h, w, 3, k)."""
    stride, _, mask = scale
    height, width = raw.shape[-4:-2]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    cell = torch.stack([x, y], -1)[:, :, None]
    centre = (raw[..., :2].sigmoid() + cell) * stride
    half = raw[..., 2:4].exp() * torch.tensor([PRIORS[i] for i in mask]) / 2
    return torch.cat([centre - half, centre + half], -1)


def _level(raw, scale, truth, label, best, size):
    """One image's terms at one scale."""
    from torchvision.ops import box_iou

    stride, _, mask = scale
    entropy = functional.binary_cross_entropy_with_logits
    mine = torch.tensor([i for i, prior in enumerate(best.tolist()) if prior in mask], dtype=int)
    truth, label, best = truth[mine], label[mine], best[mine]
    confidence = raw[..., 4]
    free = torch.ones_like(confidence, dtype=bool)
    if len(mine):
        with torch.no_grad():
            overlap = box_iou(_boxes(raw, scale).reshape(-1, 4), truth).amax(1)
        free = (overlap <= IGNORED).view_as(free)
    place = (truth[:, :2] + truth[:, 2:]) / (2 * stride)
    column, row = place.long().unbind(1)
    prior = best - mask[0]
    free[row, column, prior] = False
    # Where objects meet in one prediction the last one's box counts, and the classes of all.
    index = (row * raw.shape[1] + column) * len(mask) + prior
    same = index[:, None] == index
    last = ~same.triu(1).any(1)
    classes = (same.float() @ functional.one_hot(label, YOLO_CLASSES).float()).clamp(max=1)[last]
    truth, best, place = truth[last], best[last], place[last]
    rows = raw[row[last], column[last], prior[last]]
    sides = truth[:, 2:] - truth[:, :2]
    own = place - place.floor()
    centre = entropy(rows[:, :2], own, reduction="none") + torch.xlogy(own, own)
    centre = centre + torch.xlogy(1 - own, 1 - own)
    wanted = (sides / torch.tensor(PRIORS, dtype=torch.float32)[best]).log()
    small = 2 - sides.prod(-1) / (size[0] * size[1])
    box = centre.sum(1) + 0.5 * ((rows[:, 2:4] - wanted) ** 2).sum(1)
    return {
        "box": (small * box).sum(),
        "object": entropy(rows[:, 4], torch.ones(len(rows)), reduction="sum"),
        "noobject": functional.softplus(confidence[free]).sum(),
        "class": entropy(rows[:, 5:], classes, reduction="sum"),
    }
