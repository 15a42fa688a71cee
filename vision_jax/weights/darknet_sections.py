"""The description of a model as Darknet's `.cfg` has it: section by section.

The sections give the order, the shapes and the names of the numbers in its `.weights`, and the
rows of tables whose names count them.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from flax import linen as nn

from vision_jax.config import UserError
from vision_jax.models.classifiers.classifier import Classifier
from vision_jax.models.classifiers.darknet import Darknet, ResidualDarknet
from vision_jax.models.detectors.yolo_v1 import YOLOv1
from vision_jax.models.detectors.yolo_v2 import YOLOv2
from vision_jax.models.detectors.yolo_v3 import YOLOv3
from vision_jax.models.layers import Layers
from vision_jax.weights.engine import Row

_SIDE = 416  # of the image; matters to no shape but those of fully connected layers


@dataclasses.dataclass(frozen=True)
class Section:
    """One section of a `.cfg`.

    Attributes:
      kind: 'convolutional', 'maxpool', 'route', ….
      options: those that the model fixes; layers are numbers from 0, never relative.
      path: place of its parameters among ours; '' if it has none.
    """

    kind: str
    options: Mapping[str, Any]
    path: str = ""


def sections(model: nn.Module) -> list[Section]:
    """Returns the sections of a model's `.cfg` after [net].

    Args:
      model: a classifier with a Darknet backbone, or a `YOLOv1`, `YOLOv2` or `YOLOv3`.

    Raises:
      UserError: a variant that Darknet does not have.
    """
    net = _Net()
    match model:
        case Classifier():
            _add_classifier(net, model)
        case YOLOv1():
            _add_yolo_v1(net, model)
        case YOLOv2():
            _add_yolo_v2(net, model)
        case YOLOv3():
            _add_yolo_v3(net, model)
        case _:
            raise UserError(f"Darknet has no {type(model).__name__}")
    return net.sections


def darknet(model: nn.Module, count: int | None = None) -> Iterator[Row]:
    """Yields rows in the names 'layers.<section>.bias', '.norm.weight', '.running_mean', ….

    Darknet's files have no names; these are those of the golden files.

    Args:
      model: see `sections`.
      count: only the first so many sections, as in `darknet53.conv.74`.
    """
    for number, (section, shape) in enumerate(_with_shapes(model)[:count]):
        name = f"layers.{number}"
        if section.kind == "convolutional" and section.options["batch_normalize"]:
            yield Row(name, f"{section.path}/norm", "norm_darknet")
            yield Row(name, f"{section.path}/conv", "conv")
        elif section.kind == "convolutional":
            yield Row(name, *_with_bias(section, "conv"))
        elif section.kind == "connected":
            yield Row(name, section.path, "dense_bias", flat=shape)
        elif section.kind == "local":
            yield Row(name, section.path, "local")


def pytorch_yolo(model: YOLOv2 | YOLOv3) -> Iterator[Row]:
    """Yields rows in the names of github.com/eriklindernoren/PyTorch-YOLOv3.

    It numbers as Darknet does.
    """
    for number, section in enumerate(sections(model)):
        if section.kind != "convolutional":
            continue
        name = f"module_list.{number}"
        if section.options["batch_normalize"]:
            yield Row(f"{name}.conv_{number}", f"{section.path}/conv", "conv")
            yield Row(f"{name}.batch_norm_{number}", f"{section.path}/norm", "norm")
        else:
            yield Row(f"{name}.conv_{number}", *_with_bias(section, "conv"))


def is_darknet(model: nn.Module) -> bool:
    """Returns True if Darknet has this kind of network."""
    try:
        sections(model)
    except UserError:
        return False
    return True


def shapes(model: nn.Module, count: int | None = None) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the numbers in a `.weights` file, in the file's order.

    Args:
      model: see `sections`.
      count: only the first so many sections, as in `darknet53.conv.74`.
    """
    sizes: dict[str, tuple[int, ...]] = {}
    for number, (section, (c, h, w)) in enumerate(_with_shapes(model)[:count]):
        name, options = f"layers.{number}", section.options
        if section.kind == "convolutional":
            n, size = options["filters"], options["size"]
            names = ("bias", "norm.weight", "running_mean", "running_var")
            for part in names if options["batch_normalize"] else names[:1]:
                sizes[f"{name}.{part}"] = (n,)
            sizes[f"{name}.weight"] = (n, c, size, size)
        elif section.kind == "connected":
            sizes[f"{name}.bias"] = (options["output"],)
            sizes[f"{name}.weight"] = (options["output"], c * h * w)
        elif section.kind == "local":
            n, size = options["filters"], options["size"]
            sizes[f"{name}.bias"] = (n, h, w)
            sizes[f"{name}.weight"] = (h, w, n, c * size * size)
    return sizes


