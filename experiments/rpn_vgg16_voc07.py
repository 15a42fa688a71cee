"""A region proposal network alone on VGG-16 on PASCAL VOC 2007: how much do proposals cover?

paper    Ren et al., "Faster R-CNN", 2015, section 4.1 and figure 4
needs    VGG-16 of ImageNet, which is fetched from torchvision, or
         --config.init.weights=FILE
expect   no number is cited: the paper draws curves, as the report does
cost     40,000 steps of 2 images of 600 to 1000 pixels
run      python launch.py --config experiments/rpn_vgg16_voc07.py
smoke    python launch.py --config experiments/rpn_vgg16_voc07.py:smoke
"""

from experiments.shared import rcnn
from vision_jax import models
from vision_jax.config import arguments, node
from vision_jax.evaluation import ProposalRecall


def get_config(arg=""):
    given = arguments(arg, smoke=False)
    detector = models.FasterRCNNVGG16(rcnn.VOC_CLASSES)
    rpn = detector.rpn.clone(post_nms_top_n=2000)
    config = rcnn.voc(models.ProposalNetwork(detector.backbone, detector.pyramid, rpn))
    config.init.reinitialize = rcnn.FRESH
    config.steps, config.optimizer.schedule.boundaries = 40_000, (30_000,)
    if given.smoke:
        rcnn.smoke(config, rcnn.tiny_one_map(models.ProposalNetwork))
    counts = (4, 8) if given.smoke else (10, 50, 100, 300, 1000, 2000)
    config.metrics = {"proposals": node(ProposalRecall, counts=counts)}
    config.best = f"eval/recall50_{8 if given.smoke else 300}"
    return config
