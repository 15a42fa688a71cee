"""Which shapes are in the image, of any number: multi-label classification on a laptop.

data     one to three of eight shapes per image, 64×64, made from a seed
measure  `eval/map`, mean over classes of the 11-point average precision of VOC 2007
expect   0.75 held out (0.813 was measured)
cost     2 minutes on one CPU core
run      python launch.py --config experiments/multilabel_shapes.py
smoke    python launch.py --config experiments/multilabel_shapes.py:smoke

The small twin of `resnet50_voc07_multilabel.py`, from scratch.
"""

from experiments import quickstart
from experiments.resnet50_voc07_multilabel import multilabel
from experiments.shared import embedded
from vision_jax import models
from vision_jax.config import arguments, node
from vision_jax.training import Expect

CLASSES = 8


def get_config(arg=""):
    given = arguments(arg, smoke=False)
    config = quickstart.get_config()
    if given.smoke:
        embedded.smoke(config, size=32)
    else:
        config.task.model.backbone = node(
            models.ResNet, stages=(1, 1, 1), block="basic", width=32, stem="deep"
        )
        config.train.batch_size, config.epochs = 32, 16.0
    for part in (config.train, config.eval):
        part.source.name = "shapes/seg64"
    multilabel(config, CLASSES)
    config.baselines = {}
    if not given.smoke:
        config.expect = node(Expect, metric="eval/map", value=0.75, source="this demo's own bar")
    return config
