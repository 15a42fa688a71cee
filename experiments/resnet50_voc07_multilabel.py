"""Which of VOC's 20 classes are in the image: an ImageNet ResNet-50, fine-tuned on VOC 2007.

data     5,011 images of trainval and 4,952 of test; an image has every class of which it shows an
         object that is not difficult. (VOC's own evaluation leaves an image out of a class of which
         it shows difficult objects only; here it is a negative.)
needs    ResNet-50 of ImageNet, which is fetched from torchvision, or
         --config.init.weights=FILE, or a run folder of `resnet50.py`
measure  `eval/map`, mean over classes of VOC 2007's 11-point average precision
expect   no number is cited: published ones are of other networks
run      python launch.py --config experiments/resnet50_voc07_multilabel.py
smoke    python launch.py --config experiments/resnet50_voc07_multilabel.py:smoke

One sigmoid per class. `tune` is as in `transfer_pets.py`, by default `all`: the whole network, the
backbone at a tenth of the head's rate with ImageNet's batch statistics. Crops keep at least half of
the image's area, so that few of the labelled objects are cut away.
"""

from experiments import resnet50
from experiments.shared import transfer
from experiments.transfer_pets import STAGES
from vision_jax import data
from vision_jax.config import arguments, node
from vision_jax.evaluation import MultiLabel
from vision_jax.training import schedule

CLASSES = 20


def get_config(arg=""):
    given = arguments(arg, tune="all", last=1, endpoint="", smoke=False)
    config = resnet50.get_config("smoke" if given.smoke else "")
    if not given.smoke:
        config.train.source = node(data.TFDS, name="voc/2007", split="train+validation")
        config.eval.source = node(data.TFDS, name="voc/2007", split="test")
        config.train.transforms[0].area = (0.5, 1.0)
        config.init.weights = "torchvision/resnet50-0676ba61"
        config.train.batch_size = 64
        config.epochs = 30.0
    config.optimizer.schedule = node(schedule.Cosine, value=0.02)
    multilabel(config, CLASSES)
    transfer.probe(config, given.endpoint, CLASSES)
    transfer.tune(config, given.tune, STAGES, given.last)
    if given.smoke:
        for part in (config.train, config.eval):
            part.source.name = "shapes/det64"
        multilabel(config, classes=8)
        config.task.model.head.num_classes = 8
    return config


def multilabel(config, classes):
    """Labels, loss and metric for any number of classes per image, in place."""
    for part in (config.train, config.eval):
        part.source.fields = ("multilabel",)
    config.task.multilabel = True
    config.metrics = {"labels": node(MultiLabel, num_classes=classes, interpolation="11-point")}
    config.best, config.expect = "eval/map", None
