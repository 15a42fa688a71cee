"""Transfer: how much data there is, and what is fine-tuned.

lecture  KTH DD2424, lecture 7: with little data train a linear classifier on frozen features, with
         more also the last layers, with much the whole network
cost     full: 4 × 3 × 3 runs of at most 30 epochs of 3,680 images; twin: 4 × 3 × 3 runs of 100
         steps
regime   digits of 32×32 pixels, 100 steps of 32 images, from a net that learnt shapes for minutes:
         a source that hardly resembles its target, and tuned layers at a tenth of the rate
needs    full: ImageNet weights, as `transfer_pets.py`; twin: a trained quickstart,
         python launch.py --config experiments/quickstart.py --workdir runs/quickstart
run      python launch.py --config experiments/sweeps/transfer_data.py --sweep
twin     python launch.py --config experiments/sweeps/transfer_data.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/transfer_data.py:smoke

Arguments: `tune` as in `transfer_pets.py`, and `count`, so many training images. Full: pets with a
ResNet-50. The twin: digits with the net that learnt shapes.
"""

from experiments import transfer_digits, transfer_pets
from experiments.shared.transfer import TUNE
from vision_jax.config import arguments
from vision_jax.report import Claim

FULL, TWIN = (185, 740, 3680), (50, 200, 1000)


def get_config(arg=""):
    given = arguments(arg, tune="head", count=200, smoke=False, twin=False)
    if given.twin or given.smoke:
        tail = ",smoke" if given.smoke else ""
        config = transfer_digits.get_config(f"tune={given.tune},count={given.count}{tail}")
        if given.twin:
            config.steps = config.eval_every = config.checkpoint_every = 100
            config.train.batch_size = 32
        return config
    config = transfer_pets.get_config(f"tune={given.tune}")
    config.train.source.split = f"train[:{given.count}]"
    return config


def _argument(tune, count, argument):
    return f"tune={tune},count={count}" + (",twin" if "twin" in argument else "")


def sweep(add, argument=""):
    for count in TWIN if "twin" in argument else FULL:
        for tune in TUNE:
            for seed in range(3):
                own = _argument(tune, count, argument)
                add(f"{tune}-{count}-seed{seed}", argument=own, seed=seed)


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
