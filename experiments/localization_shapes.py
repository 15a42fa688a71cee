"""Classification + localization on a laptop: which shape, and its box.

data     eight shapes on clutter, 32×32, one per image; see quickstart.py
papers   Sermanet et al., "OverFeat", 2013, section 4; Simonyan & Zisserman 2014, appendix A;
         Toshev & Szegedy, "DeepPose", 2013
cost     a few minutes on two CPU cores
run      python launch.py --config experiments/localization_shapes.py
         python launch.py --config experiments/localization_shapes.py:endpoint=features,specific

`endpoint=features` regresses after the last fully connected layer's input (DeepPose, R-CNN) instead
of after the last convolution; `specific` regresses one box per class; `alone` trains the box head
on the frozen network of `runs/quickstart`; `joints` regresses the shape's keypoints instead of a
box.
"""

from experiments import quickstart
from experiments.shared import embedded
from vision_jax import data, models, tasks
from vision_jax.config import arguments, node
from vision_jax.data.shapes_draw import KEYPOINT_MIRROR, KEYPOINTS
from vision_jax.evaluation import BoxIoU, Joints, LocalizationError, Loss, TopK

CLASSES = 8


def get_config(arg=""):
    given = arguments(
        arg, endpoint="map", specific=False, alone=False, joints=False, l1=False, smoke=False
    )
    config = quickstart.get_config()
    if given.smoke:
        embedded.smoke(config, size=32)
    old = config.task.model
    config.task = node(
        tasks.Localization,
        model=node(
            models.Localizer,
            backbone=old.backbone,
            head=old.head,
            boxes=node(
                models.LocalizerHead,
                endpoint=given.endpoint,
                slots=len(KEYPOINTS) if given.joints else 1,
                coordinates=2 if given.joints else 4,
                classes=CLASSES if given.specific else 0,
                hidden=(128,),
            ),
        ),
        mean=config.task.mean,
        std=config.task.std,
        regress="keypoints" if given.joints else "boxes",
        loss_form="smooth_l1" if given.l1 else "l2",
    )
    fields = ("label", "objects", "keypoints") if given.joints else ("label", "objects")
    for part in (config.train, config.eval):
        part.source.fields = fields
        part.max_boxes = 1
    config.train.transforms = (
        node(data.RandomFlip, mirror=KEYPOINT_MIRROR if given.joints else ()),
    )
    measured = node(Joints) if given.joints else node(BoxIoU)
    config.metrics = {"top": node(TopK, ks=(1,)), "loss": node(Loss), "place": measured}
    if not given.joints:
        config.metrics.localization = node(LocalizationError)
    if given.alone:
        config.task.class_loss_weight = 0.0
        config.task.model.backbone.layers.norm = "frozen"
        config.optimizer.trainable = ("boxes/.*",)
        config.init.reinitialize = "boxes/.*"
        config.init.weights = None if given.smoke else "runs/quickstart"
    config.baselines, config.expect = {}, None
    return config
