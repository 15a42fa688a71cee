"""The work of `detect` in PyTorch: torchvision's detectors, `rfcn_torch` and `yolo_torch`.

Weights are drawn; the last layers are then scaled so that scores spread about as those of trained
networks do, with some hundreds to thousands of candidates above the thresholds.
"""

import pathlib
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from benchmarks.work import Work, rfcn_torch, theirs
from benchmarks.work.detect import FURTHER, TWO_STAGES
from benchmarks.work.inputs import (
    DETECTION_RATE,
    YOLO_CLASSES,
    detector_labels,
    normalisation,
    scene,
)
from benchmarks.work.yolo_torch import COUNT, YOLOv3

_MOST = dict.fromkeys(TWO_STAGES, 100) | {"retinanet": 300, "ssd300": 200, "yolov3": COUNT}
_TRAINED_STAGES = 3  # of the backbone


def infer(
    shared: pathlib.Path, network: str, batch_size: int, height: int, width: int, steps: int
) -> Work:
    model, image, _ = _setting(shared, network, batch_size, height, width)
    heads = _Heads(network, model)

    def outputs(found: list[dict[str, torch.Tensor]]) -> dict[str, np.ndarray]:
        most = _MOST[network]
        arrays = heads.arrays() | {
            "boxes": _sorted([one["boxes"] for one in found], most),
            "scores": _sorted([one["scores"] for one in found], most),
        }
        if "masks" in found[0]:
            pixels = [one["masks"].sum((1, 2, 3)) for one in found]
            arrays["masks"] = _sorted(pixels, most)
        if "keypoints" in found[0]:
            places = [one["keypoints"][..., :2].sum((0, 1)).numpy() for one in found]
            arrays["places"] = np.stack(places)
            arrays["peaks"] = _sorted([one["keypoints_scores"] for one in found], most)
        return arrays

    return theirs.inference(lambda: model(_listed(image)), batch_size, steps, outputs)


def train(
    shared: pathlib.Path,
    network: str,
    batch_size: int,
    height: int,
    width: int,
    steps: int,
    compiled: bool = False,
    amp: bool = False,
    device: str = "cpu",
) -> Work:
    """The full training step.

    Args:
      shared, network, batch_size, height, width, steps: as of `detect.train`.
      compiled: whether by torch.compile, the model as a whole.
      amp: products and convolutions in bfloat16.
      device: 'cpu' or 'cuda', where the batch lies too.
    """
    model, image, targets = _setting(shared, network, batch_size, height, width, device)
    outputs = None
    if network in TWO_STAGES:
        with torch.inference_mode(), theirs.autocast(device, amp):
            heads = _Heads(network, model)
            model(_listed(image))
        compared = heads.arrays()
        heads.remove()

        def outputs() -> dict[str, np.ndarray]:
            return compared

    model.train()
    run = theirs.compiled(model, compiled)

    def loss() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        with theirs.autocast(device, amp):
            terms = run(_listed(image), targets)
        return sum(terms.values()), terms

    return theirs.training(model, loss, batch_size, steps, DETECTION_RATE, outputs, device)


def make(network: str, height: int, width: int) -> nn.Module:
    """The network with drawn weights, which takes images of this size as they are."""
    from torchvision.models import detection, resnet50
    from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
    from torchvision.ops import FrozenBatchNorm2d
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7

    mean, std = normalisation(network)
    labels = detector_labels(network)
    size = {"min_size": min(height, width), "max_size": max(height, width)}

    def backbone(dilated: bool = False) -> nn.Module:
        dilate = [False, False, dilated]
        made = resnet50(
            weights=None, norm_layer=FrozenBatchNorm2d, replace_stride_with_dilation=dilate
        )
        for name, norm in made.named_modules():
            if name.endswith("bn3"):  # nothing is divided by what the branches add up to
                norm.weight.mul_(0.2)
        return made

    def pyramid(**options: object) -> nn.Module:
        return _resnet_fpn_extractor(backbone(), _TRAINED_STAGES, **options)

    def retinanet() -> nn.Module:
        top = LastLevelP6P7(256, 256)
        levels = pyramid(returned_layers=[2, 3, 4], extra_blocks=top)
        return detection.RetinaNet(levels, labels, **size)

    def keypoint_rcnn() -> nn.Module:
        model = detection.KeypointRCNN(pyramid(), labels, **size)
        # The loss takes a view that channels last does not have.
        predictor = model.roi_heads.keypoint_predictor
        predictor.register_forward_hook(lambda module, given, found: found.contiguous())
        return model

    makers: dict[str, Callable[[], nn.Module]] = {
        "faster_rcnn": lambda: detection.FasterRCNN(pyramid(), labels, **size),
        "mask_rcnn": lambda: detection.MaskRCNN(pyramid(), labels, **size),
        "keypoint_rcnn": keypoint_rcnn,
        "rfcn": lambda: rfcn_torch.network(backbone(dilated=True), labels, size),
        "retinanet": retinanet,
        "ssd300": lambda: detection.ssd300_vgg16(
            weights=None, weights_backbone=None, num_classes=labels
        ),
        "yolov3": lambda: YOLOv3(mean, std),
    }
    return makers[network]().to(memory_format=torch.channels_last)


