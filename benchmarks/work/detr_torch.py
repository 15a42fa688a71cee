"""The work of `detr` in PyTorch: DETR as its paper has it, on torchvision's ResNet-50.

Written for this comparison from the paper; modules have the names of the authors' code, so that the
weights can be handed over. The assignment is SciPy's, on the host.
"""

import math
import pathlib

import torch
from scipy.optimize import linear_sum_assignment
from torch import nn
from torch.nn import functional as F
from torchvision.models import resnet50
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.ops import FrozenBatchNorm2d, box_convert, generalized_box_iou

from benchmarks.work import Work, theirs
from benchmarks.work.inputs import DETECTION_RATE, LABELS, normalisation, scene

WIDTH, HEADS, HIDDEN, LAYERS, QUERIES = 256, 8, 2048, 6, 100


class Layer(nn.Module):
    """A layer of the encoder, or with `cross` of the decoder."""

    def __init__(self, cross: bool):
        super().__init__()
        self.self_attn = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        if cross:
            self.multihead_attn = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
            self.norm3 = nn.LayerNorm(WIDTH)
        self.linear1, self.linear2 = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.cross = cross

    def forward(self, x, places, memory=None, memory_places=None):
        """Runs the branches; places are added to queries and keys."""
        q = x + places
        x = self.norm1(x + self.self_attn(q, q, x, need_weights=False)[0])
        last = self.norm2
        if self.cross:
            looked = self.multihead_attn(
                x + places, memory + memory_places, memory, need_weights=False
            )
            x, last = self.norm2(x + looked[0]), self.norm3
        return last(x + self.linear2(F.relu(self.linear1(x))))


class Stack(nn.Module):
    """The layers of one half of the transformer."""

    def __init__(self, cross: bool):
        super().__init__()
        self.layers = nn.ModuleList(Layer(cross) for _ in range(LAYERS))
        if cross:
            self.norm = nn.LayerNorm(WIDTH)


