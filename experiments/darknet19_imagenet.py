"""Darknet-19 on ImageNet, the backbone that YOLO v2 starts from.

paper    Redmon & Farhadi, "YOLO9000: Better, Faster, Stronger", 2016, section 3; the paper reports
         72.9 % top-1, and 76.5 % after ten epochs at 448 pixels (unchecked)
expect   no number is cited
cost     160 epochs of 1.28 M images, 2.8 G multiply-adds forward each
run      python launch.py --config experiments/darknet19_imagenet.py --workdir runs/darknet19
         python launch.py --config experiments/darknet19_imagenet.py:size=448 \\
           --workdir runs/darknet19_448
smoke    python launch.py --config experiments/darknet19_imagenet.py:smoke

`size=448` goes on from `runs/darknet19` for ten epochs at that size, with a rate of 0.001: the
paper's "high resolution classifier". `network=darknet53` is `darknet53_imagenet.py`,
`network=extraction` the twenty convolutions of YOLO v1. Images are in 0..1, as the detectors have
them. The paper also turns images and changes their colours; here they are cropped, mirrored and
jittered.
"""

from experiments import resnet50
from experiments.shared import embedded
from vision_jax import models, tasks
from vision_jax.config import UserError, arguments, node, suggest
from vision_jax.models.classifiers.darknet import EXTRACTION
from vision_jax.training import optimizer, schedule

NETWORKS = {
    "darknet19": (models.Darknet, {}),
    "darknet53": (models.ResidualDarknet, {}),
    "extraction": (models.Darknet, {"stages": EXTRACTION}),
}
BATCH = 128


def get_config(arg="", network="darknet19"):
    given = arguments(arg, size=224, network=network, smoke=False)
    if given.network not in NETWORKS:
        raise UserError(f"network={given.network!r}{suggest(given.network, NETWORKS)}")
    config = resnet50.get_config()
    backbone, fields = NETWORKS[given.network]
    config.task.model.backbone = node(backbone, **fields)
    config.task.mean, config.task.std = (0.0,) * 3, (1.0,) * 3
    config.task.augment += (node(tasks.augment.ColorJitter),)
    config.train.batch_size = BATCH
    config.train.transforms[0].size = given.size
    config.eval.transforms[0].size = given.size * 8 // 7
    config.eval.transforms[1].size = given.size
    config.optimizer = node(
        optimizer.Optimizer,
        rule=node(optimizer.Sgd, momentum=0.9),
        schedule=node(schedule.Polynomial, value=0.1, power=4.0),
        decay=5e-4,
    )
    config.epochs, config.expect = 160.0, None
    if given.size > 224:
        config.optimizer.schedule.value = 1e-3
        config.epochs, config.init.weights = 10.0, f"runs/{given.network}"
    if given.smoke:
        config.init.weights = None
        small = (((3, 8),), ((3, 16),), ((1, 8), (3, 16)))
        config.task.model.backbone.update({"blocks": (1, 1)} if "53" in given.network else {})
        if "53" not in given.network:
            config.task.model.backbone.stages = small
        embedded.smoke(config, size=32)
    return config
