"""R-FCN on a laptop: position-sensitive score maps on the embedded shapes.

data     one to three shapes on clutter, 64×64, made from a seed on first use
paper    Dai et al., "R-FCN", 2016, with 3x3 parts on maps of stride 4
expect   AP50 of at least 0.75 on held-out images (measured: 0.873)
cost     eight minutes on two busy CPU cores (measured), data and compilation included
run      python launch.py --config experiments/quickstart_rfcn.py
smoke    python launch.py --config experiments/quickstart_rfcn.py:smoke
"""

from experiments import quickstart_detection, rfcn_r101_voc0712
from experiments.shared import embedded
from vision_jax import models
from vision_jax.config import arguments, node

ANCHOR_SIZES = ((16.0, 24.0, 32.0),)  # the shapes are 15 to 33 pixels wide


def get_config(arg=""):
    given = arguments(arg, smoke=False)
    config = quickstart_detection.demo(model())
    config.train.batch_size, config.epochs, config.eval_every = 16, 8.0, 1000
    if given.smoke:
        config.task.model = rfcn_r101_voc0712.tiny()
        embedded.smoke_detection(config)
    return config


def model(bins=3):
    """Makes R-FCN on one map of stride 4 whose last stages are dilated."""
    layers = models.Layers()
    return node(
        models.RFCN,
        backbone=node(
            models.ResNet,
            stages=(1, 2),
            block="basic",
            width=32,
            stem="deep",
            dilate=(True,),
            layers=layers,
        ),
        num_classes=embedded.CLASSES,
        pyramid=node(models.OneMap, endpoint="conv3_x"),
        rpn=node(
            models.RPN,
            anchor_sizes=ANCHOR_SIZES,
            batch_size_per_image=64,
            train_pre_nms_top_n=64,
            train_post_nms_top_n=48,
            pre_nms_top_n=64,
            post_nms_top_n=32,
        ),
        head=rfcn_r101_voc0712.head(16, max_detections=20),
        score_maps=rfcn_r101_voc0712.maps(1, 32, bins, layers=layers),
    )
