"""What makes R-CNN? Layers × fine-tuning, SVMs or the softmax, with and without regressed boxes.

paper    Girshick et al., "Rich feature hierarchies for accurate object detection and semantic
         segmentation", 2014, table 2 and appendix B: 44.2, 46.2, 44.7 % mAP of pool5, fc6, fc7 on
         VOC 2007 before fine-tuning, 47.3, 53.1, 54.2 after it, 58.5 with regressed boxes, and 50.9
         of the softmax (unchecked)
cost     full: 8 trainings on VOC; twin: 4 × 3 + 4 runs of a minute
regime   200 training and 100 test images of 64×64 pixels, 60 regions each near the objects and
         elsewhere; three convolutions, pre-trained as a classifier of single shapes
run      python launch.py --config experiments/sweeps/rcnn_ablation.py --sweep
twin     python launch.py --config experiments/sweeps/rcnn_ablation.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/rcnn_ablation.py:smoke
one      python launch.py --config experiments/sweeps/rcnn_ablation.py:layer=fc6,frozen,twin

The twin draws its regions around the objects and at random (`data.JitteredTruth`), the same for
all rows, where rcnn_alexnet_voc07.py searches for them. Rows that no claim is about have one seed.
"""

from experiments import rcnn_alexnet_voc07
from experiments.shared import regions
from vision_jax import data
from vision_jax.config import UserError, arguments, node
from vision_jax.report import Claim

LAYERS = ("pool5", "fc6", "fc7")
CLAIMED = ("fc7-frozen", "fc7-finetuned", "softmax", "boxes")


def get_config(arg=""):
    given = arguments(
        arg, layer="fc7", frozen=False, softmax=False, boxes=False, smoke=False, twin=False
    )
    if given.layer not in LAYERS:
        raise UserError(f"layer={given.layer!r} is none of {', '.join(LAYERS)}")
    if given.smoke:
        return rcnn_alexnet_voc07.get_config("smoke")
    config = small() if given.twin else rcnn_alexnet_voc07.get_config()
    config.task.model.head.svm_features = given.layer
    stages = list(config.stages)
    if given.frozen:
        stages = without_fine_tuning(stages)
    names = [stage.name for stage in stages]
    last = "finetune" if given.softmax else "boxes" if given.boxes else "svm"
    config.stages = tuple(stages[: names.index(last) + 1])
    config.expect = None
    return config


def small():
    """Makes the twin: `regions.shapes` on regions that are drawn, not searched for."""
    config = regions.shapes(regions.small(width=8), train="train[:200]", steps=300)
    jitter = node(data.JitteredTruth, count=60)
    first = regions.pretraining(config.task.model, 300, 3000)
    config.init.reinitialize = regions.FRESH
    for pipeline in (config.train, config.eval):
        pipeline.transforms += (jitter,)
    start = ("init.weights", f"stage:{first.name}")
    config.stages = (
        first,
        regions.fine_tuning(start),
        *regions.solving(config, regions.FINE_TUNED),
    )
    return config


def without_fine_tuning(stages):
    """Leaves out the fine-tuning; what followed it starts from what it started from."""
    (tuned,) = [stage for stage in stages if stage.name == "finetune"]
    start = tuple(pair for pair in tuned.changes if pair[0].startswith("init."))
    left = [stage for stage in stages if stage.name != "finetune"]
    for stage in left:
        if stage.name == "features":
            others = [pair for pair in stage.changes if not pair[0].startswith("init.")]
            stage.changes = (*others, *start)
    return left


def _argument(argument, *words):
    return ",".join((*words, *(("twin",) if "twin" in argument else ())))


def rows(argument):
    """Yields each row's name and argument."""
    for frozen in (True, False):
        for layer in LAYERS:
            words = (f"layer={layer}", *(("frozen",) if frozen else ()))
            yield f"{layer}-{'frozen' if frozen else 'finetuned'}", _argument(argument, *words)
    yield "softmax", _argument(argument, "softmax")
    yield "boxes", _argument(argument, "boxes")


def sweep(add, argument=""):
    for seed in range(3 if "twin" in argument else 1):
        for name, row in rows(argument):
            if not seed or name in CLAIMED:
                add(f"{name}-seed{seed}", argument=row, seed=seed)


def claims(argument=""):
    of = dict(rows(argument))
    pairs = (
        ("fc7-finetuned", "fc7-frozen", "fine-tuning helps", "54.2 against 44.7 %"),
        ("fc7-finetuned", "softmax", "SVMs are better than the softmax", "54.2 against 50.9 %"),
        ("boxes", "fc7-finetuned", "regressed boxes are better", "58.5 against 54.2 %"),
    )
    return tuple(
        Claim(
            text,
            "eval/ap50",
            higher={"argument": of[better]},
            lower={"argument": of[worse]},
            published=published,
        )
        for better, worse, text, published in pairs
    )
