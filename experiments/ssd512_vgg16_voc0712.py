"""SSD512 on VGG-16 on PASCAL VOC 2007 + 2012; see ssd300_vgg16_voc0712.py.

expect   79.8 % mAP on VOC 2007's test set (the authors' repository)
cost     120,000 steps of 32 images, 90.2 G multiply-adds forward each
run      python launch.py --config experiments/ssd512_vgg16_voc0712.py
smoke    python launch.py --config experiments/ssd512_vgg16_voc0712.py:smoke
"""

from experiments import ssd300_vgg16_voc0712


def get_config(arg=""):
    return ssd300_vgg16_voc0712.get_config(arg, size=512, ap50=0.798)
