"""ResNet-50 on ImageNet with the tricks of "Bag of Tricks", each of which an argument takes away.

paper    He et al., "Bag of Tricks for Image Classification with Convolutional Neural Networks",
         2018, sections 3 and 5
expect   no number is cited for this network; `resnet50_d.py` has one
cost     200 epochs (120 without mixup) of 1.28 M images, 4.1 G multiply-adds forward each
run      python launch.py --config experiments/resnet50_bag_of_tricks.py --workdir runs/r50_tricks
         python launch.py --config experiments/resnet50_bag_of_tricks.py:mixup=False,cosine=False
smoke    python launch.py --config experiments/resnet50_bag_of_tricks.py:smoke

Arguments, all on: `scaling`, a rate of 0.1 per 256 images of the batch; `warmup`, five epochs up to
it; `zero_gamma`, every residual branch starts as nothing; `no_bias_decay`, of biases and norms;
`cosine` instead of a tenth at epochs 30, 60 and 90; `smoothing` of labels by 0.1; `mixup` with
α = 0.2 and 200 epochs instead of 120. Distillation is not here, and weights start from He et al.'s
initialisation, the paper's from Xavier's.
"""

from experiments import resnet50
from experiments.shared import embedded
from vision_jax import tasks
from vision_jax.config import arguments, node
from vision_jax.training import optimizer, schedule

BATCH = 1024
TRICKS = ("scaling", "warmup", "zero_gamma", "no_bias_decay", "cosine", "smoothing", "mixup")


def get_config(arg=""):
    given = arguments(arg, smoke=False, **dict.fromkeys(TRICKS, True))
    config = resnet50.get_config("smoke" if given.smoke else "")
    config.task.model.backbone.zero_gamma = given.zero_gamma
    recipe(config, given)
    return embedded.smoke(config, size=64) if given.smoke else config


def recipe(config, given):
    """Everything but the network, in place; `given` says which of `TRICKS` are on."""
    config.task.augment = (
        node(tasks.augment.Flip),
        node(tasks.augment.ColorJitter),
        node(tasks.augment.Lighting),
    )
    if given.smoothing:
        config.task.smoothing, config.task.smoothing_form = 0.1, "others"
    config.task.mixup = 0.2 if given.mixup else 0.0
    config.train.batch_size = BATCH
    config.epochs = 200.0 if given.mixup else 120.0
    value = 0.1 * BATCH / 256 if given.scaling else 0.1
    if given.cosine:
        rate = node(schedule.Cosine, value=value)
    else:
        rate = node(schedule.Step, value=value, boundaries=(30, 60, 90))
    if given.warmup:
        # The cosine begins where the warm-up ends (section 5.1); epochs of steps count from 0.
        rate = node(schedule.WarmUp, then=rate, length=5, shift=given.cosine)
    config.optimizer = node(
        optimizer.Optimizer,
        rule=node(optimizer.Sgd, momentum=0.9, nesterov=True),
        schedule=rate,
        decay=1e-4,
        decay_vectors=not given.no_bias_decay,
    )
    config.expect = None
