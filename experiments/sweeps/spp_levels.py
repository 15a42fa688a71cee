"""One level of bins or a pyramid? SPP-net's classifier, whose last map is pooled by {1}, {6}, all.

paper    He et al., "Spatial Pyramid Pooling in Deep Convolutional Networks for Visual
         Recognition", 2014, section 3.1 and table 2: a top-1 error of 34.98 % with the pyramid on
         ZF-5, 35.99 % without (unchecked)
cost     full: 3 × 3 trainings on ImageNet; twin: 3 × 8 seeds of 300 steps
regime   600 shapes of 32×32 pixels, 300 steps of 32 images; 8, 16 and 32 channels, maps of 8×8. The
         shapes lie in the middle, so that levels that do not depend on the place add little
run      python launch.py --config experiments/sweeps/spp_levels.py --sweep
twin     python launch.py --config experiments/sweeps/spp_levels.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/spp_levels.py:smoke
"""

from experiments import spp_net_imagenet
from experiments.shared import embedded, regions
from vision_jax import models
from vision_jax.config import arguments, node
from vision_jax.models.classifiers.spp_net import zf5
from vision_jax.report import Claim

LEVELS = "task.model.head.levels"
PYRAMID, GRID, ONE = (6, 3, 2, 1), (6,), (1,)
IMAGES, SEEDS = 600, 8  # the twin's


def get_config(arg=""):
    given = arguments(arg, smoke=False, twin=False)
    config = spp_net_imagenet.get_config("sizes=1,smoke" if given.smoke else "sizes=1")
    classes, backbone, hidden = 1000, zf5(), (4096, 4096)
    if given.twin or given.smoke:
        classes, backbone = embedded.CLASSES, regions.small_backbone(8, pool=None)
        hidden = (64, 64)
    head = node(models.SPPHead, num_classes=classes, hidden=hidden)
    config.task.model = node(models.Classifier, backbone=backbone, head=head)
    if given.twin:
        embedded.twin(config, steps=300, images=IMAGES, batch=32)
        config.task.model.head.update(std=0.05, dropout=0.2)
    return config


def sweep(add, argument=""):
    for levels in (ONE, GRID, PYRAMID):
        name = f"levels{'-'.join(map(str, levels))}"
        embedded.of_seeds(add, name, "twin" in argument, SEEDS, **{LEVELS: levels})


def claims(argument=""):
    return (
        Claim(
            "a pyramid classifies better than its finest level alone",
            "eval/top1",
            higher={LEVELS: PYRAMID},
            lower={LEVELS: GRID},
            published="65.02 against 64.01 % (table 2)",
        ),
        Claim(
            "a pyramid classifies better than one maximum of the map",
            "eval/top1",
            higher={LEVELS: PYRAMID},
            lower={LEVELS: ONE},
        ),
    )
