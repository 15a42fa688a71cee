"""AlexNet on ImageNet as published in 2012: two towers, LRN, overlapping pooling, 227×227.

paper    Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks", 2012
expect   form=2014: 56.52 % top-1 (torchvision, AlexNet_Weights.IMAGENET1K_V1); the form of 2012
         carries no number here
cost     90 epochs of 1.28 M images, 0.72 G multiply-adds forward each
run      python launch.py --config experiments/alexnet.py --workdir runs/alexnet
smoke    python launch.py --config experiments/alexnet.py:smoke

Arguments: `form=2014` is torchvision's network and recipe (one tower, no LRN, 224×224);
`multicrop`, with `--mode evaluate`, averages the paper's ten crops. Section 5 lowers the rate by
hand when the validation error stops improving, three times; here after 5 such epochs.
"""

from experiments import resnet50
from experiments.shared import embedded
from vision_jax import data, models, tasks
from vision_jax.config import UserError, arguments, node
from vision_jax.training import Expect, optimizer, schedule


def get_config(arg=""):
    given = arguments(arg, form=2012, multicrop=False, smoke=False)
    if given.form not in (2012, 2014):
        raise UserError(f"form={given.form}: use 2012 or 2014")
    config = resnet50.get_config()
    if given.form == 2012:
        published(config, node(models.AlexNet), size=227)
        if given.multicrop:
            config.eval.transforms = (node(data.MultiCrop, size=227, shorts=(256,)),)
    else:
        torchvision(config)
        if given.multicrop:
            config.eval.transforms = (node(data.MultiCrop, size=224, shorts=(256,)),)
    if given.smoke:
        config.task.model.hidden = (32, 32)  # 37 M parameters fewer
        embedded.smoke(config, size=67)
    return config


def published(config, model, size):
    """The recipe of section 5 for `model` and images of `size`, in place."""
    config.task.model = model
    # Weights of deviation 0.01 are meant for pixels of 0..255, of which the mean is taken.
    config.task.std = (1 / 255,) * 3
    config.task.augment = (node(tasks.augment.Flip), node(tasks.augment.Lighting))
    config.train.transforms = (node(data.ScaleJitterCrop, size=size, short=(256, 256)),)
    config.train.batch_size = 128
    config.eval.transforms = (node(data.Resize, size=256), node(data.CenterCrop, size=size))
    config.optimizer = node(
        optimizer.Optimizer,
        rule=node(optimizer.Sgd, momentum=0.9),
        schedule=node(schedule.Constant, value=0.01),
        plateau=node(schedule.ReduceOnPlateau, patience=5, minimum=1e-3),
        decay=5e-4,
    )
    config.expect = None


def torchvision(config):
    """The recipe of torchvision's reference for its alexnet, in place."""
    config.task.model = node(models.AlexNet2014)
    config.optimizer.schedule.value = 0.01
    source = "torchvision AlexNet_Weights.IMAGENET1K_V1"
    config.expect = node(Expect, metric="eval/top1", value=0.56522, source=source)
