"""ResNets (and plain nets) of depth 6n+2 on CIFAR-10.

paper    He et al., "Deep Residual Learning for Image Recognition", 2015, section 4.2, table 6
expect   test error 8.75, 7.51, 7.17, 6.97, 6.43 % for 20, 32, 44, 56, 110 layers (table 6)
cost     64,000 steps of 128 images; 0.041 G multiply-adds forward per image for depth 20
run      python launch.py --config experiments/resnet_cifar10.py:depth=56
smoke    python launch.py --config experiments/resnet_cifar10.py:smoke

`plain` as argument removes the shortcuts. Depth 110 warms up at 0.01, as in the paper. The paper
holds 5,000 images out while it tunes; here all 50,000 train and the test set is the evaluation.
"""

from experiments.shared import embedded
from vision_jax import data, models, tasks
from vision_jax.config import UserError, arguments, node
from vision_jax.evaluation import Confusion, Loss, TopK
from vision_jax.training import Expect, Experiment, optimizer, schedule

TEST_ERROR = {20: 8.75, 32: 7.51, 44: 7.17, 56: 6.97, 110: 6.43}  # percent, table 6
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of the training pixels


def get_config(arg=""):
    given = arguments(arg, depth=20, plain=False, smoke=False)
    if given.depth % 6 != 2 or given.depth < 8:
        raise UserError(f"depth={given.depth}: these nets have 6n + 2 layers, e.g. 20, 32 or 56")
    rate = node(schedule.Step, value=0.1, boundaries=(32_000, 48_000), unit="steps")
    if given.depth >= 110:
        rate = node(schedule.WarmUp, then=rate, length=400, unit="steps", start=0.01)
    config = node(
        Experiment,
        task=node(
            tasks.Classification,
            model=node(
                models.Classifier,
                backbone=node(
                    models.ResNetCifar, blocks=(given.depth - 2) // 6, residual=not given.plain
                ),
                head=node(models.PoolHead, num_classes=10),
            ),
            mean=MEAN,
            std=STD,
            augment=(node(tasks.augment.PadCrop), node(tasks.augment.Flip)),
        ),
        train=node(
            data.Train, source=node(data.TFDS, name="cifar10", split="train"), batch_size=128
        ),
        eval=node(data.Eval, source=node(data.TFDS, name="cifar10", split="test"), batch_size=500),
        metrics={
            "top": node(TopK),
            "loss": node(Loss),
            "confusion": node(Confusion, num_classes=10),
        },
        optimizer=node(optimizer.Optimizer, rule=node(optimizer.Sgd), schedule=rate, decay=1e-4),
        steps=64_000,
        log_every=100,
        expect=_expect(given),
    )
    return embedded.smoke(config, size=32) if given.smoke else config


def _expect(given):
    if given.plain or given.depth not in TEST_ERROR:
        return None
    value = round(1 - TEST_ERROR[given.depth] / 100, 4)
    return node(Expect, metric="eval/top1", value=value, source="He et al. 2015, table 6")
