"""LSDA: what should a class without boxes be lent, and by how many others?

lecture  UBC CPSC 532L, lecture 5: LSDA
paper    Hoffman et al., "LSDA: Large Scale Detection through Adaptation", 2014, table 1: the change
         of the nearest classes with boxes helps those without
cost     3 × 3 runs of 400 steps of a classifier and 200 of a detector; there is no full size here
regime   four of eight classes have boxes in 1,000 images of 64×64 pixels; 196 windows of each
run      python launch.py --config experiments/sweeps/lsda_neighbours.py --sweep
twin     python launch.py --config experiments/sweeps/lsda_neighbours.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/lsda_neighbours.py:smoke

Lent by 0 (nothing), the nearest, and all four classes with boxes: the paper's k = 5 of 100 has no
counterpart among four (`neighbours=2` is the nearest to it). The runs of a seed train the same
network; they differ in evaluation alone.
"""

from experiments import lsda_shapes
from vision_jax.config import arguments
from vision_jax.report import Claim

NUMBERS = (0, 1, 4)


def get_config(arg=""):
    given = arguments(arg, neighbours=0, smoke=False, twin=False)
    smoke = ",smoke" if given.smoke else ""
    return lsda_shapes.get_config(f"neighbours={given.neighbours}{smoke}")


def _argument(count, argument):
    return ",".join([f"neighbours={count}"] + (["twin"] if "twin" in argument else []))


def sweep(add, argument=""):
    for count in NUMBERS:
        for seed in range(3):
            add(f"k{count}-seed{seed}", argument=_argument(count, argument), seed=seed)


def claims(argument=""):
    texts = {1: "the nearest class with boxes", 4: "all four"}
    return tuple(
        Claim(
            f"classes without boxes reach a higher AP50 with the change of {text} than with none",
            "eval/ap50_unboxed",
            higher={"argument": _argument(count, argument)},
            lower={"argument": _argument(0, argument)},
            scale="100 of 200 classes of ILSVRC 2013",
            paired=True,
        )
        for count, text in texts.items()
    )
