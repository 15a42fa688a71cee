"""Which tables there are for which network, by the class name of its backbone."""

from typing import Any

from vision_jax.config import UserError
from vision_jax.weights import akamaster, detectron2, semseg, ssd, timm, torchvision, wkentaro
from vision_jax.weights import caffe_tables as caffe
from vision_jax.weights import darknet_sections as darknet
from vision_jax.weights import torchvision_detection as detection
from vision_jax.weights import torchvision_retinanet as retinanet
from vision_jax.weights import torchvision_segmentation as segmentation
from vision_jax.weights.engine import Table

_DARKNET = Table("darknet", darknet.darknet, darknet.is_darknet)
_YOLO = (_DARKNET, Table("eriklindernoren", darknet.pytorch_yolo, darknet.is_darknet))
# A segmenter also takes its backbone's classifier.
_CLASSIFIER = Table("torchvision-classifier", segmentation.classifier, segmentation.has_classifier)
# So do the R-CNNs.
_DETECTORS_CLASSIFIER = Table(
    "torchvision-classifier", detection.classifier, detection.has_classifier
)

TABLES: dict[str, tuple[Table, ...]] = {
    "AlexNetBackbone": (
        Table("torchvision", torchvision.alexnet, torchvision.has_alexnet),
        Table("caffe", caffe.alexnet, caffe.has_alexnet),
    ),
    "Dilated": (
        Table("torchvision", segmentation.dilated, segmentation.has_dilated),
        _CLASSIFIER,
    ),
    "FasterRCNN": (
        Table("torchvision", detection.rcnn, detection.has_rcnn),
        Table("torchvision-old", detection.rcnn_old, detection.has_rcnn),
        Table("detectron2", detectron2.rcnn, detectron2.has_rcnn),
        _DETECTORS_CLASSIFIER,
    ),
    "FastRCNN": (_DETECTORS_CLASSIFIER,),
    "ProposalNetwork": (_DETECTORS_CLASSIFIER,),
    "Darknet": (_DARKNET,),
    "FCN": (Table("wkentaro", wkentaro.fcn, wkentaro.has_fcn), _CLASSIFIER),
    "GoogLeNetBackbone": (
        Table("torchvision", torchvision.googlenet, torchvision.has_googlenet),
        Table("caffe", caffe.googlenet, caffe.has_googlenet),
    ),
    "InceptionV3Backbone": (Table("torchvision", torchvision.inception_v3),),
    "MobileNetV1Backbone": (Table("timm", timm.mobilenet_v1),),
    "MobileNetV2Backbone": (Table("torchvision", torchvision.mobilenet_v2),),
    "ResNet": (
        Table("torchvision", torchvision.resnet, torchvision.has_resnet),
        Table("timm", timm.resnet),
    ),
    "ResNetCifar": (Table("akamaster", akamaster.resnet_cifar),),
    "ResNetV2": (Table("timm", timm.resnet_v2, timm.has_resnet_v2),),
    "RetinaNet": (
        Table("torchvision", retinanet.retinanet, retinanet.has_retinanet),
        Table("torchvision-old", retinanet.retinanet_old, retinanet.has_retinanet),
        Table("detectron2", detectron2.retinanet, detectron2.has_retinanet),
        _DETECTORS_CLASSIFIER,
    ),
    "ResidualDarknet": (Table("timm", timm.darknet53, timm.has_darknet53), _DARKNET),
    "Segmenter": (Table("semseg", semseg.segnet, semseg.has_segnet), _CLASSIFIER),
    "VGG": (
        Table("torchvision", torchvision.vgg, torchvision.has_vgg),
        Table("caffe", caffe.vgg, caffe.has_vgg),
    ),
    "SSD": (
        Table("torchvision", ssd.torchvision, ssd.has_ssd),
        Table("amdegroot", ssd.amdegroot, ssd.has_ssd),
        Table("caffe", caffe.ssd, ssd.has_ssd),
        Table("amdegroot-vgg", ssd.amdegroot_vgg, ssd.has_ssd),
        Table("torchvision-classifier", ssd.classifier, ssd.has_classifier),
    ),
    "YOLOv1": (_DARKNET,),
    "YOLOv2": _YOLO,
    "YOLOv3": _YOLO,
}


def tables_for(model: Any) -> tuple[Table, ...]:
    """The tables of a network, in the order in which they are tried.

    Raises:
      UserError: there are none.
    """
    name = type(getattr(model, "backbone", model)).__name__
    for part in (model, getattr(model, "backbone", None)):
        if type(part).__name__ in TABLES:
            name = type(part).__name__
            found = tuple(table for table in TABLES[name] if table.applies(model))
            if found:
                return found
            raise UserError(f"no weights table for this variant of {name}")
    raise UserError(f"no weights table for {name} - known: {', '.join(sorted(TABLES))}")
