"""Weights of github.com/vladmandic/face-api: two detectors of faces, and dlib's embedder of them.

The npm package @vladmandic/face-api (MIT) ships them as TensorFlow.js's manifests and `.bin` files.
Names are those of the files, with '.weight' and '.bias' and in torch's layouts. TensorFlow folded
the norms after most convolutions into them; those that it left, after convolutions of each channel
alone, and dlib's, which are a scale and a bias, are folded when a file is read, so that networks
have `layers=NO_NORM`.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vision_jax.models.classifiers.darknet import Darknet
from vision_jax.models.classifiers.mobilenet_v1 import BLOCKS, MobileNetV1Backbone
from vision_jax.models.detectors.ssd import SSD
from vision_jax.models.detectors.yolo_v2 import YOLOv2
from vision_jax.models.embedders.embedder import Embedder
from vision_jax.weights import tfjs
from vision_jax.weights.engine import Pick, Row

_EPS = 0.0010000000474974513  # of the norms, which the files do not hold
_NORM = "/BatchNorm/moving_variance"
_SCALE = "/scale/weights"
_LINEAR = "fc"  # dlib's last layer
_PARTS = {
    "weights": ".weight",
    "depthwise_weights": ".weight",
    "filters": ".weight",
    "depthwise_filter": "/depthwise.weight",
    "pointwise_filter": ".weight",
    "biases": ".bias",
    "bias": ".bias",
    "convolution_bn_offset": ".bias",
}
_XY_OF_YX = (1, 0, 3, 2)  # TensorFlow's boxes have y first


def read_manifest(path: Path) -> dict[str, np.ndarray]:
    """Returns the weights of convolutions; constants of TensorFlow's graph are left out.

    Arrays of other networks keep their names and layouts.

    Raises:
      UserError: see `tfjs.read_manifest`.
    """
    raw = tfjs.read_manifest(path)
    raw = {name: value for name, value in raw.items() if value.dtype == np.float32 and value.shape}
    raw.pop("Output/extra_dim", None)  # SSD's default boxes
    for name in [name for name in raw if name.endswith(_NORM)]:
        _fold(raw, name.removesuffix(_NORM))
    for name in [name for name in raw if name.endswith(_SCALE)]:
        _fold_scale(raw, name.removesuffix(_SCALE))
    if _LINEAR in raw and raw[_LINEAR].ndim == 2:
        raw[f"{_LINEAR}.weight"] = raw.pop(_LINEAR).T
    state: dict[str, np.ndarray] = {}
    for name, value in raw.items():
        layer, _, part = name.rpartition("/")
        if value.ndim == 4:
            value = value.transpose((2, 3, 0, 1) if part.startswith("depthwise") else (3, 2, 0, 1))
        state[layer + _PARTS[part] if part in _PARTS else name] = value
    return state


def _fold(raw: dict[str, np.ndarray], layer: str) -> None:
    """Folds a norm into the convolution before it, in float64; leaves one that has none."""
    names = [f"{layer}/BatchNorm/{part}" for part in ("gamma", "beta", "moving_mean")]
    names = [f"{layer}/depthwise_weights", *names, layer + _NORM]
    if any(name not in raw for name in names):
        return
    kernel, gamma, beta, mean, variance = (raw.pop(name).astype(np.float64) for name in names)
    factor = gamma / np.sqrt(variance + _EPS)
    raw[f"{layer}/depthwise_weights"] = (kernel * factor[:, None]).astype(np.float32)
    raw[f"{layer}/bias"] = (beta - mean * factor).astype(np.float32)


def _fold_scale(raw: dict[str, np.ndarray], layer: str) -> None:
    """Folds a scale and a bias into the convolution before them; leaves those that have none."""
    names = [f"{layer}/{part}" for part in ("conv/filters", "conv/bias", "scale/biases")]
    if any(name not in raw for name in names):
        return
    kernel, bias, shift = (raw[name].astype(np.float64) for name in names)
    factor = raw.pop(layer + _SCALE).astype(np.float64)
    raw[names[0]] = (kernel * factor).astype(np.float32)
    del raw[names[2]]
    raw[names[1]] = (bias * factor + shift).astype(np.float32)


def ssd(model: SSD) -> Iterator[Row]:
    """Yields the layers of ssd_mobilenetv1_model."""
    yield Row("MobilenetV1/Conv2d_0_pointwise", "backbone/conv1/conv", "conv_bias")
    for i in range(1, len(BLOCKS) + 1):
        for part in ("depthwise", "pointwise"):
            path = f"backbone/block{i}/{part}/conv"
            yield Row(f"MobilenetV1/Conv2d_{i}_{part}", path, "conv_bias")
    added = [(k, f"conv{k // 2 + 8}_{k % 2 + 1}") for k in range(2 * len(model.extras))]
    for k, name in added:
        yield Row(f"Prediction/Conv2d_{k}_pointwise", f"{name}/conv", "conv_bias")
    maps = (*model.feature_endpoints, *(name for k, name in added if k % 2))
    for k, (name, count) in enumerate(zip(maps, model.default_boxes.boxes_per_cell, strict=True)):
        predictor, pick = f"Prediction/BoxPredictor_{k}", Pick((count, 4), 1, _XY_OF_YX)
        yield Row(f"{predictor}/BoxEncodingPredictor", f"{name}_box", "conv_bias", pick=pick)
        yield Row(f"{predictor}/ClassPredictor", f"{name}_class", "conv_bias")


def has_ssd(model: SSD) -> bool:
    """Returns True on a MobileNet v1 that pads as TensorFlow does, with all norms folded."""
    backbone = model.backbone
    is_mobilenet = isinstance(backbone, MobileNetV1Backbone) and backbone.padding == "same"
    return is_mobilenet and backbone.layers.norm == model.layers.norm == "none" and not model.fc


def yolo(model: YOLOv2) -> Iterator[Row]:
    """Yields the layers of tiny_face_detector_model.

    It has no scores of classes: with one class they mean nothing, and are 0.
    """
    yield Row("conv0", "backbone/conv1_1/conv", "conv_bias")
    for i in range(1, 6):
        path = f"backbone/conv{i + 1}_1"
        yield Row(f"conv{i}/depthwise", f"{path}/depthwise", "conv")
        yield Row(f"conv{i}", f"{path}/pointwise/conv", "conv_bias")
    pick = Pick((len(model.priors), 5), 1, (0, 1, 2, 3, 4, -1))
    yield Row("conv8", "head/predict", "conv_bias", pick=pick)


def has_yolo(model: YOLOv2) -> bool:
    """Returns True on a separable Darknet of six convolutions without norms, for one class."""
    backbone = model.backbone
    is_separable = isinstance(backbone, Darknet) and backbone.separable
    is_small = is_separable and [len(convs) for convs in backbone.stages] == [1] * 6 + [0]
    beside = model.convs or model.passthrough or model.merged
    return is_small and not beside and backbone.layers.norm == "none" and model.num_classes == 1


def dlib_resnet(model: Embedder) -> Iterator[Row]:
    """Yields the layers of face_recognition_model."""
    yield Row("conv32_down/conv", "backbone/conv1/conv", "conv_bias")
    for number, (features, blocks) in enumerate(model.backbone.stages, start=2):
        last = number == len(model.backbone.stages) + 1
        for k in range(1, blocks + 1):
            name = f"conv{features}_{k if number == 2 else k - 1}"
            if number > 2 and k == 1:
                name = f"conv{features}_down{'_out' * last}"
            for part in ("conv1", "conv2"):
                path = f"backbone/conv{number}_{k}/{part}/conv"
                yield Row(f"{name}/{part}/conv", path, "conv_bias")
    yield Row("fc", "head/fc", "dense")
    if model.head.num_classes:
        yield Row("logits", "head/logits", "dense_bias")


def has_dlib_resnet(model: Embedder) -> bool:
    """Returns True where there are no norms, and no bias in the head."""
    return model.backbone.layers.norm == "none" and not model.head.use_bias
