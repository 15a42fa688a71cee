"""The networks that have golden files, and how each is run like its reference."""

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tests.golden.seeded import Golden
from vision_jax import models
from vision_jax.weights.zoo.networks import on_resnet101

FOLDER = Path(os.environ.get("VISION_JAX_GOLDENS", Path(__file__).parents[1] / "golden"))
LOGITS = {"out": "logits"}
GOOGLENET = {
    **LOGITS,
    "logits": "logits",
    "aux_logits1": "aux_logits.0",
    "aux_logits2": "aux_logits.1",
}
SEGMENTER = {**LOGITS, "aux": "aux_logits.0"}


@dataclasses.dataclass(frozen=True)
class Case:
    """How to run a network like its reference.

    Attributes:
      model: makes the network.
      outputs: the reference's names of outputs, and ours.
      size: side of the images that the network was published for, at which operations are counted.
    """

    model: Callable[[], nn.Module]
    outputs: dict[str, str] = dataclasses.field(default_factory=lambda: LOGITS)
    size: int = 224


def vgg_cases():
    """Yields torchvision's VGG-11, 13, 16 and 19, each with and without batch norm."""
    networks = {"11": models.VGG11, "13": models.VGG13, "16": models.VGG16, "19": models.VGG19}
    for depth, network in networks.items():
        yield f"vgg{depth}", Case(network)
        yield f"vgg{depth}_bn", Case(functools.partial(network, layers=models.Layers()))


CASES = {
    "alexnet": Case(models.AlexNet2014),
    **dict(vgg_cases()),
    "googlenet": Case(models.GoogLeNet, GOOGLENET),
    "googlenet_transform_input": Case(
        functools.partial(models.GoogLeNet, transform_input=True), GOOGLENET
    ),
    "inception_v3": Case(
        models.InceptionV3, {**LOGITS, "logits": "logits", "aux_logits": "aux_logits.0"}, 299
    ),
    "resnet18": Case(models.ResNet18),
    "resnet34": Case(models.ResNet34),
    "resnet50": Case(models.ResNet50),
    "resnext50_32x4d": Case(models.ResNeXt50),
    "wide_resnet50_2": Case(models.WideResNet50),
    "resnet101": Case(models.ResNet101),
    "resnet152": Case(models.ResNet152),
    **{
        f"cifar_resnet{depth}": Case(functools.partial(models.CifarResNet, depth), size=32)
        for depth in (20, 32, 44, 56, 110)
    },
    **{
        f"timm_resnet{depth}d": Case(functools.partial(models.resnet_d, depth))
        for depth in (18, 34, 50, 101, 152)
    },
    **{
        f"timm_resnetv2_{depth}": Case(functools.partial(models.resnet_v2, depth))
        for depth in (50, 101, 152)
    },
    "fcn_resnet50": Case(models.FCNResNet50, SEGMENTER),
    "deeplabv3_resnet50": Case(models.DeepLabV3ResNet50, SEGMENTER),
    "fcn_resnet101": Case(lambda: on_resnet101(models.FCNResNet50()), SEGMENTER),
    "deeplabv3_resnet101": Case(lambda: on_resnet101(models.DeepLabV3ResNet50()), SEGMENTER),
    **{
        f"fcn{stride}s_vgg16": Case(functools.partial(models.fcn, "vgg16", stride, learn="all"))
        for stride in (32, 16, 8)
    },
    "segnet_vgg16": Case(functools.partial(models.segnet, 21, last="norm")),
    "mobilenet_v2": Case(models.MobileNetV2),
    "facenet_inception_resnet_v1": Case(models.InceptionResNetV1, {"out": "embedding"}, 160),
    "timm_darknet53": Case(functools.partial(models.Darknet53, slope=0.01), size=256),
    "timm_mobilenetv1_100": Case(models.MobileNetV1),
    "timm_mobilenetv2_100": Case(models.MobileNetV2),
    "timm_inception_v3": Case(functools.partial(models.InceptionV3, aux=False), size=299),
    "timm_vgg11": Case(models.VGG11),
}


