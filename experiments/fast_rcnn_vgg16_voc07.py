"""Fast R-CNN on VGG-16 on PASCAL VOC 2007, on proposals made beforehand.

paper    Girshick, "Fast R-CNN", 2015
needs    VGG-16 of ImageNet, which is fetched from torchvision, or
         --config.init.weights=FILE;
         proposals of trainval and test as `proposals_trainval.npz` and `proposals_test.npz` (see
         `data.WithProposals`): the paper's are selective search's, which
         python -m vision_jax.proposals makes (docs/proposals.md). Or the argument `rpn`
expect   66.9 % mAP on VOC 2007's test set in the paper (unchecked, so not compared)
cost     40,000 steps of 2 images of 600 to 1000 pixels, 64 regions each
run      python launch.py --config experiments/fast_rcnn_vgg16_voc07.py
         python launch.py --config experiments/fast_rcnn_vgg16_voc07.py:rpn
smoke    python launch.py --config experiments/fast_rcnn_vgg16_voc07.py:smoke

`rpn` trains `rpn_vgg16_voc07.py` in front, as a stage, and writes its proposals of both sets to
files, two stages more, on which the last one trains Fast R-CNN: Ren et al. (2015) call this
"unshared".
"""

import copy

from experiments import rpn_vgg16_voc07
from experiments.shared import rcnn
from vision_jax import data, models, tasks
from vision_jax.config import arguments, node
from vision_jax.training import Stage


def get_config(arg=""):
    given = arguments(arg, rpn=False, smoke=False)
    config = rcnn.voc(models.FastRCNNVGG16(rcnn.VOC_CLASSES))
    config.steps, config.optimizer.schedule.boundaries = 40_000, (30_000,)
    max_proposals = 2000
    if given.smoke:
        rcnn.smoke(config, rcnn.tiny_one_map(models.FastRCNN))
        max_proposals = 8
        if not given.rpn:
            for pipeline in (config.train, config.eval):
                pipeline.transforms += (node(data.JitteredTruth, count=16),)
            return config
    if given.rpn:
        config.stages = staged(config, rpn_vgg16_voc07.get_config("smoke" if given.smoke else ""))
    for pipeline, name in ((config.train, "trainval"), (config.eval, "test")):
        file = f"stage:{name}/proposals.npz" if given.rpn else f"proposals_{name}.npz"
        source = {"source": pipeline.source, "file": file, "max_proposals": max_proposals}
        pipeline.source = node(data.WithProposals, **source)
    return config


def staged(config, first):
    """Makes the stages: `first` is trained, writes proposals for the images of `config`, then that.

    Both have the same schedule.
    """
    keys = ("task", "train", "eval", "metrics", "best")
    changes = tuple((key, copy.deepcopy(first[key])) for key in keys)
    stages = [
        node(Stage, name="rpn", changes=(*changes, ("init.reinitialize", first.init.reinitialize)))
    ]
    for name, pipeline in (("trainval", config.train), ("test", config.eval)):
        images = {"source": pipeline.source, "batch_size": config.eval.batch_size}
        writing = (
            ("train", node(data.Train, transforms=config.eval.transforms, **images)),
            ("solver", node(tasks.WriteProposals, file=f"stage:{name}/proposals.npz")),
            ("init.weights", "stage:rpn"),
            ("init.reinitialize", None),
        )
        stages.append(node(Stage, name=name, changes=(*changes, *writing)))
    return (*stages, node(Stage, name="detector"))
