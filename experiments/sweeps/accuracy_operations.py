"""Accuracy against operations, with circles as large as the parameters: `bubbles.png`.

lecture  UBC CPSC 532L, lecture 5: comparing complexity; KTH DD2424, lecture 7: accuracy against
         network size
paper    Canziani et al., "An Analysis of Deep Neural Network Models for Practical Applications",
         2016, figure 2
cost     full: 10 networks by 3 ImageNet trainings; twin: 5 × 3 runs of 300 steps
regime   6,000 shapes of 32×32 pixels, 300 steps of 64 images, one recipe for all: nets of 19 to 248
         thousand parameters that are still learning at the end
run      python launch.py --config experiments/sweeps/accuracy_operations.py --sweep
twin     python launch.py --config experiments/sweeps/accuracy_operations.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/accuracy_operations.py:smoke

`net` is an experiment's name: each network trains by its own recipe. The twin's are small ones
under one recipe, on shapes. Operations are multiply-adds of one image, parameters include heads
that only training uses.
"""

import importlib

import jax
import jax.numpy as jnp

from experiments import quickstart
from experiments.shared import embedded
from vision_jax import models
from vision_jax.config import UserError, arguments, build, node
from vision_jax.inspect import summarize
from vision_jax.models.classifiers.lenet import LeNetBackbone, LeNetHead
from vision_jax.report import Claim

NETS = {  # by experiment, and its argument
    "alexnet": "form=2014",
    "vgg11": "",
    "vgg16": "",
    "googlenet": "",
    "inception_v3": "",
    "resnet18": "",
    "resnet50": "",
    "resnet152": "",
    "mobilenet_v1": "",
    "mobilenet_v2": "",
}
BUBBLES = ("multiply_adds", "eval/top1", "parameters")


def _small():
    def cifar(blocks, width):
        backbone = node(models.ResNetCifar, blocks=blocks, width=width)
        return node(models.Classifier, backbone=backbone, head=node(models.PoolHead, num_classes=8))

    return {
        "lenet": node(
            models.Classifier,
            backbone=node(LeNetBackbone, act="relu", pool="max", padding=2),
            head=node(LeNetHead, num_classes=8, act="relu"),
        ),
        "vgg": node(
            models.vgg,
            configuration="A",
            num_classes=8,
            width=8,
            hidden=(256,),
            grid=1,
            dropout=0.0,
        ),
        "resnet8": cifar(1, 8),
        "resnet14": cifar(2, 12),
        "mobilenet": node(models.MobileNetV2, num_classes=8, multiplier=0.25),
    }


def get_config(arg=""):
    given = arguments(arg, net="", smoke=False, twin=False)
    known = _small() if given.twin else NETS
    net = given.net or next(iter(known))
    if net not in known:
        raise UserError(f"net={given.net}: use one of {', '.join(known)}")
    if given.smoke:
        return quickstart.get_config("smoke")
    if not given.twin:
        return importlib.import_module(f"experiments.{net}").get_config(NETS[net])
    config = embedded.twin(quickstart.get_config(), steps=300, rate=2e-3)
    config.task.model = known[net]
    config.baselines = {}
    return config


def extras(config):
    """Operations and parameters of a run's network, at the size of its evaluation."""
    sides = [part.size for part in config.eval.transforms if "size" in part] or [32]
    image = jax.ShapeDtypeStruct((1, sides[-1], sides[-1], 3), jnp.float32)
    found = summarize(build(config.task).model, image)
    return {
        "multiply_adds": float(found.multiply_adds),
        "parameters": float(found.parameters),
    }


def _argument(net, argument):
    return f"net={net}" + (",twin" if "twin" in argument else "")


def sweep(add, argument=""):
    for net in _small() if "twin" in argument else NETS:
        for seed in range(3):
            add(f"{net}-seed{seed}", argument=_argument(net, argument), seed=seed)


def claims(argument=""):
    if "twin" in argument:
        text, higher, lower = "more layers of a kind are more accurate", "resnet14", "resnet8"
    else:
        text, higher, lower = "152 layers beat VGG-16, at fewer operations", "resnet152", "vgg16"
    higher, lower = ({"argument": _argument(net, argument)} for net in (higher, lower))
    return (Claim(text, "eval/top1", higher=higher, lower=lower, scale="ImageNet"),)
