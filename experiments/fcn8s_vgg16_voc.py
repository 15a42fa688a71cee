"""FCN-8s on VGG-16 on PASCAL VOC: FCN-32s, then 16s, then 8s, each from the one before.

paper    as of fcn32s_vgg16_voc.py, which has the details, the data and the arguments
expect   mean IoU 65.5 %, and 65.4 % at once
cost     three stages of 100,000 steps, or one
run      python launch.py --config experiments/fcn8s_vgg16_voc.py
         python launch.py --config experiments/fcn8s_vgg16_voc.py:at_once
smoke    python launch.py --config experiments/fcn8s_vgg16_voc.py:smoke

`at_once` trains all layers from the classifier's weights in one stage, with pool4's and pool3's
maps made smaller by 0.01 and 0.0001.
"""

from experiments import fcn32s_vgg16_voc

AT_ONCE = 0.654


def get_config(arg=""):
    config = fcn32s_vgg16_voc.get_config(arg, stride=8)
    if config.expect and not config.stages:
        config.expect.value = AT_ONCE
    return config
