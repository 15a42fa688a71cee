"""Which shapes are in the image, of any number: multi-label classification on a laptop.

data     one to three of eight shapes per image, 64×64 halved to 32×32, made from a seed
measure  `eval/map`, mean over classes of the 11-point average precision of VOC 2007
cost     a few minutes on two CPU cores
run      python launch.py --config experiments/multilabel_shapes.py
smoke    python launch.py --config experiments/multilabel_shapes.py:smoke

The small twin of `resnet50_voc07_multilabel.py`, from scratch.
"""

from experiments import embedded, quickstart
from experiments.resnet50_voc07_multilabel import multilabel
from vision_jax import data
from vision_jax.config import arguments, node

CLASSES = 8


def get_config(arg=""):
    given = arguments(arg, smoke=False)
    config = quickstart.get_config()
    if given.smoke:
        embedded.smoke(config, size=32)
    for part in (config.train, config.eval):
        part.source.name = "shapes/seg64"
        if not given.smoke:
            part.transforms = (node(data.Resize, size=32),)
    multilabel(config, CLASSES)
    if not given.smoke:
        config.epochs = 16.0
    config.baselines = {}
    return config
