"""Does a deeper net train worse? Depth × {plain, residual}.

lecture  UBC CPSC 532L, lecture 5 and KTH DD2424, lecture 7: plain and residual nets
paper    He et al., "Deep Residual Learning for Image Recognition", 2015, section 4.2 and figure 6:
         on CIFAR-10 the training error of plain nets rises from 20 to 56 layers, that of residual
         nets falls
cost     full: 2 × 4 × 3 runs of 64,000 steps; twin: 2 × 2 × 4 seeds of 300 steps
regime   6,000 shapes of 32×32 pixels, 300 steps of 32 images; 8 and 32 layers, 4 to 16 channels,
         measured on training images; AdamW, whose seeds differ less than SGD's
run      python launch.py --config experiments/sweeps/plain_vs_residual.py --sweep
twin     python launch.py --config experiments/sweeps/plain_vs_residual.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/plain_vs_residual.py:smoke

The twin asks the same on the embedded shapes, with narrower nets of 8 and 32 layers, and measures
on training images, since training is the question.
"""

from experiments import resnet_cifar10
from experiments.shared import embedded
from vision_jax.config import arguments
from vision_jax.report import Claim

FULL, TWIN = (20, 32, 44, 56), (8, 32)  # layers
SEEDS = 4  # the twin's
BLOCKS, RESIDUAL = "task.model.backbone.blocks", "task.model.backbone.residual"


def get_config(arg=""):
    given = arguments(arg, smoke=False, twin=False)
    config = resnet_cifar10.get_config("smoke" if given.smoke else "")
    config.expect = None
    if given.twin:
        embedded.twin(config, steps=300, batch=32)
        config.task.model.backbone.width = 4
        config.task.model.head.num_classes = embedded.CLASSES
        config.eval.source.split = "train[:1000]"
    return config


def sweep(add, argument=""):
    depths = TWIN if "twin" in argument else FULL
    for depth in depths:
        for residual in (False, True):
            name = f"{'residual' if residual else 'plain'}{depth}"
            changes = {BLOCKS: (depth - 2) // 6, RESIDUAL: residual}
            embedded.of_seeds(add, name, "twin" in argument, SEEDS, **changes)


def claims(argument=""):
    shallow, *_, deep = ((depth - 2) // 6 for depth in (TWIN if "twin" in argument else FULL))
    scale = "20 against 56 layers, CIFAR-10, 64,000 steps"
    plain, residual = {RESIDUAL: False}, {RESIDUAL: True}
    return (
        Claim(
            "the deeper plain net ends with a higher training loss than the shallower one",
            "eval/loss",
            higher={BLOCKS: deep, **plain},
            lower={BLOCKS: shallow, **plain},
            scale=scale,
        ),
        Claim(
            "the deeper residual net ends with a lower training loss than the deeper plain one",
            "eval/loss",
            higher={BLOCKS: deep, **plain},
            lower={BLOCKS: deep, **residual},
            scale=scale,
        ),
        Claim(
            "the deeper residual net ends with a lower training loss than the shallower one",
            "eval/loss",
            higher={BLOCKS: shallow, **residual},
            lower={BLOCKS: deep, **residual},
            scale=scale,
        ),
    )
