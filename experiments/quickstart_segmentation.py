"""Four minutes on a laptop: a small fully convolutional network on the embedded shapes.

data     one to three shapes on clutter, 64×64, with their outlines void; made from a seed on first
         use
paper    an FCN (Long et al., 2015): a ResNet's maps of strides 8, 4 and 2 are scored,
         upsampled and added up; predictions are averaged with those of the mirror image
expect   mean IoU of at least 0.70 over 9 classes on held-out images
cost     three and a half minutes on two CPU cores (measured), data included
run      python launch.py --config experiments/quickstart_segmentation.py
smoke    python launch.py --config experiments/quickstart_segmentation.py:smoke
"""

from experiments.shared import embedded
from vision_jax import data, models, tasks
from vision_jax.config import arguments, node
from vision_jax.evaluation import Segmentation
from vision_jax.training import Expect, Experiment, optimizer, schedule

SHAPES = {"name": "shapes/seg64", "fields": ("segmentation",)}


def get_config(arg=""):
    given = arguments(arg, smoke=False)
    config = node(
        Experiment,
        task=node(
            tasks.Segmentation,
            model=node(
                models.FCN,
                backbone=node(
                    models.ResNet, stages=(1, 1, 1), block="basic", stem="deep", width=32
                ),
                head=node(
                    models.FCNHead,
                    num_classes=embedded.SEGMENTED,
                    hidden=(),
                    skips=("conv2_x", "conv1"),
                    learn="none",
                ),
            ),
            mean=(0.5, 0.5, 0.5),
            std=(0.25, 0.25, 0.25),
            class_weights=(0.35, *(1.0,) * 8),  # the background is 80 % of the pixels
            test=node(tasks.MultiScale, flip=True),
        ),
        train=node(
            data.Train,
            source=node(data.TFDS, split="train", **SHAPES),
            transforms=(node(data.RandomRotation), node(data.RandomFlip)),
            batch_size=16,
        ),
        eval=node(
            data.Eval,
            source=node(data.TFDS, split="validation", **SHAPES),
            batch_size=100,
        ),
        metrics={"segmentation": node(Segmentation, num_classes=embedded.SEGMENTED)},
        optimizer=node(
            optimizer.Optimizer,
            rule=node(optimizer.AdamW),
            schedule=node(
                schedule.WarmUp, then=node(schedule.Cosine, value=6e-3), length=0.1, unit="fraction"
            ),
            decay=0.05,
            decay_vectors=False,
        ),
        epochs=18.0,
        eval_every=2250,
        log_every=50,
        best="eval/miou",
        expect=node(Expect, metric="eval/miou", value=0.70, source="this demo's own bar"),
    )
    return embedded.smoke_segmentation(config) if given.smoke else config
