"""What do DETR's encoder and its auxiliary losses give?

lecture  HKUST COMP 5214: DETR
paper    Carion et al., "End-to-End Object Detection with Transformers", 2020, table 2: 36.7, 39.4,
         40.6 and 41.6 AP with 0, 3, 6 and 12 layers of the encoder, after 300 epochs; section 3.2:
         auxiliary losses help
cost     full: 5 × 3 runs of 300 epochs; twin: 3 × 3 runs of 2,500 steps
regime   4,000 images of 64×64 pixels, 2,500 steps of 16 from a backbone that has learnt to
         classify the shapes; four layers of the decoder, so that losses of three have work to do
needs    full: ResNet-50 of ImageNet and COCO; twin: a trained backbone of the demo,
         python launch.py --config experiments/quickstart_detr.py --workdir runs/quickstart_detr
run      python launch.py --config experiments/sweeps/detr_layers.py --sweep
twin     python launch.py --config experiments/sweeps/detr_layers.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/detr_layers.py:smoke
"""

import itertools

from experiments import detr_r50_coco
from experiments.shared import detr
from vision_jax.config import arguments
from vision_jax.report import Claim

DEPTH, AUX = "task.model.encoder.depth", "task.model.aux_loss"
FULL, TWIN = (0, 3, 6, 12), (0, 1)
PUBLISHED = {0: 36.7, 3: 39.4, 6: 40.6, 12: 41.6}  # AP


def get_config(arg=""):
    given = arguments(arg, smoke=False, twin=False)
    config = detr_r50_coco.get_config("smoke" if given.smoke else "epochs=300")
    config.expect = None
    return detr.twin(config, detr.demo_network(decoder=4), 2500) if given.twin else config


def sweep(add, argument=""):
    depths = TWIN if "twin" in argument else FULL
    for seed in range(3):
        for depth in depths:
            add(f"{depth}-layers-seed{seed}", **{DEPTH: depth, AUX: True, "seed": seed})
        add(f"no-aux-seed{seed}", **{DEPTH: usual(argument), AUX: False, "seed": seed})


def usual(argument):
    """Returns the depth with which auxiliary losses are compared."""
    return 1 if "twin" in argument else 6


def _published(more, fewer):
    """Writes what the paper has for two depths; of depths that are not in it, for its ends."""
    if not {more, fewer} <= set(PUBLISHED):
        more, fewer = max(PUBLISHED), min(PUBLISHED)
    return f"AP {PUBLISHED[more]} with {more} against {PUBLISHED[fewer]} with {fewer} layers"


def claims(argument=""):
    depths = TWIN if "twin" in argument else FULL
    scale = "ResNet-50 on COCO, 300 epochs"
    metric = "eval/ap50" if "twin" in argument else "eval/ap"
    deeper = tuple(
        Claim(
            f"{more} layers of the encoder are better than {fewer}",
            metric,
            higher={DEPTH: more, AUX: True},
            lower={DEPTH: fewer, AUX: True},
            scale=scale,
            published=_published(more, fewer),
        )
        for fewer, more in itertools.pairwise(depths)
    )
    aux = Claim(
        "losses of all layers are better than that of the last one",
        metric,
        higher={DEPTH: usual(argument), AUX: True},
        lower={DEPTH: usual(argument), AUX: False},
        scale=scale,
    )
    return (*deeper, aux)
