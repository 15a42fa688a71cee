"""Networks: images in, a dict of named arrays out. One paper, one file."""

import importlib
from typing import Any

from vision_jax.models.captioners.captioner import Captioner
from vision_jax.models.captioners.show_and_tell import ShowAndTell
from vision_jax.models.captioners.show_attend_tell import ShowAttendTell
from vision_jax.models.classifiers.alexnet import AlexNet, AlexNet2014, AlexNetBackbone, CaffeNet
from vision_jax.models.classifiers.bag_of_tricks import ResNet50B, ResNet50C, ResNet50D, resnet_d
from vision_jax.models.classifiers.classifier import Classifier, FcHead, PoolHead
from vision_jax.models.classifiers.darknet import (
    Darknet,
    Darknet19,
    Darknet53,
    Extraction,
    ResidualDarknet,
)
from vision_jax.models.classifiers.googlenet import GoogLeNet, GoogLeNet2014
from vision_jax.models.classifiers.inception_v3 import InceptionV3
from vision_jax.models.classifiers.lenet import LeNet5
from vision_jax.models.classifiers.mobilenet_v1 import MobileNetV1
from vision_jax.models.classifiers.mobilenet_v2 import MobileNetV2
from vision_jax.models.classifiers.probe import ProbeHead
from vision_jax.models.classifiers.resnet import (
    ResNet,
    ResNet18,
    ResNet34,
    ResNet50,
    ResNet101,
    ResNet152,
    ResNeXt50,
    WideResNet50,
    resnet,
)
from vision_jax.models.classifiers.resnet_cifar import CifarResNet, ResNetCifar
from vision_jax.models.classifiers.resnet_v2 import ResNet50V2, ResNetV2, resnet_v2
from vision_jax.models.classifiers.sliding import SlidingHead, fully_convolutional, over_scales
from vision_jax.models.classifiers.spp_net import SPPHead, SPPNetZF5
from vision_jax.models.classifiers.vgg import VGG, VGG11, VGG13, VGG16, VGG19, vgg
from vision_jax.models.classifiers.zfnet import ZFNet
from vision_jax.models.detectors.box_head import BoxHead
from vision_jax.models.detectors.cnn_cascade import CNNCascade
from vision_jax.models.detectors.deepmask import DeepMask, DeepMaskResNet50, deepmask_resnet
from vision_jax.models.detectors.detr import (
    DETR,
    DETRResNet50,
    DETRResNet50DC5,
    DETRResNet101,
    DETRResNet101DC5,
    detr_resnet,
)
from vision_jax.models.detectors.detr_masks import QueryMasks
from vision_jax.models.detectors.fast_rcnn import FastRCNN, FastRCNNVGG16
from vision_jax.models.detectors.faster_rcnn import (
    FasterRCNN,
    FasterRCNNResNet50C4,
    FasterRCNNResNet50FPN,
    FasterRCNNResNet50FPNV2,
    FasterRCNNResNet101C4,
    FasterRCNNResNet101FPN,
    FasterRCNNVGG16,
    faster_rcnn_resnet_c4,
    faster_rcnn_resnet_fpn,
    faster_rcnn_resnet_fpn_v2,
)
from vision_jax.models.detectors.fcos import FCOS, FCOSResNet50FPN, fcos_resnet_fpn
from vision_jax.models.detectors.fpn import FPN, OneMap
from vision_jax.models.detectors.keypoint_rcnn import (
    KeypointHead,
    KeypointRCNNResNet50FPN,
    keypoint_rcnn_resnet_fpn,
)
from vision_jax.models.detectors.localizer import Localizer, LocalizerHead
from vision_jax.models.detectors.lsda import LSDA, LentClassifier, LSDAAlexNet
from vision_jax.models.detectors.mask_rcnn import (
    MaskHead,
    MaskRCNNResNet50C4,
    MaskRCNNResNet50FPN,
    MaskRCNNResNet50FPNV2,
    MaskRCNNResNet101FPN,
    mask_rcnn_resnet_c4,
    mask_rcnn_resnet_fpn,
    mask_rcnn_resnet_fpn_v2,
)
from vision_jax.models.detectors.mtcnn import MTCNN
from vision_jax.models.detectors.mtcnn_nets import ONet, PNet, RNet
from vision_jax.models.detectors.pix2seq import (
    Pix2Seq,
    Pix2SeqResNet50,
    Pix2SeqResNet101,
    Pix2SeqViTB16,
    pix2seq_resnet,
    pix2seq_vit,
)
from vision_jax.models.detectors.proposal_network import ProposalNetwork
from vision_jax.models.detectors.rcnn import RCNN, RCNNVGG16, RCNNAlexNet, RCNNAlexNet2014
from vision_jax.models.detectors.region_classifier import RegionClassifier
from vision_jax.models.detectors.region_pool import RegionPool, ResNetStage
from vision_jax.models.detectors.retinanet import RetinaNet, retinanet_resnet_fpn
from vision_jax.models.detectors.rfcn import (
    RFCN,
    RFCNResNet50,
    RFCNResNet101,
    ScoreMaps,
    rfcn_resnet,
)
from vision_jax.models.detectors.rpn import RPN
from vision_jax.models.detectors.sharpmask import (
    Refinement,
    SharpMaskResNet50,
    sharpmask_resnet,
)
from vision_jax.models.detectors.spp_net import SPPNet, SPPNetDetectorZF5
from vision_jax.models.detectors.ssd import (
    SSD,
    SSD300,
    SSD512,
    SmallSSD,
    SSD300ResNet,
    SSDMobileNet,
)
from vision_jax.models.detectors.ssd_boxes import DefaultBoxes, LectureBoxes, TensorFlowBoxes
from vision_jax.models.detectors.yolo_v1 import FastYOLO, YOLOv1, YOLOv1Shipped
from vision_jax.models.detectors.yolo_v2 import YOLOv2, YOLOv2Tiny, YOLOv2TinySeparable
from vision_jax.models.detectors.yolo_v3 import YOLOv3, YOLOv3Tiny
from vision_jax.models.embedders.deepid import DeepID
from vision_jax.models.embedders.dlib_resnet import DlibResNet, DlibResNetBackbone
from vision_jax.models.embedders.embedder import Embedder, EmbeddingHead
from vision_jax.models.embedders.facenet import FaceNetNN1, FaceNetNN2
from vision_jax.models.embedders.inception_resnet_v1 import (
    InceptionResNetV1,
    InceptionResNetV1Backbone,
)
from vision_jax.models.layers import Decoder, Encoder, Layers, Patches, TransformerSettings
from vision_jax.models.segmenters.deconvnet import DeconvNet, DeconvNetHead, deconvnet
from vision_jax.models.segmenters.deeplab import (
    DeepLabV3ResNet50,
    Dilated,
    FCNResNet50,
    PyramidHead,
    ScoreHead,
)
from vision_jax.models.segmenters.fcn import FCN, FCN8s, FCN16s, FCN32s, FCNHead, fcn, transplant
from vision_jax.models.segmenters.pixelwise import (
    FullResolutionBackbone,
    PatchSegmenter,
    PixelHead,
    full_resolution,
)
from vision_jax.models.segmenters.segmenter import Segmenter
from vision_jax.models.segmenters.segnet import SegNet, SegNetHead, segnet
from vision_jax.models.stylizers.johnson import (
    JohnsonStyle,
    JohnsonSuperResolution,
    transformer_net,
)
from vision_jax.models.stylizers.loss_network import FreeImage, WithLossNetwork
from vision_jax.ops.initial import init

