"""detectron2's model zoo: its `.pkl` files, and its names (github.com/facebookresearch/detectron2).

Its R-CNNs and RetinaNets see images of 0 to 255 as blue, green, red, less (103.53, 116.28, 123.675)
and not divided; here the first layer is turned round to red, green, blue, so that a task needs
`mean=(123.675 / 255, 116.28 / 255, 103.53 / 255)` and `std=CAFFE_STD`. Its ResNets have `version`
'v1'; anchors are 'exact' and spaced as the 'network'; regions are pooled with `aligned=True` and
`samples=0`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vision_jax.config import UserError
from vision_jax.weights.engine import Pick, Row
from vision_jax.weights.numpy_pickle import PickledArray
from vision_jax.weights.safe_pickle import interpret

SUFFIX = ".pkl"
_STEM = "stem.conv1.weight"
# What follows from the config, and is in old files only.
_DERIVED = ("pixel_mean", "pixel_std", "anchor_generator")


def read_pkl(path: Path) -> dict[str, np.ndarray]:
    """The arrays by name in a file of the model zoo, for images in red, green, blue.

    Raises:
      UserError: damaged, of Caffe2's names, or asking for more than arrays and containers.
    """
    try:
        with path.open("rb") as file:
            content = interpret(file)
        found = content["model"]
        arrays = {k: v.value for k, v in found.items() if isinstance(v, PickledArray)}
    except UserError as error:
        raise UserError(" ".join(str(error).split())[:300]) from error
    except Exception as error:  # a hostile file may make the parser raise anything
        text = f"not a readable file of detectron2 ({type(error).__name__})"
        raise UserError(text) from error
    missing = [k for k, v in arrays.items() if v is None]
    if missing or not arrays:
        raise UserError("no arrays by name, or arrays without values")
    state = {k: v for k, v in arrays.items() if not any(name in k for name in _DERIVED)}
    for name in [name for name in state if name.endswith(_STEM)]:
        state[name] = np.ascontiguousarray(state[name][:, ::-1])
    return state


def rcnn(model: Any) -> Iterator[Row]:
    """R50-FPN, R101-FPN and C4 of Faster, Mask and Keypoint R-CNN."""
    head, classes = model.head, model.num_classes
    yield from _backbone(model)
    order = _anchor_order(model.rpn)
    theirs = "proposal_generator.rpn_head"
    yield Row(f"{theirs}.conv", "rpn/conv", "conv_bias")
    for name, ours, numbers in (
        ("objectness_logits", "cls_logits", 1),
        ("anchor_deltas", "bbox_pred", 4),
    ):
        pick = Pick((len(order), numbers), 0, order)
        yield Row(f"{theirs}.{name}", f"rpn/{ours}", "conv_bias", pick=pick)
    if head.body is not None:
        for i in range(head.body.blocks):
            ours = f"head/body/conv{head.body.stage}_{i + 1}"
            yield from _block(f"roi_heads.res5.{i}", ours, i == 0)
    for i in range(len(head.hidden)):
        flat = (model.pyramid.width, head.pool.size, head.pool.size) if i == 0 else None
        yield Row(f"roi_heads.box_head.fc{i + 1}", f"head/fc{i + 6}", "dense_bias", flat)
    # The background is their last class and our first; they have no boxes or masks of it.
    last_first, absent = (classes, *range(classes)), (-1, *range(classes))
    predictor = "roi_heads.box_predictor"
    pick = Pick((classes + 1,), 0, last_first)
    yield Row(f"{predictor}.cls_score", "head/cls_score", "dense_bias", pick=pick)
    pick = Pick((classes, 4), 0, absent)
    yield Row(f"{predictor}.bbox_pred", "head/bbox_pred", "dense_bias", pick=pick)
    if model.mask is not None:
        for i in range(1, len(model.mask.widths) + 1):
            yield Row(f"roi_heads.mask_head.mask_fcn{i}", f"mask/mask_fcn{i}", "conv_bias")
        yield Row("roi_heads.mask_head.deconv", "mask/conv5_mask", "conv_transpose_bias")
        row = ("roi_heads.mask_head.predictor", "mask/mask_fcn_logits", "conv_bias")
        yield Row(*row, pick=Pick((classes,), 0, absent))
    if model.keypoint is not None:
        theirs = "roi_heads.keypoint_head"
        for i in range(1, len(model.keypoint.widths) + 1):
            yield Row(f"{theirs}.conv_fcn{i}", f"keypoint/conv_fcn{i}", "conv_bias")
        yield Row(f"{theirs}.score_lowres", "keypoint/kps_score_lowres", "conv_transpose_bias")


def retinanet(model: Any) -> Iterator[Row]:
    """R50-FPN and R101-FPN of RetinaNet, whose P6 is made from C5."""
    yield from _backbone(model)
    order = _anchor_order(model)
    subnets = (
        ("cls_subnet", "class_subnet", "cls_score", model.num_classes),
        ("bbox_subnet", "box_subnet", "bbox_pred", 4),
    )
    for theirs, ours, last, numbers in subnets:
        for i in range(model.depth):
            yield Row(f"head.{theirs}.{2 * i}", f"{ours}/conv{i + 1}/conv", "conv_bias")
        pick = Pick((len(order), numbers), 0, order)
        yield Row(f"head.{last}", f"{ours}/out", "conv_bias", pick=pick)


def has_rcnn(model: Any) -> bool:
    """Features shared by both stages, from a ResNet without tweaks."""
    shared = model.rpn_backbone is None and model.head.class_specific
    return shared and _plain(model.backbone)


def has_retinanet(model: Any) -> bool:
    """On a ResNet without tweaks, no norms in the subnets."""
    return model.norm == "none" and _plain(model.backbone)


def _plain(backbone: Any) -> bool:
    plain = (
        type(backbone).__name__ == "ResNet"
        and backbone.stem == "plain"
        and backbone.shortcut == "conv"
    )
    return plain and backbone.block == "bottleneck" and backbone.norm in ("sync", "local", "frozen")


def _backbone(model: Any) -> Iterator[Row]:
    pyramid = model.pyramid
    is_pyramid = type(pyramid).__name__ == "FPN"
    body = "backbone.bottom_up" if is_pyramid else "backbone"
    yield from _conv_norm(f"{body}.stem.conv1", "backbone/conv1")
    for stage, blocks in enumerate(model.backbone.stages, start=2):
        for i in range(blocks):
            yield from _block(f"{body}.res{stage}.{i}", f"backbone/conv{stage}_{i + 1}", i == 0)
    if not is_pyramid:
        return
    for name in pyramid.endpoints:
        level = name.removeprefix("conv").removesuffix("_x")
        for kind in ("lateral", "output"):
            yield Row(f"backbone.fpn_{kind}{level}", f"pyramid/{kind}_{name}", "conv_bias")
    if pyramid.extra == "p6p7":
        for name in ("p6", "p7"):
            yield Row(f"backbone.top_block.{name}", f"pyramid/{name}", "conv_bias")


def _block(theirs: str, ours: str, first: bool) -> Iterator[Row]:
    for name in ("conv1", "conv2", "conv3", *(("shortcut",) if first else ())):
        yield from _conv_norm(f"{theirs}.{name}", f"{ours}/{name}")


def _conv_norm(theirs: str, ours: str) -> Iterator[Row]:
    yield Row(theirs, f"{ours}/conv", "conv")
    yield Row(f"{theirs}.norm", f"{ours}/norm", "norm")


def _anchor_order(part: Any) -> tuple[int, ...]:
    """Their number of each of our anchors in a cell: they go by size first, we by ratio."""
    sizes, ratios = len(part.sizes[0]), len(part.ratios)
    return tuple(s * ratios + r for r in range(ratios) for s in range(sizes))
