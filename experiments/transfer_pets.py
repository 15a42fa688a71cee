"""Transfer of an ImageNet ResNet-50 to the 37 breeds of Oxford-IIIT Pet.

data     3,680 training and 3,669 test images
needs    ResNet-50 of ImageNet, which is fetched from torchvision, or
         --config.init.weights=FILE, or a run folder of `resnet50.py`
expect   no number is cited: published ones are of other recipes
run      python launch.py --config experiments/transfer_pets.py
         python launch.py --config experiments/transfer_pets.py:tune=last,last=2
smoke    python launch.py --config experiments/transfer_pets.py:smoke

`tune` says what is trained: `head` (default), a linear classifier on frozen features; `last`, also
the last stages; `all`; each with the backbone at a tenth of the rate; `scratch`, a fresh network.
`endpoint=conv4_x` puts the linear classifier on another feature map.
"""

from experiments import resnet50
from experiments.shared import transfer
from vision_jax import data
from vision_jax.config import arguments, node
from vision_jax.training import schedule

STAGES = ("backbone/conv1/.*", *(f"backbone/conv{stage}_.*" for stage in (2, 3, 4, 5)))


def get_config(arg=""):
    given = arguments(arg, tune="head", last=1, endpoint="", smoke=False)
    config = resnet50.get_config("smoke" if given.smoke else "")
    if not given.smoke:
        config.train.source = node(data.TFDS, name="oxford_iiit_pet", split="train")
        config.eval.source = node(data.TFDS, name="oxford_iiit_pet", split="test")
        config.init.weights = "torchvision/resnet50-0676ba61"
        config.train.batch_size = 64
        config.epochs = 30.0
    config.optimizer.schedule = node(schedule.Cosine, value=0.02)
    config.expect = None
    transfer.probe(config, given.endpoint, num_classes=37)
    return transfer.tune(config, given.tune, STAGES, given.last)
