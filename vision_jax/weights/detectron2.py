"""detectron2's model zoo: its `.pkl` files, and its names (github.com/facebookresearch/detectron2).

Its R-CNNs and RetinaNets see images of 0 to 255 as blue, green, red, less (103.53, 116.28, 123.675)
and not divided; here the first layer is turned round to red, green, blue, so that a task needs
`mean=(123.675 / 255, 116.28 / 255, 103.53 / 255)` and `std=CAFFE_STD`. Its ResNets have `version`
'v1'; `anchor_rounding` is 'exact' and `anchor_stride` 'level'; regions are pooled with
`aligned=True` and `sampling_ratio=0`.
"""

import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from flax import linen as nn

from vision_jax.config import UserError, printable
from vision_jax.models.classifiers.classifier import Classifier, PoolHead
from vision_jax.models.detectors.fast_rcnn import FastRCNN
from vision_jax.models.detectors.faster_rcnn import FasterRCNN
from vision_jax.models.detectors.fpn import FPN
from vision_jax.models.detectors.keypoint_rcnn import KeypointHead
from vision_jax.models.detectors.mask_rcnn import MaskHead
from vision_jax.models.detectors.proposal_network import ProposalNetwork
from vision_jax.models.detectors.region_pool import ResNetStage
from vision_jax.models.detectors.retinanet import RetinaNet
from vision_jax.models.detectors.rfcn import RFCN
from vision_jax.models.detectors.rpn import RPN
from vision_jax.weights.contents import state_of
from vision_jax.weights.engine import Pick, Row
from vision_jax.weights.numpy_pickle import PickledArray
from vision_jax.weights.safe_pickle import in_one_line, interpret
from vision_jax.weights.shared_rows import (
    BATCH_NORMS,
    conv_norm,
    is_plain_resnet,
    residual_layers,
)

SUFFIX = ".pkl"
_STEM = "stem.conv1.weight"
_EPS = 1e-5  # of its norms
_MOMENTUM = "momentum"  # of the optimizer, beside an array
_CLASSIFIER = re.compile(r"^(fc1000|pred|linear|stem\.fc)\.")
# Caffe2's names, step by step.
_CAFFE2 = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"_", "."),
        (r"\.b$", ".bias"),
        (r"\.w$", ".weight"),
        (r"\.[bg]n\.s$", ".norm.weight"),
        (r"\.[bg]n\.bias$", ".norm.bias"),
        (r"\.bn\.rm$", ".norm.running_mean"),
        (r"\.bn\.riv$", ".norm.running_var"),
        (r"^(res\.)?conv1\.", "stem.conv1."),
        (r"\.branch1\.", ".shortcut."),
        (r"\.branch2a\.", ".conv1."),
        (r"\.branch2b\.", ".conv2."),
        (r"\.branch2c\.", ".conv3."),
    )
)


