"""Does a deeper net train worse? Depth × {plain, residual}.

lecture  UBC CPSC 532L, lecture 5 and KTH DD2424, lecture 7: plain and residual nets
paper    He et al., "Deep Residual Learning for Image Recognition", 2015, section 4.2 and figure 6:
         on CIFAR-10 the training error of plain nets rises from 20 to 56 layers, that of residual
         nets falls
cost     full: 2 × 4 × 3 runs of 64,000 steps; twin: 2 × 2 × 3 runs of 400 steps
regime   6,000 shapes of 32×32 pixels, 400 steps of 64 images; 8 and 44 layers, 8 to 32 channels,
         measured on training images
run      python launch.py --config experiments/sweeps/plain_vs_residual.py --sweep
twin     python launch.py --config experiments/sweeps/plain_vs_residual.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/plain_vs_residual.py:smoke

The twin asks the same on the embedded shapes, with narrower nets of 8 and 44 layers, and measures
on training images, since training is the question.
"""

from experiments import resnet_cifar10
from vision_jax import data
from vision_jax.config import arguments, node
from vision_jax.report import Claim
from vision_jax.training import optimizer, schedule

FULL, TWIN = (20, 32, 44, 56), (8, 44)  # layers
BLOCKS, RESIDUAL = "task.model.backbone.blocks", "task.model.backbone.residual"


def get_config(arg=""):
    given = arguments(arg, smoke=False, twin=False)
    config = resnet_cifar10.get_config("smoke" if given.smoke else "")
    config.expect = None
    if given.twin:
        config.task.model.backbone.width = 8
        config.task.model.head.num_classes = 8
        config.task.augment = ()
        shapes = node(data.TFDS, name="shapes/cls32", split="train")
        config.train = node(data.Train, source=shapes, batch_size=64)
        some = node(data.TFDS, name="shapes/cls32", split="train[:1000]")
        config.eval = node(data.Eval, source=some, batch_size=250)
        config.metrics.confusion.num_classes = 8
        config.optimizer.schedule = node(
            schedule.WarmUp,
            then=node(schedule.Cosine, value=0.1),
            length=0.1,
            unit="fraction",
        )
        config.optimizer.rule = node(optimizer.Sgd)
        config.steps, config.log_every, config.eval_every = 400, 20, 400
    return config


def sweep(add, argument=""):
    depths = TWIN if "twin" in argument else FULL
    for depth in depths:
        for residual in (False, True):
            for seed in range(3):
                kind = "residual" if residual else "plain"
                add(
                    f"{kind}{depth}-seed{seed}",
                    **{BLOCKS: (depth - 2) // 6, RESIDUAL: residual, "seed": seed},
                )


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
