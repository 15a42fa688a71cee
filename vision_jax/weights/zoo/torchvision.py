"""torchvision's published weights, from its files of models (version 0.29.1)."""

import functools
from collections.abc import Iterator

from vision_jax import models
from vision_jax.weights.download import Digest
from vision_jax.weights.zoo import networks
from vision_jax.weights.zoo.entry import Entry, Network
from vision_jax.weights.zoo.preprocessing import Preprocessing

_URL = "https://download.pytorch.org/models/"
_LICENCES = ("BSD-3-Clause", "own terms of the data set")
_BN, _EXACT = networks.BATCH_NORM, networks.EXACT
_CROP = Preprocessing("crop", "pillow-bilinear", short=256, size=224)
_CROP_V2 = Preprocessing("crop", "pillow-bilinear", short=232, size=224)
_CROP_299 = Preprocessing("crop", "pillow-bilinear", short=342, size=299)
_SEGMENT = Preprocessing("short", "pillow-bilinear", short=520)
_DETECT = Preprocessing("short", "floats", short=800, longest=1333, divisor=32)
_SSD = Preprocessing(
    "stretch", "floats", size=300, mean=(0.48235, 0.45882, 0.40784), std=(1 / 255,) * 3
)
_make = functools.partial

# File, network, preprocessing, metric, experiment, golden.
_ROWS: tuple[tuple[str, Network, Preprocessing | None, str, str, str], ...] = (
    ("alexnet-owt-7be5be79", models.AlexNet2014, _CROP, "top-1 56.522, top-5 79.066", "alexnet",
     "alexnet"),
    ("vgg11-8a719046", models.VGG11, _CROP, "top-1 69.02, top-5 88.628", "vgg11", "vgg11"),
    ("vgg11_bn-6002323d", _make(models.VGG11, layers=_BN), _CROP, "top-1 70.37, top-5 89.81",
     "vgg11", "vgg11_bn"),
    ("vgg13-19584684", models.VGG13, _CROP, "top-1 69.928, top-5 89.246", "vgg13", ""),
    ("vgg13_bn-abd245e5", _make(models.VGG13, layers=_BN), _CROP, "top-1 71.586, top-5 90.374",
     "vgg13", ""),
    ("vgg16-397923af", models.VGG16, _CROP, "top-1 71.592, top-5 90.382", "vgg16", "vgg16"),
    ("vgg16_bn-6c64b313", _make(models.VGG16, layers=_BN), _CROP, "top-1 73.36, top-5 91.516",
     "vgg16", "vgg16_bn"),
    ("vgg19-dcbb9e9d", models.VGG19, _CROP, "top-1 72.376, top-5 90.876", "vgg19", "vgg19"),
    ("vgg19_bn-c79401a0", _make(models.VGG19, layers=_BN), _CROP, "top-1 74.218, top-5 91.842",
     "vgg19", "vgg19_bn"),
    ("googlenet-1378be20", _make(models.GoogLeNet, transform_input=True), _CROP,
     "top-1 69.778, top-5 89.53", "googlenet", "googlenet_transform_input"),
    ("inception_v3_google-0cc3c7bd", _make(models.InceptionV3, transform_input=True), _CROP_299,
     "top-1 77.294, top-5 93.45", "inception_v3", "inception_v3"),
    ("resnet18-f37072fd", models.ResNet18, _CROP, "top-1 69.758, top-5 89.078", "resnet18",
     "resnet18"),
    ("resnet34-b627a593", models.ResNet34, _CROP, "top-1 73.314, top-5 91.42", "resnet34",
     "resnet34"),
    ("resnet50-0676ba61", models.ResNet50, _CROP, "top-1 76.13, top-5 92.862", "resnet50",
     "resnet50"),
    ("resnet50-11ad3fa6", models.ResNet50, _CROP_V2, "top-1 80.858, top-5 95.434",
     "resnet50_modern", "resnet50"),
    ("resnet101-63fe2227", models.ResNet101, _CROP, "top-1 77.374, top-5 93.546", "resnet101", ""),
    ("resnet101-cd907fc2", models.ResNet101, _CROP_V2, "top-1 81.886, top-5 95.78", "resnet101",
     ""),
    ("resnet152-394f9c45", models.ResNet152, _CROP, "top-1 78.312, top-5 94.046", "resnet152",
     "resnet152"),
    ("resnet152-f82ba261", models.ResNet152, _CROP_V2, "top-1 82.284, top-5 96.002", "resnet152",
     "resnet152"),
    ("resnext50_32x4d-7cdf4587", models.ResNeXt50, _CROP, "top-1 77.618, top-5 93.698",
     "resnet50", "resnext50_32x4d"),
    ("resnext50_32x4d-1a0047aa", models.ResNeXt50, _CROP_V2, "top-1 81.198, top-5 95.34",
     "resnet50", "resnext50_32x4d"),
    ("wide_resnet50_2-95faca4d", models.WideResNet50, _CROP, "top-1 78.468, top-5 94.086",
     "resnet50", "wide_resnet50_2"),
    ("wide_resnet50_2-9ba9bcbe", models.WideResNet50, _CROP_V2, "top-1 81.602, top-5 95.758",
     "resnet50", "wide_resnet50_2"),
    ("mobilenet_v2-b0353104", models.MobileNetV2, _CROP, "top-1 71.878, top-5 90.286",
     "mobilenet_v2", "mobilenet_v2"),
    ("mobilenet_v2-7ebf99e0", models.MobileNetV2, _CROP_V2, "top-1 72.154, top-5 90.822",
     "mobilenet_v2", "mobilenet_v2"),
    ("fcn_resnet50_coco-1167a1af", models.FCNResNet50, _SEGMENT, "mIoU 60.5, pixel accuracy 91.4",
     "fcn_resnet50_coco", "fcn_resnet50"),
    ("fcn_resnet101_coco-7ecb50ca", lambda: networks.on_resnet101(models.FCNResNet50()), _SEGMENT,
     "mIoU 63.7, pixel accuracy 91.9", "fcn_resnet50_coco", "fcn_resnet101"),
    ("deeplabv3_resnet50_coco-cd0a2569", models.DeepLabV3ResNet50, _SEGMENT,
     "mIoU 66.4, pixel accuracy 92.4", "deeplabv3_resnet50_coco", "deeplabv3_resnet50"),
    ("deeplabv3_resnet101_coco-586e9e4e",
     lambda: networks.on_resnet101(models.DeepLabV3ResNet50()), _SEGMENT,
     "mIoU 67.4, pixel accuracy 92.4", "deeplabv3_resnet50_coco", "deeplabv3_resnet101"),
    ("fasterrcnn_resnet50_fpn_coco-258fb6c6", _make(models.FasterRCNNResNet50FPN, layers=_EXACT),
     _DETECT, "box AP 37.0", "faster_rcnn_r50_fpn_coco", "fasterrcnn_resnet50_fpn"),
    ("fasterrcnn_resnet50_fpn_v2_coco-dd69338a", models.FasterRCNNResNet50FPNV2, _DETECT,
     "box AP 46.7", "faster_rcnn_r50_fpn_coco", "fasterrcnn_resnet50_fpn_v2"),
    ("maskrcnn_resnet50_fpn_coco-bf2d0c1e", _make(models.MaskRCNNResNet50FPN, layers=_EXACT),
     _DETECT, "box AP 37.9, mask AP 34.6", "mask_rcnn_r50_fpn_coco", "maskrcnn_resnet50_fpn"),
    ("maskrcnn_resnet50_fpn_v2_coco-73cbd019", models.MaskRCNNResNet50FPNV2, _DETECT,
     "box AP 47.4, mask AP 41.8", "mask_rcnn_r50_fpn_coco", "maskrcnn_resnet50_fpn_v2"),
    ("keypointrcnn_resnet50_fpn_coco-fc266e95",
     _make(models.KeypointRCNNResNet50FPN, layers=_EXACT), _DETECT,
     "box AP 54.6, keypoint AP 65.0", "keypoint_rcnn_r50_fpn_coco", "keypointrcnn_resnet50_fpn"),
    # Its norms keep their epsilon: torchvision changes it for the newer file alone.
    ("keypointrcnn_resnet50_fpn_coco-9f466800", models.KeypointRCNNResNet50FPN, _DETECT,
     "box AP 50.6, keypoint AP 61.1", "keypoint_rcnn_r50_fpn_coco", "keypointrcnn_resnet50_fpn"),
    ("retinanet_resnet50_fpn_coco-eeacb38b", _make(models.retinanet_resnet_fpn, 50, layers=_EXACT),
     _DETECT, "box AP 36.4", "retinanet_r50_fpn_coco", "retinanet_resnet50_fpn"),
    ("retinanet_resnet50_fpn_v2_coco-5905b1c5", networks.torchvision_retinanet_v2, _DETECT,
     "box AP 41.5", "retinanet_r50_fpn_coco", "retinanet_resnet50_fpn_v2"),
    ("fcos_resnet50_fpn_coco-99b0c9b7", models.FCOSResNet50FPN, _DETECT, "box AP 39.2",
     "fcos_r50_fpn_coco", "fcos_resnet50_fpn"),
    ("ssd300_vgg16_coco-b556d3b4", networks.torchvision_ssd300, _SSD, "box AP 25.1",
     "ssd300_vgg16_coco", "ssd300_vgg16"),
    ("vgg16_features-amdegroot-88682ab5", networks.torchvision_ssd300, None, "",
     "ssd300_vgg16_coco", ""),
)  # fmt: skip


def entries() -> Iterator[Entry]:
    """Yields the rows; the end of a file's name is the beginning of its SHA-256."""
    for stem, network, preprocessing, metric, experiment, golden in _ROWS:
        reader = "torchvision" if preprocessing else "torchvision-classifier"
        digest = Digest("sha256", stem.rpartition("-")[2])
        yield Entry(
            f"torchvision/{stem}", f"{_URL}{stem}.pth", f"{stem}.pth", reader, network,
            preprocessing, metric, *_LICENCES, digest, experiment=experiment, golden=golden,
        )  # fmt: skip
