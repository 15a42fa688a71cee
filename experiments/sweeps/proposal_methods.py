"""Which proposals are good? Recall, repeatability and seconds of each method, on the same images.

lecture  Tsinghua 80240743, topic 5: region proposals, many choices
paper    Hosang, Benenson, Dollár & Schiele, "What makes for effective detection proposals?", 2016,
         table 1
cost     full: 8 passes over VOC 2007's test set on the host, no training; twin: 16 runs of 30
regime   90 drawn images of 128×128 pixels in three parts, the same for all methods; no training
run      python launch.py --config experiments/sweeps/proposal_methods.py --sweep
twin     python launch.py --config experiments/sweeps/proposal_methods.py:twin --sweep
smoke    python launch.py --config experiments/sweeps/proposal_methods.py:smoke
one      python launch.py --config experiments/sweeps/proposal_methods.py:method=edge_boxes,twin

`eval/ar_N` is the recall of the first N boxes, averaged over IoUs .5 to .95; `eval/repeatability`
the area under the curve of recall of matched boxes against IoU, over blur, JPEG, scale, rotation,
light and noise; `eval/seconds` those of one image on this machine, which are not repeatable by
bits. Columns that begin with `published` are the lecture's, whose stars are counted; cells that
cannot be read there are left out. Its detections column has no measured twin here.

The embedded images have 128×128 pixels; a part of the twin is 30 of them, and the same for all
methods. The report of a run shows each object's best box among the first 100.
"""

import itertools

from experiments.shared.proposal_study import Study, methods
from vision_jax import data, tasks
from vision_jax.config import UserError, arguments, node, suggest
from vision_jax.evaluation import ProposalRecall
from vision_jax.report import Claim
from vision_jax.training import Experiment

IMAGES = 30  # of each seed of the twin
# Order of the claims; the others are measured once.
RANKED = ("selective_search", "edge_boxes", "sliding_window", "uniform")
OTHERS = ("bing", "objectness", "superpixels", "gaussian")
# Seconds per image, and stars for repeatability, recall and detection; None cannot be read.
PUBLISHED = {
    "selective_search": (10, 2, 3, 3),
    "edge_boxes": (0.3, 2, 3, 3),
    "bing": (0.2, 3, 1, 0),
    "objectness": (3, None, 1, None),
    "superpixels": (1, 1, 0, 0),
    "gaussian": (0, 0, 0, 1),
    "sliding_window": (0, 3, None, 0),
    "uniform": (0, 0, 0, 0),
}
COLUMNS = ("seconds", "repeatability", "recall", "detection")


def get_config(arg=""):
    given = arguments(arg, method=RANKED[0], smoke=False, twin=False)
    embedded = given.twin or given.smoke
    training, images = sources(embedded, 4 if given.smoke else IMAGES, 64 if given.smoke else 128)
    known = methods(training, photographs=not embedded)
    if given.method not in known:
        raise UserError(f"method={given.method!r}{suggest(given.method, known)}")
    method = known[given.method]
    counts = (10, 100) if given.smoke else (10, 30, 100, 300, 1000)
    return node(
        Experiment,
        task=node(tasks.GivenProposals),
        solver=node(tasks.Untrained),
        train=node(data.Train, source=images, transforms=reading(method, embedded), batch_size=8),
        eval=node(
            data.Eval,
            source=images,
            transforms=reading(method, embedded),
            batch_size=8,
            max_boxes=8 if embedded else 64,
        ),
        metrics={
            "recall": node(ProposalRecall, counts=counts),
            "study": node(
                Study,
                name=given.method,
                method=method,
                source=images,
                images=1 if given.smoke else 4 if given.twin else 100,
                levels=1 if given.smoke else 2 if given.twin else 3,
            ),
        },
        best="eval/ar_100",
    )


def sources(embedded, count, side):
    """Returns the training set whose boxes some methods take after, and the images measured."""
    if embedded:
        shapes = {"name": f"shapes/det{side}", "fields": ("objects",)}
        training = node(data.TFDS, split="train[:200]", **shapes)
        return training, node(data.TFDS, split=f"validation[:{count}]", **shapes)
    voc = {"name": "voc/2007", "fields": ("objects",)}
    return (
        node(data.TFDS, split="train+validation", **voc),
        node(data.TFDS, split="test", **voc),
    )


def reading(method, embedded):
    """Returns the transforms: proposals of the image as it is, then a canvas of one size."""
    propose = node(data.Propose, method=method, max_proposals=1000)
    return (propose,) if embedded else (propose, node(data.Canvas, multiple=500, max_long=500))


def extras(config):
    """Returns the lecture's cells of a method, as far as they can be read."""
    cells = zip(COLUMNS, PUBLISHED[config.metrics.study.name], strict=True)
    return {f"published_{column}": float(cell) for column, cell in cells if cell is not None}


def _argument(name, argument):
    return f"method={name}" + (",twin" if "twin" in argument else "")


def sweep(add, argument=""):
    twin = "twin" in argument
    for name in (*RANKED, *OTHERS):
        for part in range(3 if twin and name in RANKED else 1):
            images = f"validation[{part * IMAGES}:{(part + 1) * IMAGES}]"
            keys = ("eval.source.split", "metrics.study.source.split") if twin else ()
            changes = dict.fromkeys(keys, images)
            add(f"{name}-part{part}", argument=_argument(name, argument), **changes)


def _stars(better, worse):
    """Writes the stars for recall of two methods, where both can be read."""
    first, second = (PUBLISHED[name][COLUMNS.index("recall")] for name in (better, worse))
    known = first is not None and second is not None
    return f"recall {'★' * first or 'no star'} against {'★' * second or 'no star'}" if known else ""


def claims(argument=""):
    return tuple(
        Claim(
            f"at 100 boxes {better} has a higher AR than {worse}",
            "eval/ar_100",
            higher={"argument": _argument(better, argument)},
            lower={"argument": _argument(worse, argument)},
            scale="VOC 2007's test set",
            published=_stars(better, worse),
            paired=True,
        )
        for better, worse in itertools.pairwise(RANKED)
    )
