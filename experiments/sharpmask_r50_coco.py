"""SharpMask on ResNet-50 on COCO: DeepMask's proposals, sharpened top-down.

paper    Pinheiro et al., "Learning to Refine Object Segments", 2016 (arXiv:1603.08695)
needs    ResNet-50 of ImageNet, which is fetched from torchvision, or
         --config.init.weights=FILE
expect   a higher average recall of masks than DeepMask's; no number is cited
cost     1,200,000 steps of 32 windows for DeepMask, as many for its refinement
run      python launch.py --config experiments/sharpmask_r50_coco.py
smoke    python launch.py --config experiments/sharpmask_r50_coco.py:smoke

`deepmask` is `deepmask_r50_coco.py`; `sharpmask` starts from its weights, keeps all of them as they
are, statistics too, and trains the refinement alone.

`proposals` writes the boxes of both sets' images to files, two stages more, for networks that make
no proposals: `data.WithProposals` reads `runs/sharpmask/train/proposals.npz`, so Fast R-CNN learns
from them. (The smoke is one stage; `:smoke,stages` goes through all.)
"""

from experiments import deepmask_r50_coco
from experiments.shared import masks
from vision_jax import models
from vision_jax.config import arguments, node


def get_config(arg=""):
    given = arguments(arg, proposals=False, stages=False, smoke=False)
    config = deepmask_r50_coco.get_config("smoke" if given.smoke else "")
    width = 4 if given.smoke else 32
    refinement = node(models.Refinement, width=width, hidden=2 * width)
    if given.smoke and not given.stages:
        config.task.model.refinement = refinement
        return config
    config.stages = masks.stages(refinement)
    if given.proposals:
        config.stages += masks.writing(config, refinement)
    return config
