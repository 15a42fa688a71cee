"""LeNet-5 on scikit-learn's digits: real handwriting that ships in a package.

data     1,797 digits of 8×8 pixels, enlarged to 32×32; the last 360 are held out
cost     30 epochs of 1,437 images
run      python launch.py --config experiments/lenet_digits.py
smoke    python launch.py --config experiments/lenet_digits.py:smoke
"""

from experiments import lenet_mnist
from experiments.shared import embedded
from vision_jax import data
from vision_jax.config import arguments, node
from vision_jax.tasks.baselines import LinearPixels


def get_config(arg=""):
    given = arguments(arg, modern=False, smoke=False)
    config = lenet_mnist.get_config("modern" if given.modern else "")
    config.task.model.backbone.padding = 0
    config.train.source = node(data.Digits, split="train", size=32)
    config.train.batch_size = 64
    config.eval.source = node(data.Digits, split="validation", size=32)
    config.eval.batch_size = 360
    config.epochs, config.log_every, config.expect = 30.0, 20, None
    config.baselines = {"linear": node(LinearPixels)}
    return embedded.smoke(config, size=32, channels=1) if given.smoke else config