class Boxes(nn.Module):
    """Three layers that read a box."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, n) for n in (WIDTH, WIDTH, 4))

    def forward(self, x):
        """Returns cxcywh in 0..1."""
        x = F.relu(self.layers[1](F.relu(self.layers[0](x))))
        return self.layers[2](x).sigmoid()


class Detr(nn.Module):
    """The network, of images that have no padding."""

    def __init__(self):
        super().__init__()
        body = resnet50(weights=None, norm_layer=FrozenBatchNorm2d)
        for name, norm in body.named_modules():
            if name.endswith("bn3"):  # nothing is divided by what the branches add up to
                norm.weight.mul_(0.2)
        for name, parameter in body.named_parameters():
            parameter.requires_grad_(name.startswith(("layer2", "layer3", "layer4")))
        part = nn.Module()
        part.body = IntermediateLayerGetter(body, {"layer4": "0"})
        self.backbone = nn.ModuleList([part])
        self.transformer = nn.Module()
        self.transformer.encoder, self.transformer.decoder = Stack(False), Stack(True)
        self.input_proj = nn.Conv2d(2048, WIDTH, 1)
        self.query_embed = nn.Embedding(QUERIES, WIDTH)
        self.class_embed, self.bbox_embed = nn.Linear(WIDTH, LABELS + 1), Boxes()

    def forward(self, image):
        """Returns logits and boxes of all layers."""
        features = self.input_proj(self.backbone[0].body(image)["0"])
        places = _sines(*features.shape[2:])[None]
        memory = features.flatten(2).transpose(1, 2)
        for layer in self.transformer.encoder.layers:
            memory = layer(memory, places)
        queries = self.query_embed.weight[None]
        x, answers = torch.zeros(len(image), QUERIES, WIDTH), []
        for layer in self.transformer.decoder.layers:
            x = layer(x, queries, memory, places)
            answers.append(self.transformer.decoder.norm(x))
        read = torch.stack(answers if self.training else answers[-1:])
        return self.class_embed(read), self.bbox_embed(read)


def _sines(height: int, width: int) -> torch.Tensor:
    """Encodes the places of a map, (h w, WIDTH), y before x."""
    i = torch.arange(WIDTH // 2)
    wave = 10000 ** (2 * torch.div(i, 2, rounding_mode="floor") / (WIDTH // 2))
    halves = []
    for count in (height, width):
        angle = torch.arange(1, count + 1)[:, None] / (count + 1e-6) * 2 * math.pi / wave
        pairs = torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), 2)
        halves.append(pairs.flatten(1))
    y, x = halves[0][:, None], halves[1][None]
    return torch.cat([y.expand(-1, width, -1), x.expand(height, -1, -1)], 2).flatten(0, 1)


def set_loss(logits: torch.Tensor, boxes: torch.Tensor, labels, truth) -> torch.Tensor:
    """Computes the loss of one layer, whose objects are assigned on the host."""
    weight = torch.ones(LABELS + 1)
    weight[-1] = 0.1
    target = torch.full(logits.shape[:2], LABELS)
    found, wanted = [], []
    for row in range(len(logits)):
        with torch.no_grad():
            corners = [box_convert(b, "cxcywh", "xyxy") for b in (boxes[row], truth[row])]
            cost = 5 * torch.cdist(boxes[row], truth[row], p=1)
            cost -= logits[row].softmax(-1)[:, labels[row]] + 2 * generalized_box_iou(*corners)
        queries, objects = linear_sum_assignment(cost.numpy())
        target[row, queries] = labels[row][objects]
        found.append(boxes[row][queries])
        wanted.append(truth[row][objects])
    found, wanted = torch.cat(found), torch.cat(wanted)
    corners = [box_convert(b, "cxcywh", "xyxy") for b in (found, wanted)]
    giou = 1 - torch.diag(generalized_box_iou(*corners))
    distance = (found - wanted).abs().sum()
    classes = F.cross_entropy(logits.transpose(1, 2), target, weight)
    return classes + (5 * distance + 2 * giou.sum()) / len(found)


def infer(shared: pathlib.Path, batch_size: int, height: int, width: int, steps: int) -> Work:
    """Inference to boxes in pixels."""
    model, image, _, _ = _setting(shared, batch_size, height, width)
    model.eval()
    sides = torch.tensor([width, height, width, height])

    def run():
        logits, boxes = model(image())
        scores = logits[-1].softmax(-1)[..., :-1].max(-1)[0]
        return box_convert(boxes[-1], "cxcywh", "xyxy") * sides, scores

    def outputs(found):
        return {"boxes": found[0].numpy(), "scores": found[1].numpy()}

    return theirs.inference(run, batch_size, steps, outputs)


def train(shared: pathlib.Path, batch_size: int, height: int, width: int, steps: int) -> Work:
    """The full step."""
    model, image, labels, truth = _setting(shared, batch_size, height, width)
    model.train()

    def loss():
        pairs = zip(*model(image()), strict=True)
        return sum(set_loss(*layer, labels, truth) for layer in pairs), {}

    return theirs.training(model, loss, batch_size, steps, DETECTION_RATE)


def _setting(shared: pathlib.Path, batch_size: int, height: int, width: int):
    """Makes the network, which leaves its weights, a function that normalises, and the truth."""
    theirs.prepare()
    model = Detr()
    theirs.draw(model.backbone)
    theirs.hand_over(model.state_dict(), shared)
    given = scene("faster_rcnn", batch_size, height, width)
    mean, std = (torch.tensor(v)[:, None, None] for v in normalisation("faster_rcnn"))
    pixels = torch.from_numpy(given["image"].transpose(0, 3, 1, 2).copy())
    pixels = pixels.to(memory_format=torch.channels_last)
    model = model.to(memory_format=torch.channels_last)
    sides = torch.tensor([width, height, width, height], dtype=torch.float32)
    truth = box_convert(torch.from_numpy(given["boxes"]), "xyxy", "cxcywh") / sides
    labels = torch.from_numpy(given["labels"]).long()
    return model, lambda: (pixels / 255 - mean) / std, labels, truth