# Files whose networks have a test of their own, since they are run in another way.
ELSEWHERE: frozenset[str] = frozenset(
    {
        "darknet_darknet19",
        "darknet_darknet53",
        "darknet_losses_yolov1",
        "darknet_losses_yolov2",
        "darknet_losses_yolov3",
        "darknet_yolov1",
        "darknet_yolov1-tiny",
        "darknet_yolov2",
        "darknet_yolov2-tiny-voc",
        "darknet_yolov2-voc",
        "darknet_yolov3",
        "darknet_yolov3-tiny",
        "detr_resnet50",
        "deepmask_losses",
        "deepmask_resnet50",
        "fasterrcnn_resnet50_fpn",
        "fasterrcnn_resnet50_fpn_v2",
        "fcos_resnet50_fpn",
        "gatys_vgg19_avg",
        "gatys_vgg19_max",
        "hf_detr_resnet50",
        "johnson_losses_vgg16",
        "johnson_style_paper_bn",
        "johnson_style_paper_in",
        "johnson_super_x4",
        "johnson_super_x8",
        "keypointrcnn_resnet50_fpn",
        "maskrcnn_resnet50_fpn",
        "maskrcnn_resnet50_fpn_v2",
        "mtcnn_onet",
        "mtcnn_pnet",
        "mtcnn_rnet",
        "retinanet_resnet50_fpn",
        "retinanet_resnet50_fpn_v2",
        "sharpmask_resnet50",
        "ssd300_vgg16",
        "ssd300_vgg16_original",
        "transformer_net",
        "yolov3",
        "yolov3_tiny",
    }
)


def files() -> list[Path]:
    """Lists the golden files of networks, whether we have the network or not."""
    networks = (p for p in FOLDER.rglob("*.npz") if p.parent.name not in ("ops", "eval", "real"))
    return sorted(p for p in networks if p.stem not in ELSEWHERE)


def without_dropout(model: nn.Module) -> nn.Module:
    """Switches a network's dropout off, since the references ran in training mode without."""
    parts = {}
    for name in ("head", "aux"):
        part = getattr(model, name, None)
        off = {field: 0.0 for field in ("dropout", "aux_dropout") if hasattr(part, field)}
        if off:
            parts[name] = part.clone(**off)
    return model.clone(**parts)


def inputs(golden: Golden) -> dict[str, dict[str, np.ndarray]]:
    """Returns each phase's ('eval', 'train') arrays; images NHWC."""
    phases = {phase: golden.inputs(phase) for phase in ("eval", "train") if phase in golden.meta}
    for arrays in phases.values():
        arrays["x"] = arrays["x"].transpose(0, 2, 3, 1)
    return phases


def as_dtype(arrays: dict[str, np.ndarray], dtype: Any) -> dict[str, jax.Array]:
    """Casts images to a dtype; labels stay what they are."""
    return {k: jnp.asarray(a, None if k == "y" else dtype) for k, a in arrays.items()}


def named(outputs: dict[str, Any], case: Case, name: str) -> jax.Array:
    """Returns our output for the reference's name, maps NCHW.

    The name of ours 'aux_logits.1' is an item of a tuple.
    """
    key, _, item = case.outputs[name].partition(".")
    output = outputs[key][int(item)] if item else outputs[key]
    return output.transpose(0, 3, 1, 2) if output.ndim == 4 else output


def parameters(golden: Golden, case: Case) -> int:
    """Counts the values in all of the network's parameters; nothing is computed."""
    shape = golden.meta["eval"]["inputs"]["x"]["shape"]
    image = jax.ShapeDtypeStruct([shape[i] for i in (0, 2, 3, 1)], jnp.float32)
    variables = jax.eval_shape(case.model().init, jax.random.key(0), image)
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
