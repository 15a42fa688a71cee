"""A model as Darknet's `.cfg` describes it: section by section.

The sections give the order, the shapes and the names of the numbers in its `.weights`, and the
rows of tables whose names count them.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vision_jax.config import UserError
from vision_jax.weights.engine import Row

_SIDE = 416  # of the image; matters to no shape but those of fully connected layers


@dataclasses.dataclass(frozen=True)
class Section:
    """One section of a `.cfg`.

    Attributes:
      kind: 'convolutional', 'maxpool', 'route', ….
      options: those that the model fixes; layers are numbers from 0, never relative.
      path: where its parameters are among ours; '' if it has none.
    """

    kind: str
    options: Mapping[str, Any]
    path: str = ""


def sections(model: Any) -> list[Section]:
    """What a model's `.cfg` holds after [net].

    Args:
      model: a classifier with a Darknet backbone, or a `YOLOv1`, `YOLOv2` or `YOLOv3`.

    Raises:
      UserError: a variant that Darknet does not have.
    """
    makers: dict[str, Callable] = {
        "Classifier": _classifier,
        "YOLOv1": _yolo_v1,
        "YOLOv2": _yolo_v2,
        "YOLOv3": _yolo_v3,
    }
    name = type(model).__name__
    if name not in makers or type(model.backbone).__name__ not in ("Darknet", "ResidualDarknet"):
        raise UserError(f"Darknet has no {name} on a {type(model.backbone).__name__}")
    net = _Net()
    ends = net.backbone(model.backbone)
    read = getattr(model, "endpoint", None) or getattr(model, "endpoints", tuple(ends)[-1:])[0]
    if ends[read] != len(net.sections) - 1:
        raise UserError(
            f"Darknet's {name} goes on from its backbone's last stage, not from {read!r}"
        )
    makers[name](net, model, ends)
    return net.sections


def darknet(model: Any, count: int | None = None) -> Iterator[Row]:
    """Rows in the names 'layers.<section>.bias', '.norm.weight', '.running_mean', ….

    Darknet's files have no names; these are those of the golden files. `count`: of the first so
    many sections alone.
    """
    for number, (section, shape) in enumerate(_with_shapes(model)[:count]):
        name = f"layers.{number}"
        if section.kind == "convolutional" and section.options["batch_normalize"]:
            yield Row(name, f"{section.path}/norm", "norm_darknet")
            yield Row(name, f"{section.path}/conv", "conv")
        elif section.kind == "convolutional":
            yield Row(name, *_plain(section, "conv"))
        elif section.kind == "connected":
            yield Row(name, section.path, "dense_bias", flat=shape)
        elif section.kind == "local":
            yield Row(name, section.path, "local")


def pytorch_yolo(model: Any) -> Iterator[Row]:
    """Names of github.com/eriklindernoren/PyTorch-YOLOv3, which numbers as Darknet does."""
    for number, section in enumerate(sections(model)):
        if section.kind != "convolutional":
            continue
        name = f"module_list.{number}"
        if section.options["batch_normalize"]:
            yield Row(f"{name}.conv_{number}", f"{section.path}/conv", "conv")
            yield Row(f"{name}.batch_norm_{number}", f"{section.path}/norm", "norm")
        else:
            yield Row(f"{name}.conv_{number}", *_plain(section, "conv"))


def is_darknet(model: Any) -> bool:
    """Whether Darknet has this kind of network."""
    try:
        sections(model)
    except UserError:
        return False
    return True


def shapes(model: Any, count: int | None = None) -> dict[str, tuple[int, ...]]:
    """Shapes of the numbers in a `.weights` file, in the file's order.

    Args:
      model: as of `sections`.
      count: only the first so many sections, as in `darknet53.conv.74`.
    """
    found: dict[str, tuple[int, ...]] = {}
    for number, (section, (c, h, w)) in enumerate(_with_shapes(model)[:count]):
        name, options = f"layers.{number}", section.options
        if section.kind == "convolutional":
            n, size = options["filters"], options["size"]
            names = ("bias", "norm.weight", "running_mean", "running_var")
            for part in names if options["batch_normalize"] else names[:1]:
                found[f"{name}.{part}"] = (n,)
            found[f"{name}.weight"] = (n, c, size, size)
        elif section.kind == "connected":
            found[f"{name}.bias"] = (options["output"],)
            found[f"{name}.weight"] = (options["output"], c * h * w)
        elif section.kind == "local":
            n, size = options["filters"], options["size"]
            found[f"{name}.bias"] = (n, h, w)
            found[f"{name}.weight"] = (h, w, n, c * size * size)
    return found


class _Net:
    """Sections in the making; a method returns its section's number."""

    def __init__(self):
        self.sections: list[Section] = []

    def add(self, kind: str, path: str = "", **options: Any) -> int:
        self.sections.append(Section(kind, options, path))
        return len(self.sections) - 1

    def conv(self, path: str, features: int, size: int, stride: int, norm: str) -> int:
        if norm == "group":
            raise UserError("Darknet has no group normalisation")
        options = {"filters": features, "size": size, "stride": stride, "activation": "leaky"}
        normed = int(norm != "none")
        return self.add("convolutional", path, batch_normalize=normed, **options)

    def linear(self, path: str, features: int) -> int:
        """A 1×1 convolution without norm and activation."""
        options = {"batch_normalize": 0, "filters": features, "size": 1, "stride": 1}
        return self.add("convolutional", path, activation="linear", **options)

    def backbone(self, backbone: Any) -> dict[str, int]:
        """The last section of each endpoint."""
        if type(backbone).__name__ == "ResidualDarknet":
            return self._residual(backbone)
        ends = {}
        for stage, convs in enumerate(backbone.stages, start=1):
            if stage > 1:
                self.add("maxpool", size=2, stride=backbone.pool_strides[stage - 2])
            for i, (size, features, *stride) in enumerate(convs, start=1):
                path = f"backbone/conv{stage}_{i}"
                last = self.conv(path, features, size, *(stride or (1,)), backbone.norm)
            ends[f"stage{stage}"] = last
        return ends

    def _residual(self, backbone: Any) -> dict[str, int]:
        last = self.conv("backbone/conv1", backbone.width, 3, 1, backbone.norm)
        ends = {}
        for stage, blocks in enumerate(backbone.blocks, start=1):
            features = backbone.width * 2**stage
            last = self.conv(f"backbone/stage{stage}_down", features, 3, 2, backbone.norm)
            for i in range(1, blocks + 1):
                path = f"backbone/stage{stage}_{i}"
                self.conv(f"{path}_reduce", features // 2, 1, 1, backbone.norm)
                self.conv(f"{path}_expand", features, 3, 1, backbone.norm)
                last = self.add("shortcut", **{"from": (last,), "activation": "linear"})
            ends[f"stage{stage}"] = last
        return ends


def _classifier(net: _Net, model: Any, ends: dict[str, int]) -> None:
    """Darknet-53 averages before its last convolution, Darknet-19 after it: the same numbers."""
    averages_first = type(model.backbone).__name__ == "ResidualDarknet"
    if averages_first:
        net.add("avgpool")
    net.linear("head/fc", model.head.num_classes)
    if not averages_first:
        net.add("avgpool")
    net.add("softmax")


def _yolo_v1(net: _Net, model: Any, ends: dict[str, int]) -> None:
    if model.form != "paper":
        raise UserError("Darknet has no YOLOv1 of form='lecture'")
    for i, (features, stride) in enumerate(model.convs, start=1):
        net.conv(f"head/conv{i}", features, 3, stride, model.norm)
    if model.local:
        options = {"size": 3, "stride": 1, "filters": model.local, "activation": "leaky"}
        net.add("local", "head/local", pad=1, **options)
    for i, features in enumerate(model.hidden, start=1):
        net.add("connected", f"head/fc{i}", output=features, activation="leaky")
    if model.dropout:
        net.add("dropout", probability=model.dropout)
    outputs = model.side**2 * (model.num_classes + 5 * model.boxes)
    net.add("connected", f"head/fc{len(model.hidden) + 1}", output=outputs, activation="linear")
    options = {"side": model.side, "num": model.boxes, "sqrt": int(model.sqrt)}
    net.add("detection", classes=model.num_classes, coords=4, **options)


def _yolo_v2(net: _Net, model: Any, ends: dict[str, int]) -> None:
    if model.passthrough and model.reorg != "darknet":
        raise UserError("Darknet's YOLOv2 needs reorg='darknet', not 'space_to_depth'")
    last = ends[model.endpoint]
    for i, features in enumerate(model.convs, start=1):
        last = net.conv(f"head/conv{i}", features, 3, 1, model.norm)
    if model.passthrough:
        net.add("route", layers=(ends[model.passthrough],))
        if model.reduced:
            net.conv("head/passthrough", model.reduced, 1, 1, model.norm)
        coarse = net.add("reorg", stride=2)
        net.add("route", layers=(coarse, last))
    if model.merged:
        net.conv("head/merged", model.merged, 3, 1, model.norm)
    net.linear("head/predict", len(model.priors) * (5 + model.num_classes))
    priors = tuple(side for prior in model.priors for side in prior)
    options = {"classes": model.num_classes, "num": len(model.priors), "coords": 4}
    net.add("region", anchors=priors, softmax=1, **options)


def _yolo_v3(net: _Net, model: Any, ends: dict[str, int]) -> None:
    last = -1
    for scale, endpoint in enumerate(model.endpoints, start=1):
        path = f"head/scale{scale}"
        if scale > 1:
            net.add("route", layers=(last,))
            net.conv(f"{path}_lateral", model.lateral[scale - 2], 1, 1, model.norm)
            up = net.add("upsample", stride=2)
            last = net.add("route", layers=(up, ends[endpoint]))
        for i, features in enumerate(model.neck[scale - 1], start=1):
            last = net.conv(f"{path}_conv{i}", features, 1 if i % 2 else 3, 1, model.norm)
        net.conv(f"{path}_out", model.out[scale - 1], 3, 1, model.norm)
        mask = model.masks[scale - 1]
        net.linear(f"{path}_predict", len(mask) * (5 + model.num_classes))
        priors = tuple(side for prior in model.priors for side in prior)
        options = {"classes": model.num_classes, "num": len(model.priors)}
        net.add("yolo", mask=mask, anchors=priors, **options)


def _with_shapes(model: Any) -> list[tuple[Section, tuple[int, int, int]]]:
    """Sections and (channels, height, width) of what each reads."""
    side = model.side * model.stride if type(model).__name__ == "YOLOv1" else _SIDE
    outputs: list[tuple[int, int, int]] = []
    shape, found = (3, side, side), []
    for section in sections(model):
        found.append((section, shape))
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
    return found


def _plain(section: Section, name: str) -> tuple[str, str]:
    """Path and kind of a convolution with a bias; a classifier's is our linear layer."""
    if section.path.startswith("head/fc"):
        return section.path, "dense_pointwise"
    is_bare = section.path.endswith("predict")  # no activation: no block around it
    return section.path if is_bare else f"{section.path}/{name}", "conv_bias"
