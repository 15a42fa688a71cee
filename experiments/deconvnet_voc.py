"""DeconvNet on PASCAL VOC, in two stages: objects alone in the middle of crops, then whole scenes.

paper    Noh et al., "Learning Deconvolution Network for Semantic Segmentation", 2015
data     VOC 2012's training images with SBD's (10,582); evaluated on VOC 2012's validation
needs    VGG-16 of ImageNet with batch norm, which is fetched from torchvision, or
         --config.init.weights=FILE; the paper's has no batch norm (`torchvision/vgg16-397923af`),
         whose scales then begin at 1
expect   no number: the paper's is of VOC's test set, put together from object proposals; here
         images are seen in overlapping windows
cost     60,000 steps of 64 crops of 224×224
run      python launch.py --config experiments/deconvnet_voc.py
smoke    python launch.py --config experiments/deconvnet_voc.py:smoke

The first stage's crops hold one object, 1.2 times its size, and label no other class (section
4.2). The paper cuts them by annotated boxes, here by connected regions of a class. The second
stage's crops are of random scale and place, where the paper takes proposals that overlap objects.
The rate, 0.01 with momentum 0.9 and decay 5e-4, is divided by ten at two thirds of each stage,
where the paper waits until validation stalls.
"""

from experiments import segnet_voc
from experiments.shared import embedded
from vision_jax import data, models, tasks
from vision_jax.config import arguments, node
from vision_jax.training import Stage, schedule

SIDE, CROP = 500, 224


def get_config(arg=""):
    given = arguments(arg, smoke=False)
    model = node(models.deconvnet, num_classes=segnet_voc.CLASSES)
    config = segnet_voc.scenes(model, crop=CROP, side=SIDE, batch_size=64)
    config.task.test = node(tasks.MultiScale, window=CROP)
    config.optimizer.schedule = node(
        schedule.Step, value=0.01, boundaries=(2 / 3,), unit="fraction"
    )
    config.steps = 40_000
    objects = (node(data.ObjectCrop, size=CROP), node(data.RandomFlip))
    config.stages = (
        node(Stage, name="objects", changes=(("train.transforms", objects), ("steps", 20_000))),
        node(Stage, name="scenes", changes=(("init.weights", "stage:objects"),)),
    )
    if given.smoke:
        config.task.model = node(
            models.Segmenter,
            backbone=segnet_voc.tiny_backbone(),
            head=node(
                models.DeconvNetHead,
                num_classes=embedded.SEGMENTED,
                hidden=16,
                window=3,
                encoder_endpoints=segnet_voc.ENDPOINTS,
                deconvs=(1, 1),
            ),
        )
        config.task.test.window = 64
        config.stages, config.init.weights = (), None
        embedded.smoke_segmentation(config, size=64)
        config.train.transforms = (node(data.ObjectCrop, size=64), node(data.RandomFlip))
    return config
