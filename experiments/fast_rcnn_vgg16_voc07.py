"""Fast R-CNN on VGG-16 on PASCAL VOC 2007, on proposals made beforehand.

paper    Girshick, "Fast R-CNN", 2015
needs    VGG-16 of ImageNet in torchvision's names as `vgg16.safetensors` beside you, or
         --config.init.weights=FILE;
         proposals of trainval and test as `proposals_trainval.npz` and `proposals_test.npz` (see
         `data.WithProposals`): the paper's are selective search's, those of rpn_vgg16_voc07.py do
expect   66.9 % mAP on VOC 2007's test set in the paper (unchecked, so not compared)
cost     40,000 steps of 2 images of 600 to 1000 pixels, 64 regions each
run      python launch.py --config experiments/fast_rcnn_vgg16_voc07.py
smoke    python launch.py --config experiments/fast_rcnn_vgg16_voc07.py:smoke
"""

from experiments import rcnn
from vision_jax import data, models
from vision_jax.config import arguments, node


def get_config(arg=""):
    given = arguments(arg, smoke=False)
    config = rcnn.voc(models.FastRCNNVGG16(rcnn.VOC_CLASSES))
    config.steps, config.optimizer.schedule.boundaries = 40_000, (30_000,)
    if given.smoke:
        rcnn.smoke(config, rcnn.tiny_one_map(models.FastRCNN))
        for pipeline in (config.train, config.eval):
            pipeline.transforms += (node(data.JitteredTruth, count=16),)
        return config
    for pipeline, name in ((config.train, "trainval"), (config.eval, "test")):
        file = f"proposals_{name}.npz"
        pipeline.source = node(data.WithProposals, source=pipeline.source, file=file)
    return config
