"""TEMPORARY while the refactor runs: lazy, so that one broken module breaks only its own names.

Add new public names to the table; the final, eager file is generated from it at the end.
"""

import importlib

NAMES = {
    "vision_jax.models.classifiers.alexnet": [
        "AlexNet",
        "AlexNet2014",
        "AlexNetBackbone",
        "CaffeNet",
    ],
    "vision_jax.models.classifiers.bag_of_tricks": [
        "ResNet50B",
        "ResNet50C",
        "ResNet50D",
        "resnet_d",
    ],
    "vision_jax.models.classifiers.classifier": ["Classifier", "FcHead", "PoolHead"],
    "vision_jax.models.classifiers.darknet": [
        "Darknet",
        "Darknet19",
        "Darknet53",
        "Extraction",
        "ResidualDarknet",
    ],
    "vision_jax.models.classifiers.googlenet": ["GoogLeNet", "GoogLeNet2014"],
    "vision_jax.models.classifiers.inception_v3": ["InceptionV3"],
    "vision_jax.models.classifiers.lenet": ["LeNet5"],
    "vision_jax.models.classifiers.mobilenet_v1": ["MobileNetV1"],
    "vision_jax.models.classifiers.mobilenet_v2": ["MobileNetV2"],
    "vision_jax.models.classifiers.probe": ["ProbeHead"],
    "vision_jax.models.classifiers.resnet": [
        "ResNet",
        "ResNet18",
        "ResNet34",
        "ResNet50",
        "ResNet101",
        "ResNet152",
        "resnet",
    ],
    "vision_jax.models.classifiers.resnet_cifar": ["CifarResNet", "ResNetCifar"],
    "vision_jax.models.classifiers.resnet_v2": ["ResNet50V2", "ResNetV2", "resnet_v2"],
    "vision_jax.models.classifiers.sliding": ["SlidingHead", "fully_convolutional", "over_scales"],
    "vision_jax.models.classifiers.vgg": ["VGG", "VGG11", "VGG13", "VGG16", "VGG19", "vgg"],
    "vision_jax.models.classifiers.zfnet": ["ZFNet"],
    "vision_jax.models.detectors.box_head": ["BoxHead"],
    "vision_jax.models.detectors.fast_rcnn": ["FastRCNN", "FastRCNNVGG16"],
    "vision_jax.models.detectors.faster_rcnn": [
        "FasterRCNN",
        "FasterRCNNResNet50C4",
        "FasterRCNNResNet50FPN",
        "FasterRCNNResNet101C4",
        "FasterRCNNResNet101FPN",
        "FasterRCNNVGG16",
        "faster_rcnn_resnet_c4",
        "faster_rcnn_resnet_fpn",
    ],
    "vision_jax.models.detectors.fpn": ["FPN", "OneMap"],
    "vision_jax.models.detectors.keypoint_rcnn": [
        "KeypointHead",
        "KeypointRCNNResNet50FPN",
        "keypoint_rcnn_resnet_fpn",
    ],
    "vision_jax.models.detectors.localizer": ["Localizer", "LocalizerHead"],
    "vision_jax.models.detectors.mask_rcnn": [
        "MaskHead",
        "MaskRCNNResNet50C4",
        "MaskRCNNResNet50FPN",
        "MaskRCNNResNet101FPN",
        "mask_rcnn_resnet_c4",
        "mask_rcnn_resnet_fpn",
    ],
    "vision_jax.models.detectors.proposal_network": ["ProposalNetwork"],
    "vision_jax.models.detectors.retinanet": ["RetinaNet", "retinanet_resnet_fpn"],
    "vision_jax.models.detectors.region_pool": ["RegionPool", "ResNetStage"],
    "vision_jax.models.detectors.rpn": ["RPN"],
    "vision_jax.models.detectors.ssd": ["SSD", "SSD300", "SSD512", "SmallSSD", "SSD300ResNet"],
    "vision_jax.models.detectors.ssd_boxes": ["DefaultBoxes", "LectureBoxes"],
    "vision_jax.models.detectors.yolo_v1": ["FastYOLO", "YOLOv1", "YOLOv1Shipped"],
    "vision_jax.models.detectors.yolo_v2": ["YOLOv2", "YOLOv2Tiny"],
    "vision_jax.models.detectors.yolo_v3": ["YOLOv3", "YOLOv3Tiny"],
    "vision_jax.models.segmenters.deconvnet": ["DeconvNet", "DeconvNetHead", "deconvnet"],
    "vision_jax.models.segmenters.deeplab": [
        "DeepLabV3ResNet50",
        "Dilated",
        "FCNResNet50",
        "PyramidHead",
        "ScoreHead",
    ],
    "vision_jax.models.segmenters.fcn": [
        "FCN",
        "FCN8s",
        "FCN16s",
        "FCN32s",
        "FCNHead",
        "fcn",
        "transplant",
    ],
    "vision_jax.models.segmenters.pixelwise": [
        "FullResolutionBackbone",
        "PatchSegmenter",
        "PixelHead",
        "full_resolution",
    ],
    "vision_jax.models.segmenters.segmenter": ["Segmenter"],
    "vision_jax.models.segmenters.segnet": ["SegNet", "SegNetHead", "segnet"],
    "vision_jax.models.layers": ["Layers"],
}


def __getattr__(name):
    for module, names in NAMES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(name)
