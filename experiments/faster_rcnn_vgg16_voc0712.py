"""Faster R-CNN on VGG-16 on PASCAL VOC 2007 + 2012; see faster_rcnn_vgg16_voc07.py.

expect   73.2 % mAP on VOC 2007's test set, by its rules (the authors' repository)
cost     55,000 steps of 2 images of 600 to 1000 pixels
run      python launch.py --config experiments/faster_rcnn_vgg16_voc0712.py
smoke    python launch.py --config experiments/faster_rcnn_vgg16_voc0712.py:smoke
"""

from experiments import faster_rcnn_vgg16_voc07


def get_config(arg=""):
    config = faster_rcnn_vgg16_voc07.get_config(arg, (2007, 2012), 0.732)
    if config.steps > 4:  # the smoke keeps its length
        config.steps, config.optimizer.schedule.boundaries = 55_000, (40_000,)
    return config
