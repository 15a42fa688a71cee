"""SSD300 on VGG-16 on COCO; the recipe of ssd300_vgg16_voc0712.py, which has the details.

data     train2017; the paper has trainval35k, almost the same images
expect   25.1 % AP on val2017 (torchvision, SSD300_VGG16_Weights.COCO_V1)
cost     400,000 steps of 32 images, 34.4 G multiply-adds forward each
run      python launch.py --config experiments/ssd300_vgg16_coco.py
smoke    python launch.py --config experiments/ssd300_vgg16_coco.py:smoke

Smaller default boxes than on VOC. torchvision's published weights are measured by `--mode evaluate
--config.init.weights=FILE --config.init.reinitialize=
--config.task.model.default_boxes.clip=sides`.
"""

from experiments import ssd300_vgg16_voc0712
from vision_jax import data
from vision_jax.config import arguments, node
from vision_jax.evaluation import COCO
from vision_jax.models.detectors.ssd_boxes import COCO_300, COCO_512

CLASSES = 80


def get_config(arg="", size=300, ap=0.251, source="torchvision SSD300_VGG16_Weights.COCO_V1"):
    """Makes the experiment; SSD512 passes its size, its expected AP and where that is from."""
    given = arguments(arg, plain=False, smoke=False)
    config = ssd300_vgg16_voc0712.get_config("plain" if given.plain else "", size)
    config.task.model.num_classes = CLASSES
    config.task.model.default_boxes.scales = {300: COCO_300, 512: COCO_512}[size]
    coco = {"name": "coco/2017", "fields": ("objects",)}
    config.train.source = node(data.TFDS, split="train", **coco)
    config.eval.source = node(data.TFDS, split="validation", **coco)
    config.metrics = {"coco": node(COCO, num_classes=CLASSES)}
    config.optimizer.schedule.boundaries = (280_000, 360_000)
    config.steps, config.eval_every = 400_000, 20_000
    config.best = "eval/ap"
    if config.expect:
        config.expect.update(metric="eval/ap", value=ap, source=source)
    return ssd300_vgg16_voc0712.tiny(config) if given.smoke else config
