"""FCN-16s on VGG-16 on PASCAL VOC: FCN-32s, and from it the network that also scores pool4.

paper    as of fcn32s_vgg16_voc.py, which has the details, the data and the arguments
expect   mean IoU 65.0 %
cost     two stages of 100,000 steps
run      python launch.py --config experiments/fcn16s_vgg16_voc.py
         python launch.py --config experiments/fcn16s_vgg16_voc.py:recipe=modern,at_once
smoke    python launch.py --config experiments/fcn16s_vgg16_voc.py:smoke
"""

from experiments import fcn32s_vgg16_voc


def get_config(arg=""):
    return fcn32s_vgg16_voc.get_config(arg, stride=16)