class _Net:
    """A list of sections in the making; a method returns its section's number."""

    def __init__(self) -> None:
        self.sections: list[Section] = []
        self.ends: dict[str, int] = {}  # the last section of each endpoint

    def add(self, kind: str, options: Mapping[str, Any] | None = None, path: str = "") -> int:
        """Adds any section."""
        self.sections.append(Section(kind, options or {}, path))
        return len(self.sections) - 1

    def conv(self, path: str, features: int, size: int, stride: int, layers: Layers) -> int:
        """Adds a convolution with a leaky ReLU."""
        if layers.norm == "group":
            raise UserError("Darknet has no group normalisation")
        options = {"batch_normalize": int(layers.norm != "none"), "activation": "leaky"}
        options |= {"filters": features, "size": size, "stride": stride}
        return self.add("convolutional", options, path)

    def linear(self, path: str, features: int) -> int:
        """Adds a 1×1 convolution without norm and activation."""
        options = {"batch_normalize": 0, "activation": "linear"}
        options |= {"filters": features, "size": 1, "stride": 1}
        return self.add("convolutional", options, path)

    def backbone(self, backbone: nn.Module, endpoint: str = "") -> int:
        """Adds a backbone.

        Args:
          backbone: a `Darknet` or `ResidualDarknet`.
          endpoint: the one that the head goes on from.

        Raises:
          UserError: another backbone, or the endpoint is not its last.
        """
        if isinstance(backbone, ResidualDarknet):
            last = self._residual(backbone)
        elif isinstance(backbone, Darknet):
            last = self._chain(backbone)
        else:
            raise UserError(f"Darknet has no {type(backbone).__name__}")
        if endpoint and self.ends[endpoint] != last:
            raise UserError(
                f"Darknet goes on from its backbone's last stage, not from {endpoint!r}"
            )
        return last

    def _chain(self, backbone: Darknet) -> int:
        """Adds convolutions and poolings, one after another."""
        if backbone.separable:
            raise UserError("Darknet has no separable convolutions")
        last = -1
        for stage, convs in enumerate(backbone.stages, start=1):
            if stage > 1:
                self.add("maxpool", {"size": 2, "stride": backbone.pool_strides[stage - 2]})
            for i, (size, features, *strides) in enumerate(convs, start=1):
                stride = strides[0] if strides else 1
                path = f"backbone/conv{stage}_{i}"
                last = self.conv(path, features, size, stride, backbone.layers)
            self.ends[f"stage{stage}"] = last
        return last

    def _residual(self, backbone: ResidualDarknet) -> int:
        """Adds convolutions and residual blocks."""
        layers = backbone.layers
        last = self.conv("backbone/conv1", backbone.width, 3, 1, layers)
        for stage, blocks in enumerate(backbone.blocks, start=1):
            features = backbone.width * 2**stage
            last = self.conv(f"backbone/stage{stage}_down", features, 3, 2, layers)
            for i in range(1, blocks + 1):
                path = f"backbone/stage{stage}_{i}"
                self.conv(f"{path}_reduce", features // 2, 1, 1, layers)
                self.conv(f"{path}_expand", features, 3, 1, layers)
                last = self.add("shortcut", {"from": (last,), "activation": "linear"})
            self.ends[f"stage{stage}"] = last
        return last


def _add_classifier(net: _Net, model: Classifier) -> None:
    """Adds all sections of a classifier.

    Darknet-53 averages before its last convolution, Darknet-19 after it: the same numbers.
    """
    net.backbone(model.backbone)
    averages_first = isinstance(model.backbone, ResidualDarknet)
    if averages_first:
        net.add("avgpool")
    net.linear("head/fc", model.head.num_classes)
    if not averages_first:
        net.add("avgpool")
    net.add("softmax")


def _add_yolo_v1(net: _Net, model: YOLOv1) -> None:
    """Adds all sections of YOLO."""
    if model.formulation != "paper":
        raise UserError("Darknet has no YOLOv1 of formulation='lecture'")
    net.backbone(model.backbone, model.endpoint)
    for i, (features, stride) in enumerate(model.convs, start=1):
        net.conv(f"head/conv{i}", features, 3, stride, model.layers)
    if model.local:
        options = {"size": 3, "stride": 1, "pad": 1, "filters": model.local, "activation": "leaky"}
        net.add("local", options, "head/local")
    for i, features in enumerate(model.hidden, start=1):
        net.add("connected", {"output": features, "activation": "leaky"}, f"head/fc{i}")
    if model.dropout:
        net.add("dropout", {"probability": model.dropout})
    outputs = model.side**2 * (model.num_classes + 5 * model.boxes_per_cell)
    path = f"head/fc{len(model.hidden) + 1}"
    net.add("connected", {"output": outputs, "activation": "linear"}, path)
    options = {"classes": model.num_classes, "coords": 4, "side": model.side}
    net.add("detection", options | {"num": model.boxes_per_cell, "sqrt": int(model.sqrt)})


def _add_yolo_v2(net: _Net, model: YOLOv2) -> None:
    """Adds all sections of YOLOv2."""
    if model.passthrough and model.reorg != "darknet":
        raise UserError("Darknet's YOLOv2 needs reorg='darknet', not 'space_to_depth'")
    last = net.backbone(model.backbone, model.endpoint)
    for i, features in enumerate(model.convs, start=1):
        last = net.conv(f"head/conv{i}", features, 3, 1, model.layers)
    if model.passthrough:
        net.add("route", {"layers": (net.ends[model.passthrough],)})
        if model.reduced:
            net.conv("head/passthrough", model.reduced, 1, 1, model.layers)
        coarse = net.add("reorg", {"stride": 2})
        net.add("route", {"layers": (coarse, last)})
    if model.merged:
        net.conv("head/merged", model.merged, 3, 1, model.layers)
    net.linear("head/predict", len(model.priors) * (5 + model.num_classes))
    options = {"classes": model.num_classes, "num": len(model.priors), "coords": 4, "softmax": 1}
    net.add("region", options | {"anchors": _sides(model)})


def _add_yolo_v3(net: _Net, model: YOLOv3) -> None:
    """Adds all sections of YOLOv3."""
    last = net.backbone(model.backbone, model.endpoints[0])
    for scale, endpoint in enumerate(model.endpoints, start=1):
        path = f"head/scale{scale}"
        if scale > 1:
            net.add("route", {"layers": (last,)})
            net.conv(f"{path}_lateral", model.lateral[scale - 2], 1, 1, model.layers)
            upsampled = net.add("upsample", {"stride": 2})
            last = net.add("route", {"layers": (upsampled, net.ends[endpoint])})
        for i, features in enumerate(model.neck[scale - 1], start=1):
            last = net.conv(f"{path}_conv{i}", features, 1 if i % 2 else 3, 1, model.layers)
        net.conv(f"{path}_out", model.out[scale - 1], 3, 1, model.layers)
        mask = model.masks[scale - 1]
        net.linear(f"{path}_predict", len(mask) * (5 + model.num_classes))
        options = {"classes": model.num_classes, "num": len(model.priors), "mask": mask}
        net.add("yolo", options | {"anchors": _sides(model)})


def _sides(model: YOLOv2 | YOLOv3) -> tuple[float, ...]:
    """Returns the priors' widths and heights one after another."""
    return tuple(side for prior in model.priors for side in prior)


def _with_shapes(model: nn.Module) -> list[tuple[Section, tuple[int, int, int]]]:
    """Returns sections and the shape (channels, height, width) that each reads."""
    side = model.side * model.stride if isinstance(model, YOLOv1) else _SIDE
    outputs: list[tuple[int, int, int]] = []
    shape, described = (3, side, side), []
    for section in sections(model):
        described.append((section, shape))
        c, h, w = shape
        options, step = section.options, section.options.get("stride", 1)
        if section.kind == "route":
            parts = [outputs[number] for number in options["layers"]]
            shape = (sum(part[0] for part in parts), *parts[0][1:])
        elif section.kind == "reorg":
            shape = (c * step * step, h // step, w // step)
        elif section.kind == "upsample":
            shape = (c, h * step, w * step)
        elif section.kind == "connected":
            shape = (options["output"], 1, 1)
        elif section.kind == "avgpool":
            shape = (c, 1, 1)
        else:
            shape = (options.get("filters", c), h // step, w // step)
        outputs.append(shape)
    return described


def _with_bias(section: Section, name: str) -> tuple[str, str]:
    """Returns path and kind of a convolution with a bias; a classifier's is our linear layer."""
    if section.path.startswith("head/fc"):
        return section.path, "dense_pointwise"
    is_bare = section.path.endswith("predict")  # no activation: no block around it
    return section.path if is_bare else f"{section.path}/{name}", "conv_bias"
