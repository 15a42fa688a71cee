"""Minutes on a laptop: photographs four times as large, by a pixel loss and by a loss in maps.

data     crops of the two photographs that scikit-learn ships, and tiles of the one that matplotlib
         ships (a portrait) to measure on; `train=pictures:photos` and `val=` name others
paper    Johnson et al. (2016), section 4.2: first the pixel loss, then, from what that has learnt,
         a loss in the maps of a VGG-16. The network is narrow, has no norms and makes what is added
         to the bicubic enlargement. The VGG is a quarter as wide and untrained; `network=hed` takes
         one that was trained to find edges, where its package is installed (style_gatys.py)
expect   on the portrait a PSNR of 29.07 by the pixel loss, where bicubic enlargement has 27.53;
         then 28.63 by the loss in maps, whose distance falls from 0.0218 to 0.0215 (of bicubic's
         0.0359)
cost     600 steps of 8 patches of 96×96, and 200 more: three minutes of CPU time
run      python launch.py --config experiments/quickstart_superresolution.py
smoke    python launch.py --config experiments/quickstart_superresolution.py:smoke

The stages lie in the folders `pixel` and `feature` of the run; the report of the second shows both
beside bicubic enlargement and the truth. Either enlarges pictures, folders and videos:

         python launch.py --mode predict --workdir runs/quickstart_superresolution/pixel --input A
"""

from experiments import superresolution_x4_coco as x4
from experiments.shared import style
from vision_jax import data
from vision_jax.config import CommaText, arguments, node
from vision_jax.models.classifiers.vgg import CONFIGURATIONS
from vision_jax.training import Stage, schedule

PORTRAIT = "matplotlib:grace_hopper.jpg"


def get_config(arg=""):
    given = arguments(
        arg,
        factor=4,
        train=CommaText("pictures:sklearn:"),
        val=CommaText(f"pictures:{PORTRAIT}"),
        network=style.RANDOM,
        size=96,
        steps=600,
        further=200,
        stages=False,
        smoke=False,
    )
    settings = f"factor={given.factor},train={given.train},val={given.val},size={given.size}"
    settings += f",network={given.network},steps={given.steps},batch=8,width=24,blocks=3"
    config = x4.get_config(f"{settings},norm=none,residual=True,loss=feature")
    config.task.pixel_weight, config.task.feature_weight = 1.0, 0.0
    config.task.mean, config.task.std = (0.5,) * 3, (0.25,) * 3
    # No tanh, and a last layer of zeros: the network begins with bicubic enlargement.
    config.task.model.network.update(limit=None, zero_last=True)
    # The stages that the loss looks at: the small pictures have too few pixels for all five.
    config.task.model.backbone.kernels = CONFIGURATIONS["D"][:2]
    config.task.model.backbone.keep = ("conv2_2",)
    if given.network == style.RANDOM:
        config.task.model.backbone.width = 4 if given.smoke else 16
    crops = node(data.RandomResizedCrop, size=given.size, area=(0.04, 0.3), ratio=(1.0, 1.0))
    config.train.transforms = (crops, *config.train.transforms[1:])
    config.eval.source = node(data.Tiles, source=config.eval.source, size=given.size)
    config.eval.transforms = config.eval.transforms[1:]
    config.optimizer.schedule = falling(2e-3)
    config.eval_every, config.log_every = max(1, given.steps // 4), max(1, given.steps // 20)
    if given.smoke:
        config.steps, config.eval_every, config.log_every = 4, 2, 1
        config.task.model.network.update(width=8, blocks=1)
        if not given.stages:
            return config
    config.stages = stages(given.further if not given.smoke else 4)
    return config


def falling(rate):
    """Makes the schedule of a rate that rises for a moment and falls to nothing."""
    then = node(schedule.Cosine, value=rate)
    return node(schedule.WarmUp, then=then, length=0.05, unit="fraction")


def stages(further):
    """Makes the stages: the pixel loss, and from there the loss in maps."""
    in_maps = (
        ("init.weights", "stage:pixel"),
        ("task.pixel_weight", 0.0),
        ("task.feature_weight", 1.0),
        ("steps", further),
        ("optimizer.schedule.then.value", 5e-4),
        ("best", "eval/feature_distance"),
        ("best_mode", "min"),
    )
    return (node(Stage, name="pixel"), node(Stage, name="feature", changes=in_maps))
