"""Minutes on a laptop: R-CNN on the embedded shapes, stage by stage.

data     one to three shapes on clutter, 64×64, made from a seed on first use
paper    Girshick et al., "Rich feature hierarchies for accurate object detection and semantic
         segmentation", 2014
expect   AP50 of at least 0.35 on 100 held-out images (measured: 0.440 with the softmax, 0.438 with
         SVMs, 0.441 with refined boxes; 0.25 with SVMs whose positives are the objects' own boxes
         alone, as the paper's are, since 400 images have few objects)
cost     92 s on two CPU cores, compilation included
run      python launch.py --config experiments/quickstart_rcnn.py
smoke    python launch.py --config experiments/quickstart_rcnn.py:smoke

Seven stages: `pretrain` trains a classifier of single shapes, as ImageNet's is; `trainval` and
`test` write selective search's proposals; `finetune` trains the classifier on warped regions;
`features` writes those of every region to disk; `svm` and `boxes` learn from these files. Each has
a folder in the run folder; the last has the detector, whose report and predictions show it:

    python launch.py --mode predict --workdir runs/quickstart_rcnn --input photos

(The smoke is one stage; `:smoke,stages` goes through all.)
"""

from experiments.shared import regions
from vision_jax.config import arguments, node
from vision_jax.training import Expect


def get_config(arg=""):
    given = arguments(arg, stages=False, smoke=False)
    if given.smoke:
        config = regions.shapes(regions.small(width=4))
        return regions.short(config, given.stages)
    config = regions.shapes(regions.small())
    config.expect = node(Expect, metric="eval/ap50", value=0.35, source="this demo's own bar")
    return regions.chain(config)
