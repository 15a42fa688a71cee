"""DeconvNet on PASCAL VOC, in two stages: objects alone in the middle of crops, then whole scenes.

paper    Noh et al., "Learning Deconvolution Network for Semantic Segmentation", 2015
data     VOC 2012's training images with SBD's (10,582); evaluated on VOC 2012's validation
needs    a VGG-16 classifier's weights in torchvision's names, as `vgg16_bn.safetensors` beside you,
         or --config.init.weights=FILE; the paper's have no batch norm (`vgg16.safetensors`), whose
         scales then begin at 1
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

from experiments import embedded
from vision_jax import data, models, tasks
from vision_jax.config import arguments, node
from vision_jax.evaluation import BoundaryF, Segmentation
from vision_jax.training import Experiment, Stage, optimizer, schedule

CLASSES, SIDE, CROP = 21, 500, 224
READS = ("conv1_1", "conv2_1")  # of the smoke's network


def get_config(arg=""):
    given = arguments(arg, smoke=False)
    own = {"name": "voc_segmentation/2012_aug", "fields": ("segmentation",)}
    config = node(
        Experiment,
        task=node(
            tasks.Segmentation,
            model=node(models.deconvnet, num_classes=CLASSES),
            test=node(tasks.MultiScale, window=CROP),
        ),
        train=node(
            data.Train,
            source=node(data.TFDS, split="train", **own),
            transforms=(
                node(data.RandomScale, factor=(0.5, 1.5)),
                node(data.RandomCrop, size=CROP),
                node(data.RandomFlip),
            ),
            batch_size=64,
        ),
        eval=node(
            data.Eval,
            source=node(data.TFDS, split="validation", **own),
            transforms=(node(data.Pad, height=SIDE, width=SIDE),),
            batch_size=8,
        ),
        metrics={
            "segmentation": node(Segmentation, num_classes=CLASSES),
            "boundary": node(BoundaryF, num_classes=CLASSES),
        },
        optimizer=node(
            optimizer.Optimizer,
            rule=node(optimizer.Sgd, momentum=0.9),
            schedule=node(schedule.Step, value=0.01, boundaries=(2 / 3,), unit="fraction"),
            decay=5e-4,
        ),
        steps=40_000,
        eval_every=4000,
        log_every=100,
        best="eval/miou",
    )
    config.init.weights = "vgg16_bn.safetensors"
    objects = (node(data.ObjectCrop, size=CROP), node(data.RandomFlip))
    config.stages = (
        node(Stage, name="objects", changes=(("train.transforms", objects), ("steps", 20_000))),
        node(Stage, name="scenes", changes=(("init.weights", "stage:objects"),)),
    )
    if given.smoke:
        config.task.model = node(
            models.Segmenter,
            trunk=node(models.VGG, kernels=((3,),) * 2, width=8, keep=READS, norm="sync"),
            head=node(
                models.DeconvNetHead,
                num_classes=embedded.SEGMENTED,
                hidden=16,
                window=3,
                reads=READS,
                deconvs=(1, 1),
            ),
        )
        config.task.test.window = 64
        config.stages, config.init.weights = (), None
        embedded.smoke_segmentation(config, size=64)
        config.train.transforms = (node(data.ObjectCrop, size=64), node(data.RandomFlip))
    return config
