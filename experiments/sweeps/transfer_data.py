"""Transfer: how much data there is, and what is fine-tuned.

lecture  KTH DD2424, lecture 7: with little data train a linear classifier on frozen features, with
         more also the last layers, with much the whole network
cost     full: 4 × 3 × 3 runs of at most 30 epochs of 3,680 images; twin: 4 × 3 × 4 seeds of 160 or
         480 steps, four in one program
regime   half of the shapes' classes, 32×32 pixels, from a net of 8 layers that learnt the other
         half, where every shape has a like: a source that resembles its target, as ImageNet does
         pets; 24, 96 and 960 images, 160 steps of 16, or 480 for the most, with which a net from
         scratch learns as much: the source has but three times as many images
needs    full: ImageNet weights, as `transfer_pets.py`; twin: the net that learnt the other half,
         python launch.py --config experiments/sweeps/transfer_data.py:source --workdir
         runs/transfer_source
run      python launch.py --config experiments/sweeps/transfer_data.py --sweep
twin     python launch.py --config experiments/sweeps/transfer_data.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/transfer_data.py:smoke

Arguments: `tune` as in `transfer_pets.py`, and `count`, so many training images; `source` trains
what the twin starts from. Full: pets with a ResNet-50. The smoke is that of `transfer_digits.py`.
"""

from experiments import quickstart, transfer_digits, transfer_pets
from experiments.shared import embedded
from experiments.shared.transfer import TUNE, SomeClasses
from vision_jax import data
from vision_jax.config import arguments, node
from vision_jax.data.shapes_draw import CLASSES
from vision_jax.report import Claim

FULL, TWIN = (185, 740, 3680), (24, 96, 960)
LEARNT, NEW = CLASSES[::2], CLASSES[1::2]  # every shape has a like in the other half
SEEDS, BATCH = 4, 16  # the twin's
STEPS, STEPS_OF_MANY = 160, 480
START = "runs/transfer_source"


def get_config(arg=""):
    given = arguments(arg, tune="head", count=200, source=False, smoke=False, twin=False)
    if given.source:
        return _source(given.smoke)
    if given.smoke:
        return transfer_digits.get_config(f"tune={given.tune},count={given.count},smoke")
    if given.twin:
        return _twin(given)
    config = transfer_pets.get_config(f"tune={given.tune}")
    config.train.source.split = f"train[:{given.count}]"
    return config


def _source(smoke):
    """Makes the training of the network from which the twin starts."""
    config = quickstart.get_config()
    _read(config, LEARNT, None)
    config.epochs, config.baselines, config.expect = 8.0, {}, None
    return embedded.smoke(config, size=32) if smoke else config


def _twin(given):
    config = transfer_digits.get_config(f"tune={given.tune}")
    _read(config, NEW, given.count)
    config.train.batch_size, config.eval.batch_size = BATCH, 100
    steps = STEPS if given.count < TWIN[-1] else STEPS_OF_MANY
    config.steps = config.eval_every = config.checkpoint_every = steps
    config.log_every = 40
    if given.tune != "scratch":
        config.init.weights = START
    return config


def _read(config, names, count):
    """Makes an experiment read some of the shapes, in place."""
    images = f"train[:{2 * count}]" if count else "train[:5000]"  # classes are balanced
    for part, split, most in (("train", images, count), ("eval", "validation", None)):
        shapes = node(data.TFDS, name="shapes/cls32", split=split)
        config[part].source = node(SomeClasses, source=shapes, names=names, count=most)
    config.task.model.backbone.width = 8
    config.task.model.head.num_classes = len(names)
    config.metrics.confusion.num_classes = len(names)


def _argument(tune, count, argument):
    return f"tune={tune},count={count}" + (",twin" if "twin" in argument else "")


def sweep(add, argument=""):
    twin = "twin" in argument
    for count in TWIN if twin else FULL:
        for tune in TUNE:
            own = _argument(tune, count, argument)
            embedded.of_seeds(add, f"{tune}-{count}", twin, SEEDS, argument=own)


def claims(argument=""):
    few, _, many = TWIN if "twin" in argument else FULL
    found = []
    for text, higher, lower, count in (
        ("few images: a linear classifier beats training from scratch", "head", "scratch", few),
        ("few images: a linear classifier beats tuning everything", "head", "all", few),
        ("many images: tuning everything beats a linear classifier", "all", "head", many),
        ("many images: tuning everything beats training from scratch", "all", "scratch", many),
    ):
        found.append(
            Claim(
                text,
                "eval/top1",
                higher={"argument": _argument(higher, count, argument)},
                lower={"argument": _argument(lower, count, argument)},
                scale="ImageNet weights, pets",
            )
        )
    return tuple(found)
