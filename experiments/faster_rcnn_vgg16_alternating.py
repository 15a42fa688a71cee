"""Faster R-CNN on VGG-16 on PASCAL VOC 2007 in the paper's four steps, as stages.

paper    Ren et al., "Faster R-CNN", 2015, section 3.2, "4-step alternating training"
needs    VGG-16 of ImageNet, which is fetched from torchvision, or
         --config.init.weights=FILE
expect   69.9 % mAP on VOC 2007's test set, by its rules (the authors' repository)
cost     two RPN stages of 40,000 and two Fast R-CNN stages of 20,000 steps of 2 images
run      python launch.py --config experiments/faster_rcnn_vgg16_alternating.py
smoke    python launch.py --config experiments/faster_rcnn_vgg16_alternating.py:smoke

`rpn`: a first stage with a backbone of its own. `detector`: the second stage on its proposals, its
own backbone also from ImageNet. `shared_rpn`: a new first stage on the detector's backbone, which
stays as it is from now on. `shared_detector`: the layers that only the second stage has. Proposals
are made afresh for every batch, where the authors write them to a file between the steps. (The
smoke is one stage; `:smoke,stages` goes through all four.)
"""

from experiments.shared import rcnn
from vision_jax import models
from vision_jax.config import arguments, node
from vision_jax.evaluation import ProposalRecall
from vision_jax.training import Stage

RPN, ROI = ("rpn_class", "rpn_box"), ("roi_class", "roi_box")


def get_config(arg=""):
    given = arguments(arg, stages=False, smoke=False)
    model = models.FasterRCNNVGG16(rcnn.VOC_CLASSES)
    source = "Ren et al. 2015, the authors' repository"
    config = rcnn.voc(model, value=0.699, source=source)
    config.init.reinitialize = "(?!backbone/|rpn_backbone/|head/fc[67]/).*"
    lengths, counts = ((40_000, 30_000), (20_000, 15_000)), (10, 100, 300)
    if given.smoke:
        rcnn.smoke(config, rcnn.tiny_one_map())
        if not given.stages:
            return config
        lengths, counts = None, (4, 8)
    config.metrics.proposals = node(ProposalRecall, counts=counts)
    config.stages = stages(config.task.model.backbone, f"eval/recall50_{counts[-1]}", lengths)
    return config


def stages(backbone, recall, lengths):
    """Makes the four stages.

    Args:
      backbone: the node of a backbone that one part has for itself at first.
      recall: the metric by which the first stage's checkpoints are chosen.
      lengths: (steps, step of the lower rate) of the RPN's and of the detector's stages; None
        leaves them as they are.
    """
    apart = ("task.model.rpn_backbone", backbone)
    rpn, detector = schedules(lengths) if lengths else ((), ())
    rpn += (("task.model.losses", RPN), ("best", recall))
    detector += (("task.model.losses", ROI),)
    return (
        node(
            Stage,
            name="rpn",
            changes=(*rpn, apart, trained("rpn/.*", "rpn_backbone/(?!conv[12]_).*")),
        ),
        node(
            Stage,
            name="detector",
            changes=(
                *detector,
                apart,
                trained("head/.*", "backbone/(?!conv[12]_).*"),
                *weights("rpn"),
            ),
        ),
        node(
            Stage,
            name="shared_rpn",
            changes=(*rpn, trained("rpn/.*"), *weights("detector")),
        ),
        node(
            Stage,
            name="shared_detector",
            changes=(*detector, trained("head/.*"), *weights("shared_rpn")),
        ),
    )


def schedules(lengths):
    keys = ("steps", "optimizer.schedule.boundaries")
    return [tuple(zip(keys, (steps, (boundary,)), strict=True)) for steps, boundary in lengths]


def trained(*patterns):
    return ("optimizer.trainable", patterns)


def weights(stage):
    return (("init.weights", f"stage:{stage}"), ("init.reinitialize", None))
