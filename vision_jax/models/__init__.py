"""Networks: an image in, a dict of named arrays out. One paper, one file."""

from vision_jax.models import receptive_field
from vision_jax.models.alexnet import AlexNet, AlexNet2014, AlexNetTrunk, CaffeNet
from vision_jax.models.bag_of_tricks import ResNet50B, ResNet50C, ResNet50D, resnet_d
from vision_jax.models.classifier import Classifier, FcHead, PoolHead
from vision_jax.models.darknet import Darknet, Darknet19, Darknet53, Extraction, ResidualDarknet
from vision_jax.models.deconvnet import DeconvNet, DeconvNetHead, deconvnet
from vision_jax.models.deeplab import (
    DeepLabV3ResNet50,
    Dilated,
    FCNResNet50,
    PyramidHead,
    ScoreHead,
)
from vision_jax.models.fast_rcnn import FastRCNN, FastRCNNVGG16
from vision_jax.models.faster_rcnn import (
    FasterRCNN,
    FasterRCNNResNet50C4,
    FasterRCNNResNet50FPN,
    FasterRCNNResNet101C4,
    FasterRCNNResNet101FPN,
    FasterRCNNVGG16,
    OneMap,
    faster_rcnn_resnet_c4,
    faster_rcnn_resnet_fpn,
)
from vision_jax.models.fcn import FCN, FCN8s, FCN16s, FCN32s, FCNHead, fcn, transplant
from vision_jax.models.folding import fold_norms
from vision_jax.models.fpn import FPN
from vision_jax.models.googlenet import GoogLeNet, GoogLeNet2014
from vision_jax.models.inception_v3 import InceptionV3
from vision_jax.models.keypoint_rcnn import (
    KeypointHead,
    KeypointRCNNResNet50FPN,
    keypoint_rcnn_resnet_fpn,
)
from vision_jax.models.lenet import LeNet5
from vision_jax.models.localizer import Localizer
from vision_jax.models.mask_rcnn import (
    MaskHead,
    MaskRCNNResNet50C4,
    MaskRCNNResNet50FPN,
    MaskRCNNResNet101FPN,
    mask_rcnn_resnet_c4,
    mask_rcnn_resnet_fpn,
)
from vision_jax.models.mobilenet_v1 import MobileNetV1
from vision_jax.models.mobilenet_v2 import MobileNetV2
from vision_jax.models.pixelwise import (
    FullResolutionTrunk,
    PatchSegmenter,
    PixelHead,
    full_resolution,
)
from vision_jax.models.probe import ProbeHead
from vision_jax.models.proposal_network import ProposalNetwork
from vision_jax.models.resnet import (
    ResNet,
    ResNet18,
    ResNet34,
    ResNet50,
    ResNet101,
    ResNet152,
    resnet,
)
from vision_jax.models.resnet_cifar import CifarResNet, ResNetCifar
from vision_jax.models.resnet_v2 import ResNet50V2, ResNetV2, resnet_v2
from vision_jax.models.retinanet import RetinaNet, retinanet_resnet_fpn
from vision_jax.models.roi_heads import BoxHead, RegionPool, ResNetStage
from vision_jax.models.rpn import RPN
from vision_jax.models.segmenter import Segmenter
from vision_jax.models.segnet import SegNet, SegNetHead, segnet
from vision_jax.models.sliding import SlidingHead, fully_convolutional, over_scales
from vision_jax.models.ssd import SSD, SSD300, SSD512, SmallSSD, SSD300ResNet
from vision_jax.models.ssd_boxes import DefaultBoxes, LectureBoxes
from vision_jax.models.vgg import VGG, VGG11, VGG13, VGG16, VGG19, vgg
from vision_jax.models.yolo_v1 import FastYOLO, YOLOv1, YOLOv1Shipped
from vision_jax.models.yolo_v2 import YOLOv2, YOLOv2Tiny
from vision_jax.models.yolo_v3 import YOLOv3, YOLOv3Tiny
from vision_jax.models.zfnet import ZFNet

__all__ = [
    "FCN",
    "FPN",
    "RPN",
    "SSD",
    "SSD300",
    "SSD512",
    "VGG",
    "VGG11",
    "VGG13",
    "VGG16",
    "VGG19",
    "AlexNet",
    "AlexNet2014",
    "AlexNetTrunk",
    "BoxHead",
    "CaffeNet",
    "CifarResNet",
    "Classifier",
    "Darknet",
    "Darknet19",
    "Darknet53",
    "DeconvNet",
    "DeconvNetHead",
    "DeepLabV3ResNet50",
    "DefaultBoxes",
    "Dilated",
    "Extraction",
    "FCN8s",
    "FCN16s",
    "FCN32s",
    "FCNHead",
    "FCNResNet50",
    "FastRCNN",
    "FastRCNNVGG16",
    "FastYOLO",
    "FasterRCNN",
    "FasterRCNNResNet50C4",
    "FasterRCNNResNet50FPN",
    "FasterRCNNResNet101C4",
    "FasterRCNNResNet101FPN",
    "FasterRCNNVGG16",
    "FcHead",
    "FullResolutionTrunk",
    "GoogLeNet",
    "GoogLeNet2014",
    "InceptionV3",
    "KeypointHead",
    "KeypointRCNNResNet50FPN",
    "LeNet5",
    "LectureBoxes",
    "Localizer",
    "MaskHead",
    "MaskRCNNResNet50C4",
    "MaskRCNNResNet50FPN",
    "MaskRCNNResNet101FPN",
    "MobileNetV1",
    "MobileNetV2",
    "OneMap",
    "PatchSegmenter",
    "PixelHead",
    "PoolHead",
    "ProbeHead",
    "ProposalNetwork",
    "PyramidHead",
    "RegionPool",
    "ResNet",
    "ResNet18",
    "ResNet34",
    "ResNet50",
    "ResNet50B",
    "ResNet50C",
    "ResNet50D",
    "ResNet50V2",
    "ResNet101",
    "ResNet152",
    "ResNetCifar",
    "ResNetStage",
    "ResNetV2",
    "ResidualDarknet",
    "RetinaNet",
    "SSD300ResNet",
    "ScoreHead",
    "SegNet",
    "SegNetHead",
    "Segmenter",
    "SlidingHead",
    "SmallSSD",
    "YOLOv1",
    "YOLOv1Shipped",
    "YOLOv2",
    "YOLOv2Tiny",
    "YOLOv3",
    "YOLOv3Tiny",
    "ZFNet",
    "deconvnet",
    "faster_rcnn_resnet_c4",
    "faster_rcnn_resnet_fpn",
    "fcn",
    "fold_norms",
    "full_resolution",
    "fully_convolutional",
    "keypoint_rcnn_resnet_fpn",
    "mask_rcnn_resnet_c4",
    "mask_rcnn_resnet_fpn",
    "over_scales",
    "receptive_field",
    "resnet",
    "resnet_d",
    "resnet_v2",
    "retinanet_resnet_fpn",
    "segnet",
    "transplant",
    "vgg",
]
