"""YOLO v3 on a laptop: a small one, with one scale, on the embedded shapes.

data     one to three shapes on clutter, 64×64, made from a seed on first use
paper    Redmon & Farhadi, "YOLOv3: An Incremental Improvement", 2018; three priors, from k-means on
         the training boxes, have a mean IoU of 0.84 with them
expect   AP50 of at least 0.75 on held-out images (0.847 was measured)
cost     2.7 minutes on one CPU core, so under 5 minutes on two, data included
run      python launch.py --config experiments/quickstart_yolo.py
smoke    python launch.py --config experiments/quickstart_yolo.py:smoke
"""

from experiments import quickstart_detection
from experiments.shared import embedded
from vision_jax import models
from vision_jax.config import arguments, node

PRIORS = ((15.4, 15.6), (20.8, 20.5), (27.2, 27.3))


def get_config(arg=""):
    given = arguments(arg, smoke=False)
    model = node(
        models.YOLOv3,
        backbone=node(models.ResidualDarknet, blocks=(1, 1, 1), width=16),
        num_classes=embedded.CLASSES,
        endpoints=("stage3",),
        priors=PRIORS,
        masks=((0, 1, 2),),
        neck=((64, 128, 64),),
        out=(128,),
        lateral=(),
        max_detections=20,
    )
    config = quickstart_detection.demo(model)
    config.train.batch_size, config.epochs, config.eval_every = 16, 12.0, 1000
    return embedded.smoke_detection(config) if given.smoke else config
