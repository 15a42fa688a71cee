"""Transfer on a laptop: the network that learnt shapes reads handwritten digits.

data     scikit-learn's 1,437 + 360 digits, enlarged to 32×32; `count` of them train
needs    python launch.py --config experiments/quickstart.py --workdir runs/quickstart
cost     under a minute on two CPU cores
run      python launch.py --config experiments/transfer_digits.py
         python launch.py --config experiments/transfer_digits.py:tune=last,last=2,count=100

measured top-1 with count=100, one seed, after 4 epochs of shapes: head 0.37, head on stage2 0.23,
         all 0.65, scratch 0.81: from shapes to digits, little carries over

`tune` says what is trained: `head` (default), a linear classifier on frozen features; `last`, also
the last stages; `all`; each with the backbone at a tenth of the rate; `scratch`, a fresh network.
`endpoint=stage2` puts the linear classifier on another feature map.
"""

from experiments import quickstart
from experiments.shared import embedded, transfer
from vision_jax import data
from vision_jax.config import arguments, node

STAGES = ("backbone/conv1/.*", "backbone/stage1_.*", "backbone/stage2_.*", "backbone/stage3_.*")


def get_config(arg=""):
    given = arguments(arg, tune="head", last=1, count=1437, endpoint="", smoke=False)
    config = quickstart.get_config()
    config.train.source = node(data.Digits, split=f"train[:{given.count}]", size=32, channels=3)
    config.eval.source = node(data.Digits, split="validation", size=32, channels=3)
    config.eval.batch_size = 120
    config.train.batch_size = 32
    config.task.augment = config.task.augment[:1]  # a mirrored digit is none
    config.metrics.confusion.num_classes = 10
    config.epochs, config.steps = 0.0, 400
    config.eval_every = config.checkpoint_every = 100
    config.init.weights = "runs/quickstart"
    config.expect = None
    transfer.probe(config, given.endpoint, num_classes=10)
    transfer.tune(config, given.tune, STAGES, given.last)
    if given.smoke:
        config.init.weights = None
        embedded.smoke(config, size=32)
    return config
