"""SSD300 on ResNet-50 on PASCAL VOC 2007 + 2012: another backbone under the paper's detector.

paper    Liu et al. 2016 for the detector; conv3_x, conv4_x and conv5_x of ResNet-50 have the grids
         of conv4_3, fc7 and conv8_2, so that default boxes, loss and recipe stay
needs    ResNet-50 of ImageNet, which is fetched from torchvision, or
         --config.init.weights=FILE, or a run folder of `resnet50.py`
expect   no number is cited: published ones have other added layers or other inputs
cost     120,000 steps of 32 images, 9.2 G multiply-adds forward each
run      python launch.py --config experiments/ssd300_resnet50_voc0712.py
smoke    python launch.py --config experiments/ssd300_resnet50_voc0712.py:smoke
"""

from experiments import ssd300_vgg16_voc0712
from experiments.shared import embedded
from vision_jax import models, tasks
from vision_jax.config import arguments, node


def get_config(arg=""):
    given = arguments(arg, smoke=False)
    config = ssd300_vgg16_voc0712.get_config()
    model = node(models.SSD300ResNet, num_classes=config.task.model.num_classes)
    config.task = node(tasks.Detection, model=model)
    config.init.weights = "torchvision/resnet50-0676ba61"
    config.init.reinitialize = "(?!backbone/).*"
    config.expect = None
    if given.smoke:
        config.task.model = node(
            models.SSD,
            backbone=node(models.ResNet, stages=(1, 1, 1), block="basic", width=8),
            default_boxes=ssd300_vgg16_voc0712.tiny_boxes(),
            feature_endpoints=("conv3_x", "conv4_x"),
            l2_normalized=(),
            extra_layers_from="conv4_x",
            fc=0,
            extras=((16, 32, 3, 2, 1),),
            max_detections=20,
            layers=models.Layers(),
        )
        config.init.weights = config.init.reinitialize = None
        embedded.smoke_detection(config)
    return config