def read_pkl(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays by name in a file of the model zoo, for images in red, green, blue.

    Files of backbones have Caffe2's names, which are turned into detectron2's, or are torchvision's
    by the entry '__author__', whose images are red, green, blue already.

    Raises:
      UserError: damaged, or without arrays by name.
    """
    with in_one_line("file of detectron2"), path.open("rb") as file:
        content = interpret(io.BytesIO(file.read()))
        values = state_of(content)
        arrays = {k: value for k, value in values.items() if isinstance(value, PickledArray)}
        if len(arrays) < len(values):
            raise UserError("tensors without their storages")
        state = {name: _read(name, value) for name, value in arrays.items()}
    is_torchvisions = isinstance(content, dict) and content.get("__author__") == "torchvision"
    if not any("." in name for name in state):
        state = _from_caffe2(state)
    state = {_CLASSIFIER.sub("linear.", name): value for name, value in state.items()}
    if is_torchvisions:
        return state
    for name in [name for name in state if name.endswith(_STEM) and state[name].ndim == 4]:
        state[name] = state[name][:, ::-1]
    return state


def _read(name: str, value: PickledArray) -> np.ndarray:
    """Reads an array; an error says which it is."""
    try:
        return value.read()
    except UserError as error:
        raise UserError(f"{printable(name)}: {error}") from None


def _from_caffe2(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Turns Caffe2's names into detectron2's: 'res2_0_branch2a_bn_s' is 'res2.0.conv1.norm.weight'.

    Norms are scale and bias alone, so that their statistics are those which change nothing.
    Convolutions before them have no bias in the networks that were trained; the files' are left.
    """
    renamed = {}
    for name, value in state.items():
        for pattern, replacement in _CAFFE2:
            name = pattern.sub(replacement, name)
        renamed[name] = value
    for name in [name for name in renamed if name.endswith(".norm.weight")]:
        norm = name.removesuffix(".weight")
        count = renamed[name].size
        renamed.setdefault(f"{norm}.running_mean", np.zeros(count, np.float32))
        renamed.setdefault(f"{norm}.running_var", np.full(count, 1 - _EPS, np.float32))
        renamed.pop(f"{norm.removesuffix('.norm')}.bias", None)
    return {name: value for name, value in renamed.items() if not name.endswith(_MOMENTUM)}


def rcnn(model: FasterRCNN) -> Iterator[Row]:
    """Yields the layers of Faster, Mask and Keypoint R-CNN on R50-FPN, R101-FPN and C4."""
    yield from proposals(model)
    yield from _box_head(model)
    if isinstance(model.mask, MaskHead):
        yield from _mask(model.mask, model.num_classes)
    if isinstance(model.keypoint, KeypointHead):
        theirs = "roi_heads.keypoint_head"
        for i in range(1, len(model.keypoint.widths) + 1):
            yield Row(f"{theirs}.conv_fcn{i}", f"keypoint/conv_fcn{i}", "conv_bias")
        yield Row(f"{theirs}.score_lowres", "keypoint/kps_score_lowres", "conv_transpose_bias")


def proposals(model: FasterRCNN | ProposalNetwork) -> Iterator[Row]:
    """Yields the layers of the backbone and of the first stage."""
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


def _box_head(model: FasterRCNN) -> Iterator[Row]:
    """Yields the layers of the second stage."""
    head, classes = model.head, model.num_classes
    if isinstance(head.body, ResNetStage):
        yield from _stage("roi_heads.res5", f"head/body/conv{head.body.stage}", head.body.blocks)
    for i in range(len(head.hidden)):
        flat = (model.pyramid.width, head.pool.size, head.pool.size) if i == 0 else None
        yield Row(f"roi_heads.box_head.fc{i + 1}", f"head/fc{i + 6}", "dense_bias", flat)
    # The background is their last class and our first; they have no boxes or masks of it.
    predictor = "roi_heads.box_predictor"
    pick = Pick((classes + 1,), 0, (classes, *range(classes)))
    yield Row(f"{predictor}.cls_score", "head/cls_score", "dense_bias", pick=pick)
    pick = Pick((classes, 4), 0, (-1, *range(classes)))
    yield Row(f"{predictor}.bbox_pred", "head/bbox_pred", "dense_bias", pick=pick)


def _mask(head: MaskHead, classes: int) -> Iterator[Row]:
    """Yields the layers of the mask head."""
    for i in range(1, len(head.widths) + 1):
        yield Row(f"roi_heads.mask_head.mask_fcn{i}", f"mask/mask_fcn{i}", "conv_bias")
    yield Row("roi_heads.mask_head.deconv", "mask/conv5_mask", "conv_transpose_bias")
    pick = Pick((classes,), 0, (-1, *range(classes)))
    theirs = "roi_heads.mask_head.predictor"
    yield Row(theirs, "mask/mask_fcn_logits", "conv_bias", pick=pick)


def retinanet(model: RetinaNet) -> Iterator[Row]:
    """Yields the layers of RetinaNet on R50-FPN and R101-FPN, whose P6 is made from C5."""
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


def backbone(model: nn.Module) -> Iterator[Row]:
    """Yields the layers of a ResNet that was trained on ImageNet: R-50.pkl, R-101.pkl.

    Its last stage goes to the second stage of an R-CNN without a pyramid.
    """
    stages = tuple(model.backbone.stages)
    yield from _conv_norm("stem.conv1", "backbone/conv1")
    for stage, blocks in enumerate(stages, start=2):
        yield from _stage(f"res{stage}", f"backbone/conv{stage}", blocks)
    last = len(stages) + 2
    if isinstance(model, RFCN) and isinstance(model.score_maps.body, ResNetStage):
        body = model.score_maps.body
        yield from _stage(f"res{last}", f"score_maps/body/conv{body.stage}", body.blocks)
    elif isinstance(model, FasterRCNN | FastRCNN) and isinstance(model.head.body, ResNetStage):
        body = model.head.body
        yield from _stage(f"res{last}", f"head/body/conv{body.stage}", body.blocks)
    elif len(stages) == 3:  # DeepMask's: the file's last stage goes unused
        yield from _stage("res5", "backbone/conv5", 3)
    if isinstance(model, Classifier) and isinstance(model.head, PoolHead):
        yield Row("linear", "head/fc", "dense_bias")


def has_backbone(model: nn.Module) -> bool:
    """Returns True on one ResNet of bottlenecks with batch norm, without tweaks."""
    has_two = isinstance(model, FasterRCNN) and model.rpn_backbone is not None
    return not has_two and _is_plain(model.backbone)


def has_rcnn(model: FasterRCNN) -> bool:
    """Returns True where a ResNet without tweaks serves both stages."""
    shares = model.rpn_backbone is None and model.head.class_specific
    has_norms = isinstance(model.mask, MaskHead) and model.mask.normalized
    is_first_form = not model.head.convs and not has_norms and _is_first_form(model)
    return shares and is_first_form and _is_plain(model.backbone)


def has_proposals(model: ProposalNetwork) -> bool:
    """Returns True on a ResNet without tweaks."""
    return _is_first_form(model) and _is_plain(model.backbone)


def has_retinanet(model: RetinaNet) -> bool:
    """Returns True on a ResNet without tweaks, no norms in the subnets."""
    return model.layers.norm == "none" and _is_plain(model.backbone)


def _is_first_form(model: FasterRCNN | ProposalNetwork) -> bool:
    """Returns True for one convolution in the RPN, and no norms in the pyramid."""
    pyramid = model.pyramid
    return model.rpn.depth == 1 and not (isinstance(pyramid, FPN) and pyramid.normalized)


def _is_plain(backbone: nn.Module) -> bool:
    """Returns True for a ResNet of bottlenecks with batch norm, without tweaks."""
    if not is_plain_resnet(backbone):
        return False
    return backbone.block == "bottleneck" and backbone.layers.norm in BATCH_NORMS


def _backbone(model: FasterRCNN | ProposalNetwork | RetinaNet) -> Iterator[Row]:
    """Yields the layers of the backbone and of the pyramid on it."""
    pyramid = model.pyramid
    body = "backbone.bottom_up" if isinstance(pyramid, FPN) else "backbone"
    yield from _conv_norm(f"{body}.stem.conv1", "backbone/conv1")
    for stage, blocks in enumerate(model.backbone.stages, start=2):
        yield from _stage(f"{body}.res{stage}", f"backbone/conv{stage}", blocks)
    if not isinstance(pyramid, FPN):
        return
    for name in pyramid.endpoints:
        level = name.removeprefix("conv").removesuffix("_x")
        for kind in ("lateral", "output"):
            yield Row(f"backbone.fpn_{kind}{level}", f"pyramid/{kind}_{name}", "conv_bias")
    if pyramid.extra == "p6p7":
        for name in ("p6", "p7"):
            yield Row(f"backbone.top_block.{name}", f"pyramid/{name}", "conv_bias")


def _stage(theirs: str, ours: str, blocks: int) -> Iterator[Row]:
    """Yields a stage of bottlenecks."""
    for i, names in residual_layers(blocks, "bottleneck"):
        for name in names:
            yield from _conv_norm(f"{theirs}.{i}.{name}", f"{ours}_{i + 1}/{name}")


def _conv_norm(theirs: str, ours: str) -> Iterator[Row]:
    """Yields a convolution and the norm that it holds."""
    yield from conv_norm(theirs, f"{theirs}.norm", ours)


def _anchor_order(part: RPN | RetinaNet) -> tuple[int, ...]:
    """Returns their number of each of our anchors in a cell.

    They go by size first, we by ratio.
    """
    sizes, ratios = len(part.anchor_sizes[0]), len(part.anchor_ratios)
    return tuple(s * ratios + r for r in range(ratios) for s in range(sizes))
