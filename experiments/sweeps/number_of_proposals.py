"""How many proposals does a second stage need?

lecture  Tsinghua 80240743, topic 5: Faster R-CNN's results
paper    Ren et al., "Faster R-CNN", 2015, table 2: a detector trained on Selective Search has 55.1,
         56.8 and 56.3 % mAP with 100, 300 and 1,000 proposals at test time (unchecked): more than
         enough of them bring nothing
cost     full: 4 × 3 runs of 35,000 steps; twin: 4 × 3 runs of 300 steps
regime   2,000 images of 64×64 pixels with one to three objects, 300 steps of 16, from scratch
run      python launch.py --config experiments/sweeps/number_of_proposals.py --sweep
twin     python launch.py --config experiments/sweeps/number_of_proposals.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/number_of_proposals.py:smoke

Proposals of every run's own first stage, as many in the evaluation as the sweep says; training has
the same number in all runs. The twin's images have one to three objects.
"""

from experiments import faster_rcnn_vgg16_voc07
from experiments.shared import rcnn
from vision_jax.config import arguments
from vision_jax.report import Claim

COUNT = "task.model.rpn.post_nms_top_n"
FULL, TWIN = (10, 100, 300, 2000), (1, 2, 8, 32)
ENOUGH = 0.01  # of AP50: more proposals than enough change less


def get_config(arg=""):
    given = arguments(arg, smoke=False, twin=False)
    config = faster_rcnn_vgg16_voc07.get_config("smoke" if given.smoke else "")
    config.expect = None
    if given.twin:
        rcnn.twin(config, rcnn.twin_network(), steps=300)
    return config


def sweep(add, argument=""):
    for count in TWIN if "twin" in argument else FULL:
        for seed in range(3):
            add(f"{count}-seed{seed}", **{COUNT: count, "seed": seed})


def claims(argument=""):
    few, less, enough, many = TWIN if "twin" in argument else FULL
    scale = "VGG-16 on VOC 2007, 10 to 2000 proposals"
    gains = tuple(
        Claim(
            f"{more} proposals reach a higher AP50 than {fewer}",
            "eval/ap50",
            higher={COUNT: more},
            lower={COUNT: fewer},
            scale=scale,
            paired=True,
            published=published,
        )
        for fewer, more, published in (
            (few, less, ""),
            (less, enough, "mAP 56.8 with 300 against 55.1 with 100 (unchecked)"),
        )
    )
    return (
        *gains,
        Claim(
            f"{many} proposals are as good as {enough}, within {ENOUGH} of AP50",
            "eval/ap50",
            higher={COUNT: many},
            lower={COUNT: enough},
            scale=scale,
            within=ENOUGH,
            paired=True,
            published="mAP 56.3 with 1,000 against 56.8 with 300 (unchecked)",
        ),
    )
