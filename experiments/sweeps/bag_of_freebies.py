"""The bag of freebies, one after the other, on YOLO v3.

lecture  HKUST COMP 5214: results for YOLO v3
paper    Zhang et al., "Bag of Freebies for Training Object Detection Neural Networks", 2019,
         table 1; the lecture's mAP on VOC 2007: without augmentation 64.26; baseline 80.25;
         + synchronised BN 80.81; + random training shapes 81.23; + cosine 81.69; + class label
         smoothing 82.14; + mixup 83.68
cost     full: 7 × 3 runs of 200 epochs; twin: 7 × 3 runs of 400 steps
regime   1,000 images of 64×64 pixels, 400 steps of 16, from scratch: a detector far from
         convergence, for which each freebie is only a harder task; one device, where synchronising
         changes nothing
run      python launch.py --config experiments/sweeps/bag_of_freebies.py --sweep
twin     python launch.py --config experiments/sweeps/bag_of_freebies.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/bag_of_freebies.py:smoke

`steps` says how many of `yolo_v3_voc0712.py`'s arguments are on: augmentation, synchronised BN,
random shapes, cosine, smoothing, mixup. The twin trains a narrow YOLO v3 on 1,000 images of shapes;
on one device its batch norm is synchronised anyway, so that its second step changes nothing there.
"""

from types import SimpleNamespace

from experiments import yolo_v3_voc0712
from experiments.shared import embedded
from vision_jax import data
from vision_jax.config import UserError, arguments, node
from vision_jax.report import Claim
from vision_jax.training import optimizer, schedule

FREEBIES = yolo_v3_voc0712.FREEBIES
NAMES = {
    "augment": "augmentation",
    "sync": "synchronised batch norm",
    "shapes": "random training shapes",
    "cosine": "a cosine",
    "smoothing": "class label smoothing",
    "mixup": "mixup",
}
# The lecture's mAP on VOC 2007, without any freebie and with so many of them.
PUBLISHED = (64.26, 80.25, 80.81, 81.23, 81.69, 82.14, 83.68)
TWIN_SIZES = (48, 64, 80)


def get_config(arg=""):
    given = arguments(arg, steps=len(FREEBIES), smoke=False, twin=False)
    if not 0 <= given.steps <= len(FREEBIES):
        raise UserError(f"steps={given.steps}: 0 to {len(FREEBIES)} freebies")
    on = {name: number < given.steps for number, name in enumerate(FREEBIES)}
    listed = ",".join(f"{name}={value}" for name, value in on.items())
    config = yolo_v3_voc0712.get_config(f"{listed}{',smoke' if given.smoke else ''}")
    config.expect = None
    if given.twin:
        _twin(config, on)
    return config


def _twin(config, on):
    yolo_v3_voc0712.tiny(config)
    smoothing = config.task.model.smoothing if on["smoothing"] else 0.0
    twin(config, steps=400)
    config.task.model.backbone.update(width=8)
    config.task.model.update(neck=((32,), ()), out=(32, 32), lateral=(16,))
    yolo_v3_voc0712.freebies(config, SimpleNamespace(size=64, **on), TWIN_SIZES)
    config.task.model.smoothing = smoothing
    step = node(schedule.Step, value=4e-3, boundaries=(0.8, 0.9), unit="fraction")
    rate = node(schedule.Cosine, value=4e-3) if on["cosine"] else step
    config.optimizer.schedule = node(schedule.WarmUp, then=rate, length=0.1, unit="fraction")


def twin(config, steps, images=1000):
    """Makes a detection experiment, already small, a sweep's twin: few shapes of the embedded kind.

    Args:
      config: changed in place.
      steps: of 16 images, AdamW, a cosine after a tenth of warm-up.
      images: so many train; 300 others measure.
    """
    shapes = {"name": "shapes/det64", "fields": ("objects",)}
    config.train.source = node(data.TFDS, split=f"train[:{images}]", **shapes)
    config.eval.source = node(data.TFDS, split="validation[:300]", **shapes)
    config.train.batch_size, config.eval.batch_size = 16, 100
    config.optimizer = node(
        optimizer.Optimizer,
        rule=node(optimizer.AdamW),
        schedule=node(
            schedule.WarmUp, then=node(schedule.Cosine, value=4e-3), length=0.1, unit="fraction"
        ),
        clip=10.0,
    )
    config.steps, config.epochs = steps, 0.0
    config.log_every, config.eval_every, config.checkpoint_every = 20, steps, steps
    config.task.model.num_classes = embedded.CLASSES
    return config


def _argument(steps, argument):
    return f"steps={steps}" + (",twin" if "twin" in argument else "")


def sweep(add, argument=""):
    for steps in range(len(FREEBIES) + 1):
        for seed in range(3):
            own = _argument(steps, argument)
            add(f"{steps}-seed{seed}", argument=own, seed=seed, data_seed=seed)


def claims(argument=""):
    return tuple(
        Claim(
            f"{NAMES[name]} on top raises AP50",
            "eval/ap50",
            higher={"argument": _argument(number + 1, argument)},
            lower={"argument": _argument(number, argument)},
            scale="VOC 2007 + 2012, 200 epochs",
            published=f"mAP {PUBLISHED[number + 1]} against {PUBLISHED[number]}",
        )
        for number, name in enumerate(FREEBIES)
    )
