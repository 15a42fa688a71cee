"""Stochastic depth: constant depth against the linear and the uniform rule.

lecture  UBC CPSC 532L, lecture 5: stochastic depth
paper    Huang et al., "Deep Networks with Stochastic Depth", 2016, section 4 and figure 8
cost     full: 3 × 3 runs of 500 epochs; twin: 3 × 3 runs of 300 steps
regime   1,000 shapes of 32×32 pixels, 300 steps of 64 images, 20 narrow layers, of which a part is
         left out at each step: short of what so thinned a net needs
run      python launch.py --config experiments/sweeps/stochastic_depth.py --sweep
twin     python launch.py --config experiments/sweeps/stochastic_depth.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/stochastic_depth.py:smoke

Full: ResNet-110 on CIFAR-10, where the paper reports an error of 5.25 % with the linear rule
against 6.41 % with constant depth. The twin: 20 narrow layers on 1,000 shapes, augmented.
"""

from experiments import stochastic_depth_cifar10 as parent
from experiments.shared import embedded
from vision_jax import tasks
from vision_jax.config import arguments, node
from vision_jax.report import Claim

RATE, RULE = "task.model.backbone.drop_path", "task.model.backbone.drop_rule"
KINDS = {"constant": (0.0, "linear"), "linear": (0.5, "linear"), "uniform": (0.5, "uniform")}


def get_config(arg=""):
    given = arguments(arg, smoke=False, twin=False)
    config = parent.get_config("smoke" if given.smoke else "")
    config.expect = None
    if given.twin:
        embedded.twin(config, steps=300, images=1000)
        config.task.augment = (node(tasks.augment.PadCrop), node(tasks.augment.Flip))
        config.task.model.backbone.update(blocks=3, width=8)
        config.task.model.head.num_classes = 8
    return config


def sweep(add, argument=""):
    for kind, (rate, rule) in KINDS.items():
        for seed in range(3):
            add(f"{kind}-seed{seed}", **{RATE: rate, RULE: rule, "seed": seed})


def claims(argument=""):
    constant, linear, uniform = ({RATE: a, RULE: b} for a, b in KINDS.values())
    scale = "110 layers, CIFAR-10, 500 epochs"
    return (
        Claim(
            "the linear rule beats constant depth",
            "eval/top1",
            higher=linear,
            lower=constant,
            scale=scale,
            published="error 5.25 against 6.41 %",
        ),
        Claim(
            "the linear rule beats the uniform one",
            "eval/top1",
            higher=linear,
            lower=uniform,
            scale=scale,
        ),
    )