def _setting(
    shared: pathlib.Path,
    network: str,
    batch_size: int,
    height: int,
    width: int,
    device: str = "cpu",
):
    """The model in evaluation mode, the images, and the targets."""
    theirs.prepare(device)
    model = make(network, height, width).to(device)
    given = scene(network, batch_size, height, width)
    image = torch.from_numpy(given["image"]).permute(0, 3, 1, 2).to(device)
    targets = [
        {
            "boxes": torch.from_numpy(given["boxes"][row]).to(device),
            "labels": torch.from_numpy(given["labels"][row]).long().to(device),
        }
        for row in range(batch_size)
    ]
    if network in FURTHER:
        name = FURTHER[network]
        for target, objects in zip(targets, given[name], strict=True):
            bits = objects.dtype == bool  # torchvision resizes masks of bytes alone
            objects = torch.from_numpy(objects.astype(np.uint8) if bits else objects)
            target[name] = objects.to(device)
    if network == "yolov3":
        theirs.draw(model)
        theirs.measure_statistics(model, lambda: model(_listed(image), targets))
    _spread(network, model.eval(), image)
    theirs.hand_over(model.numbered() if network == "yolov3" else model.state_dict(), shared)
    return model, image, targets


def _listed(image: torch.Tensor) -> list[torch.Tensor]:
    """As these detectors take images: floats from 0 to 1."""
    return list((image / 255).unbind())


def _spread(network: str, model: nn.Module, image: torch.Tensor) -> None:
    """Gives the outputs of last layers a deviation, and biases that set objects apart."""
    if network in TWO_STAGES:
        last = [(model.rpn.head.cls_logits, 2.0), (model.rpn.head.bbox_pred, 0.2)]
        if network == "rfcn":  # whose scores are means of 49 votes
            maps = model.roi_heads.box_roi_pool
            last += [(maps.cls_score, 7.0), (maps.bbox_pred, 3.5)]
        else:
            box = model.roi_heads.box_predictor
            last += [(box.cls_score, 1.0), (box.bbox_pred, 0.5)]
    elif network == "retinanet":
        last = [(model.head.classification_head.cls_logits, 0.5)]
        last += [(model.head.regression_head.bbox_reg, 0.2)]
    elif network == "ssd300":
        last = [(layer, 0.5) for layer in model.head.classification_head.module_list]
        last += [(layer, 0.5) for layer in model.head.regression_head.module_list]
    else:
        last = [(scale.predict, 2.0) for scale in model.head.scales]
    for layer, deviation in last:  # in order: later ones read what earlier ones choose
        seen: list[torch.Tensor] = []
        hook = layer.register_forward_hook(lambda m, given, out, seen=seen: seen.append(out))
        with torch.no_grad():
            model(_listed(image))
            spread = torch.cat([x.flatten() for x in seen]).std()
            layer.weight.mul_(deviation / spread)
        hook.remove()
    with torch.no_grad():
        if network == "ssd300":
            for layer in model.head.classification_head.module_list:
                layer.bias.view(-1, detector_labels(network))[:, 0] += 6
        if network == "yolov3":
            for scale in model.head.scales:
                bias = scale.predict.bias.view(3, 5 + YOLO_CLASSES)
                bias[:, 4] -= 8
                bias[:, 5:] -= 4


class _Heads:
    """Keeps what a model's head, or its region proposal network, returned last."""

    def __init__(self, network: str, model: nn.Module):
        self._network = network
        head = model.rpn.head if network in TWO_STAGES else model.head
        self._hook = head.register_forward_hook(self._keep)

    def arrays(self) -> dict[str, np.ndarray]:
        """Of every anchor, in our order; float32."""
        if self._network == "yolov3":
            found = torch.cat([x.flatten(1, 3) for x in self._found], 1)
            parts = {"box_deltas": found[..., :4], "objectness_logits": found[..., 4]}
            parts["class_logits"] = found[..., 5:]
            return {name: _array(part) for name, part in parts.items()}
        if self._network in TWO_STAGES:
            logits, deltas = self._found
            logits = [x.permute(0, 2, 3, 1).flatten(1) for x in logits]
            deltas = [x.permute(0, 2, 3, 1).reshape(len(x), -1, 4) for x in deltas]
            logits, deltas = torch.cat(logits, 1), torch.cat(deltas, 1)
        else:
            logits, deltas = self._found["cls_logits"], self._found["bbox_regression"]
        return {"class_logits": _array(logits), "box_deltas": _array(deltas)}

    def remove(self) -> None:
        """Keeps nothing any more, which takes memory and stops compilers."""
        self._hook.remove()
        self._found = None

    def _keep(self, module: nn.Module, given: object, found: object) -> None:
        self._found = found


def _array(x: torch.Tensor) -> np.ndarray:
    return x.float().cpu().numpy()


def _sorted(rows: list[torch.Tensor], most: int) -> np.ndarray:
    """Padded with zeros and sorted, each column by itself."""
    found = [np.pad(x.numpy(), [(0, most - len(x)), *[(0, 0)] * (x.ndim - 1)]) for x in rows]
    return np.sort(np.stack(found), 1)
