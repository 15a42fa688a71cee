"""SSD on a laptop: the lecture's small one, on the embedded shapes.

data     one to three shapes on clutter, 64×64, made from a seed on first use
lecture  a base network, blocks that halve width and height, n + m - 1 default boxes at each scale;
         here at 8×8, 4×4 and, over everything, 1×1 (Zhang, Dive into Deep Learning, 14.7)
expect   AP50 of at least 0.75 on held-out images (0.889 and 0.912 were measured)
cost     3.4 minutes on one CPU core, so under 5 minutes on two, data included
run      python launch.py --config experiments/quickstart_ssd.py
smoke    python launch.py --config experiments/quickstart_ssd.py:smoke
"""

from experiments import quickstart_detection
from experiments.shared import embedded
from vision_jax import models
from vision_jax.config import arguments, node

# Shares of the image's side: shapes are 15 to 33 of 64 pixels large.
SIZES = ((0.24, 0.33, 0.46), (0.5, 0.6), (0.75, 0.9))


def get_config(arg=""):
    given = arguments(arg, smoke=False)
    config = quickstart_detection.demo(model())
    config.train.batch_size, config.epochs, config.eval_every = 16, 12.0, 1000
    return embedded.smoke_detection(config) if given.smoke else config


def model():
    boxes = node(models.LectureBoxes, sizes=SIZES)
    return node(models.SmallSSD, num_classes=embedded.CLASSES, default_boxes=boxes)
