"""GoogLeNet on ImageNet, with both auxiliary heads and an average of the weights.

paper    Szegedy et al., "Going Deeper with Convolutions", 2014, sections 5 and 6
expect   69.78 % top-1 (torchvision, GoogLeNet_Weights.IMAGENET1K_V1, converted from TensorFlow's)
cost     250 epochs of 1.28 M images, 1.5 G multiply-adds forward each
run      python launch.py --config experiments/googlenet.py --workdir runs/googlenet
smoke    python launch.py --config experiments/googlenet.py:smoke

The network is torchvision's form, with batch norm; `form=2014` is the paper's, with 5×5 filters,
response normalisation and biases, and carries no number. From the paper: momentum 0.9, the rate
4 % lower every 8 epochs, crops of 8 to 100 % of the area, averaged weights, auxiliary losses at
0.3. It gives no batch size, first rate, decay or length; those are of Caffe's model of it, from
memory. Pixels are scaled to -1..1, as torchvision's weights expect, too. The smoke has three
modules, no auxiliary heads and no batch norm.
"""

from experiments import resnet50
from experiments.shared import embedded
from vision_jax import models
from vision_jax.config import UserError, arguments, node
from vision_jax.models.classifiers.googlenet import GoogLeNetBackbone, GoogLeNetHead
from vision_jax.models.layers import NO_NORM
from vision_jax.training import Ema, Expect, schedule


def get_config(arg=""):
    given = arguments(arg, form=2015, smoke=False)
    forms = {2014: models.GoogLeNet2014, 2015: models.GoogLeNet}
    if given.form not in forms:
        raise UserError(f"form={given.form}: use 2014, the paper's, or 2015, with batch norm")
    config = resnet50.get_config()
    config.task.model = node(forms[given.form])
    config.task.mean = config.task.std = (0.5, 0.5, 0.5)
    config.train.batch_size = 32
    config.optimizer.schedule = node(schedule.Exponential, value=0.01, factor=0.96, every=8)
    config.optimizer.decay = 2e-4
    config.epochs = 250.0
    config.ema = node(Ema)
    source = "torchvision GoogLeNet_Weights.IMAGENET1K_V1"
    config.expect = node(Expect, metric="eval/top1", value=0.69778, source=source)
    if given.form == 2014:
        config.expect = None
    if given.smoke:
        # A third of the modules and no batch norm: less to compile.
        published = {"kernel": 5, "lrn": True, "last_pool": 3} if given.form == 2014 else {}
        modules = ("inception3a", "inception4a", "inception5a")
        config.task.model = node(
            models.Classifier,
            backbone=node(GoogLeNetBackbone, modules=modules, layers=NO_NORM, **published),
            head=node(GoogLeNetHead, aux=False, layers=NO_NORM),
        )
        embedded.smoke(config, size=64)
    return config