__all__ = [
    "DETR",
    "FCN",
    "FCOS",
    "FPN",
    "LSDA",
    "MTCNN",
    "RCNN",
    "RCNNVGG16",
    "RFCN",
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
    "AlexNetBackbone",
    "BoxHead",
    "CNNCascade",
    "CaffeNet",
    "Captioner",
    "CifarResNet",
    "Classifier",
    "DETRResNet50",
    "DETRResNet50DC5",
    "DETRResNet101",
    "DETRResNet101DC5",
    "Darknet",
    "Darknet19",
    "Darknet53",
    "Decoder",
    "DeconvNet",
    "DeconvNetHead",
    "DeepID",
    "DeepLabV3ResNet50",
    "DeepMask",
    "DeepMaskResNet50",
    "DefaultBoxes",
    "Dilated",
    "DlibResNet",
    "DlibResNetBackbone",
    "Embedder",
    "EmbeddingHead",
    "Encoder",
    "Extraction",
    "FCN8s",
    "FCN16s",
    "FCN32s",
    "FCNHead",
    "FCNResNet50",
    "FCOSResNet50FPN",
    "FaceNetNN1",
    "FaceNetNN2",
    "FastRCNN",
    "FastRCNNVGG16",
    "FastYOLO",
    "FasterRCNN",
    "FasterRCNNResNet50C4",
    "FasterRCNNResNet50FPN",
    "FasterRCNNResNet50FPNV2",
    "FasterRCNNResNet101C4",
    "FasterRCNNResNet101FPN",
    "FasterRCNNVGG16",
    "FcHead",
    "FreeImage",
    "FullResolutionBackbone",
    "GoogLeNet",
    "GoogLeNet2014",
    "InceptionResNetV1",
    "InceptionResNetV1Backbone",
    "InceptionV3",
    "JohnsonStyle",
    "JohnsonSuperResolution",
    "KeypointHead",
    "KeypointRCNNResNet50FPN",
    "LSDAAlexNet",
    "Layers",
    "LeNet5",
    "LectureBoxes",
    "LentClassifier",
    "Localizer",
    "LocalizerHead",
    "MaskHead",
    "MaskRCNNResNet50C4",
    "MaskRCNNResNet50FPN",
    "MaskRCNNResNet50FPNV2",
    "MaskRCNNResNet101FPN",
    "MobileNetV1",
    "MobileNetV2",
    "ONet",
    "OneMap",
    "PNet",
    "PatchSegmenter",
    "Patches",
    "Pix2Seq",
    "Pix2SeqResNet50",
    "Pix2SeqResNet101",
    "Pix2SeqViTB16",
    "PixelHead",
    "PoolHead",
    "ProbeHead",
    "ProposalNetwork",
    "PyramidHead",
    "QueryMasks",
    "RCNNAlexNet",
    "RCNNAlexNet2014",
    "RFCNResNet50",
    "RFCNResNet101",
    "RNet",
    "Refinement",
    "RegionClassifier",
    "RegionPool",
    "ResNeXt50",
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
    "SPPHead",
    "SPPNet",
    "SPPNetDetectorZF5",
    "SPPNetZF5",
    "SSD300ResNet",
    "SSDMobileNet",
    "ScoreHead",
    "ScoreMaps",
    "SegNet",
    "SegNetHead",
    "Segmenter",
    "SharpMaskResNet50",
    "ShowAndTell",
    "ShowAttendTell",
    "SlidingHead",
    "SmallSSD",
    "TensorFlowBoxes",
    "TransformerSettings",
    "WideResNet50",
    "WithLossNetwork",
    "YOLOv1",
    "YOLOv1Shipped",
    "YOLOv2",
    "YOLOv2Tiny",
    "YOLOv2TinySeparable",
    "YOLOv3",
    "YOLOv3Tiny",
    "ZFNet",
    "deconvnet",
    "deepmask_resnet",
    "detr_resnet",
    "faster_rcnn_resnet_c4",
    "faster_rcnn_resnet_fpn",
    "faster_rcnn_resnet_fpn_v2",
    "fcn",
    "fcos_resnet_fpn",
    "full_resolution",
    "fully_convolutional",
    "init",
    "keypoint_rcnn_resnet_fpn",
    "mask_rcnn_resnet_c4",
    "mask_rcnn_resnet_fpn",
    "mask_rcnn_resnet_fpn_v2",
    "over_scales",
    "pix2seq_resnet",
    "pix2seq_vit",
    "resnet",
    "resnet_d",
    "resnet_v2",
    "retinanet_resnet_fpn",
    "rfcn_resnet",
    "segnet",
    "sharpmask_resnet",
    "transformer_net",
    "transplant",
    "vgg",
]


def __getattr__(name: str) -> Any:
    """Finds `pretrained` where users look for it; it is made a floor above, by the weights.

    Raises:
      AttributeError: any other name, since this is asked for names that are missing.
    """
    if name == "pretrained":
        return importlib.import_module("vision_jax.weights").pretrained
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
