"""ZF-5 with spatial pyramid pooling on ImageNet, trained on images of two sizes.

paper    He et al., "Spatial Pyramid Pooling in Deep Convolutional Networks for Visual
         Recognition", 2014, section 3.1 and table 2
expect   top-1 of 65.40 % with sizes 224 and 180, 65.02 % with 224 alone, 64.01 % without a pyramid
         (the paper, unchecked, so not compared)
cost     70 epochs of 1.28 M images
run      python launch.py --config experiments/spp_net_imagenet.py --workdir runs/zf5
         python launch.py --config experiments/spp_net_imagenet.py:levels=1 --workdir runs/zf5-one
smoke    python launch.py --config experiments/spp_net_imagenet.py:smoke

`sizes=1` trains on 224 pixels alone, and `levels=1` pools the last map by one maximum. Every size
is a program of its own with the same parameters; each epoch draws one of the two, where the paper
alternates. `--mode evaluate` takes any size: --config.eval.transforms[1].size=320 and
--config.eval.transforms[0].size=366.
"""

import copy

from experiments import alexnet, resnet50
from experiments.shared import embedded
from vision_jax import data, models
from vision_jax.config import arguments, node

SIZES = (224, 180)
LEVELS = {4: (6, 3, 2, 1), 3: (4, 2, 1), 1: (1,)}


def get_config(arg=""):
    given = arguments(arg, levels=4, sizes=2, smoke=False)
    config = resnet50.get_config()
    alexnet.published(config, node(models.SPPNetZF5, levels=LEVELS[given.levels]), size=224)
    config.epochs = 70.0
    sizes, every = SIZES[: given.sizes], 1_281_167 // 128
    if given.smoke:
        config.task.model.hidden = (32, 32)
        embedded.smoke(config, size=64)
        sizes, every = (64, 48), 1
    if len(sizes) > 1:
        (jitter,) = config.train.transforms
        choices = []
        for size in sizes:
            choices.append(copy.deepcopy(jitter))
            choices[-1].size = size
        config.train.transforms = (node(data.PerBatch, choices=tuple(choices), every=every),)
    return config
