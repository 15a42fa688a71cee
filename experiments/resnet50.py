"""ResNet-50 v1.5 on ImageNet, the recipe of torchvision's first weights.

paper    He et al., "Deep Residual Learning for Image Recognition", 2015 (v1: 24.7 % error with one
         crop, the authors' repository); here the stride sits in the 3×3 layer (v1.5)
expect   76.13 % top-1 (torchvision, ResNet50_Weights.IMAGENET1K_V1)
cost     90 epochs of 1.28 M images, 4.1 G multiply-adds forward each
run      python launch.py --config experiments/resnet50.py --workdir runs/r50
smoke    python launch.py --config experiments/resnet50.py:smoke

Arguments: `version=v1` puts the stride into the first 1×1 layer, as in the paper; `multicrop`, with
`--mode evaluate`, averages ten crops at each of the paper's five scales; `published=NAME` takes a
network of the zoo with its weights, such as torchvision/resnext50_32x4d-7cdf4587.
"""

from experiments.shared import embedded
from vision_jax import data, models, tasks
from vision_jax.config import arguments, node
from vision_jax.evaluation import Loss, TopK
from vision_jax.models.classifiers.resnet import DEPTHS
from vision_jax.training import Expect, Experiment, optimizer, schedule
from vision_jax.weights import use_published

BATCH = 256


def get_config(arg="", depth=50, top1=0.7613, weights="ResNet50_Weights.IMAGENET1K_V1"):
    """The siblings of other depths pass theirs, with the number that they should reach."""
    given = arguments(arg, smoke=False, version="v1.5", multicrop=False, published="")
    stages, block = DEPTHS[depth]
    if given.smoke:
        stages = (1, 1, 1, 1)
    config = node(
        Experiment,
        task=node(
            tasks.Classification,
            model=node(
                models.Classifier,
                backbone=node(models.ResNet, stages=stages, block=block, version=given.version),
                head=node(models.PoolHead, num_classes=1000),
            ),
            augment=(node(tasks.augment.Flip),),
        ),
        train=node(
            data.Train,
            source=node(data.TFDS, name="imagenet2012", split="train"),
            transforms=(node(data.RandomResizedCrop, size=224),),
            batch_size=BATCH,
        ),
        eval=node(
            data.Eval,
            source=node(data.TFDS, name="imagenet2012", split="validation"),
            transforms=(node(data.Resize, size=256), node(data.CenterCrop, size=224)),
            batch_size=BATCH,
        ),
        metrics={"top": node(TopK), "loss": node(Loss)},
        optimizer=node(
            optimizer.Optimizer,
            rule=node(optimizer.Sgd, momentum=0.9),
            schedule=node(schedule.Step, value=0.1 * BATCH / 256, boundaries=(30, 60)),
            decay=1e-4,
        ),
        epochs=90.0,
        log_every=100,
        expect=node(Expect, metric="eval/top1", value=top1, source=f"torchvision {weights}"),
    )
    if given.published:
        use_published(config, given.published)
    if given.multicrop:
        config.eval.transforms = (node(data.MultiCrop, shorts=(224, 256, 384, 480, 640)),)
        config.eval.batch_size = 16  # 50 crops each
    return embedded.smoke(config, size=64) if given.smoke else config
