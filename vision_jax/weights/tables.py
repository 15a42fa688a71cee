"""The tables that there are for each network, by its class or by the class of its backbone."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

from flax import linen as nn

from vision_jax.config import UserError
from vision_jax.models.captioners.captioner import Captioner
from vision_jax.models.classifiers.alexnet import AlexNetBackbone
from vision_jax.models.classifiers.classifier import Classifier
from vision_jax.models.classifiers.darknet import Darknet, ResidualDarknet
from vision_jax.models.classifiers.googlenet import GoogLeNetBackbone
from vision_jax.models.classifiers.inception_v3 import InceptionV3Backbone
from vision_jax.models.classifiers.mobilenet_v1 import MobileNetV1Backbone
from vision_jax.models.classifiers.mobilenet_v2 import MobileNetV2Backbone
from vision_jax.models.classifiers.resnet import ResNet
from vision_jax.models.classifiers.resnet_cifar import ResNetCifar
from vision_jax.models.classifiers.resnet_v2 import ResNetV2
from vision_jax.models.classifiers.vgg import VGG
from vision_jax.models.detectors.deepmask import DeepMask
from vision_jax.models.detectors.detr import DETR
from vision_jax.models.detectors.fast_rcnn import FastRCNN
from vision_jax.models.detectors.faster_rcnn import FasterRCNN
from vision_jax.models.detectors.fcos import FCOS
from vision_jax.models.detectors.mtcnn import MTCNN
from vision_jax.models.detectors.mtcnn_nets import ONet, PNet, RNet
from vision_jax.models.detectors.proposal_network import ProposalNetwork
from vision_jax.models.detectors.rcnn import RCNN
from vision_jax.models.detectors.retinanet import RetinaNet
from vision_jax.models.detectors.rfcn import RFCN
from vision_jax.models.detectors.ssd import SSD
from vision_jax.models.detectors.yolo_v1 import YOLOv1
from vision_jax.models.detectors.yolo_v2 import YOLOv2
from vision_jax.models.detectors.yolo_v3 import YOLOv3
from vision_jax.models.embedders.dlib_resnet import DlibResNetBackbone
from vision_jax.models.embedders.inception_resnet_v1 import InceptionResNetV1Backbone
from vision_jax.models.segmenters.deeplab import Dilated
from vision_jax.models.segmenters.fcn import FCN
from vision_jax.models.segmenters.segmenter import Segmenter
from vision_jax.models.stylizers.johnson import JohnsonStyle
from vision_jax.models.stylizers.loss_network import WithLossNetwork
from vision_jax.weights import (
    akamaster,
    detectron2,
    detr,
    face_api,
    facenet_pytorch,
    foolwood,
    princewang,
    pytorch_examples,
    semseg,
    ssd,
    timm,
    torchvision,
    wkentaro,
)
from vision_jax.weights import caffe_tables as caffe
from vision_jax.weights import darknet_sections as darknet
from vision_jax.weights import torchvision_detection as detection
from vision_jax.weights import torchvision_fcos as fcos
from vision_jax.weights import torchvision_retinanet as retinanet
from vision_jax.weights import torchvision_segmentation as segmentation
from vision_jax.weights.engine import Row, Table

Tables = Mapping[type[nn.Module], tuple[Table, ...]]

_DARKNET = Table("darknet", darknet.darknet, darknet.is_darknet)
_YOLO = (_DARKNET, Table("eriklindernoren", darknet.pytorch_yolo, darknet.is_darknet))
# A segmenter, an R-CNN and a loss network also take their backbone's classifier.
_SEGMENTERS_CLASSIFIER = Table(
    "torchvision-classifier", segmentation.classifier, torchvision.has_classifier_of, is_part=True
)
_DETECTORS_CLASSIFIER = Table(
    "torchvision-classifier", detection.classifier, torchvision.has_classifier_of, is_part=True
)
_BACKBONE = Table("detectron2-backbone", detectron2.backbone, detectron2.has_backbone, is_part=True)
_RCNN_OLD = functools.partial(detection.rcnn, old=True)
_DETR_OF_TIMM = functools.partial(detr.transformers, timm=True)
_RETINANET_OLD = functools.partial(retinanet.retinanet, old=True)

# Networks that have tables of their own, whatever their backbone is.
NETWORKS: Tables = {
    Captioner: (_DETECTORS_CLASSIFIER, _BACKBONE),
    DeepMask: (
        Table("foolwood", foolwood.deepmask, foolwood.has_deepmask),
        _DETECTORS_CLASSIFIER,
        _BACKBONE,
    ),
    DETR: (
        Table("facebookresearch", detr.facebookresearch, detr.has_detr),
        Table("transformers", _DETR_OF_TIMM, detr.has_transformers),
        Table("transformers-own", detr.transformers, detr.has_transformers),
        _DETECTORS_CLASSIFIER,
        _BACKBONE,
    ),
    Dilated: (
        Table("torchvision", segmentation.dilated, segmentation.has_dilated),
        _SEGMENTERS_CLASSIFIER,
        _BACKBONE,
    ),
    FasterRCNN: (
        Table("torchvision", detection.rcnn, detection.has_rcnn),
        Table("torchvision-old", _RCNN_OLD, detection.has_rcnn),
        Table("detectron2", detectron2.rcnn, detectron2.has_rcnn),
        _DETECTORS_CLASSIFIER,
        _BACKBONE,
    ),
    FastRCNN: (_DETECTORS_CLASSIFIER, _BACKBONE),
    FCOS: (Table("torchvision", fcos.fcos, fcos.has_fcos), _DETECTORS_CLASSIFIER, _BACKBONE),
    FCN: (Table("wkentaro", wkentaro.fcn, wkentaro.has_fcn), _SEGMENTERS_CLASSIFIER, _BACKBONE),
    JohnsonStyle: (
        Table(
            "pytorch-examples",
            pytorch_examples.transformer_net,
            pytorch_examples.has_transformer_net,
        ),
    ),
    MTCNN: (Table("facenet-pytorch", facenet_pytorch.mtcnn),),
    ONet: (Table("facenet-pytorch", facenet_pytorch.o_net),),
    PNet: (Table("facenet-pytorch", facenet_pytorch.p_net),),
    ProposalNetwork: (
        Table("detectron2", detectron2.proposals, detectron2.has_proposals),
        _DETECTORS_CLASSIFIER,
        _BACKBONE,
    ),
    RCNN: (_DETECTORS_CLASSIFIER,),
    RetinaNet: (
        Table("torchvision", retinanet.retinanet, retinanet.has_retinanet),
        Table("torchvision-old", _RETINANET_OLD, retinanet.has_retinanet),
        Table("detectron2", detectron2.retinanet, detectron2.has_retinanet),
        _DETECTORS_CLASSIFIER,
        _BACKBONE,
    ),
    RFCN: (
        Table("princewang", princewang.rfcn, princewang.has_rfcn),
        _DETECTORS_CLASSIFIER,
        _BACKBONE,
    ),
    RNet: (Table("facenet-pytorch", facenet_pytorch.r_net),),
    Segmenter: (Table("semseg", semseg.segnet, semseg.has_segnet), _SEGMENTERS_CLASSIFIER),
    SSD: (
        Table("torchvision", ssd.torchvision, ssd.has_ssd),
        Table("amdegroot", ssd.amdegroot, ssd.has_ssd),
        Table("caffe", caffe.ssd, ssd.has_ssd),
        Table("face-api", face_api.ssd, face_api.has_ssd),
        Table("amdegroot-vgg", ssd.amdegroot_vgg, ssd.has_ssd, is_part=True),
        Table(
            "torchvision-classifier", ssd.classifier, torchvision.has_classifier_of, is_part=True
        ),
        _BACKBONE,
    ),
    WithLossNetwork: (
        _DETECTORS_CLASSIFIER,
        Table("caffe-classifier", caffe.vgg_alone, caffe.has_vgg_alone, is_part=True),
    ),
    YOLOv1: (_DARKNET,),
    YOLOv2: (*_YOLO, Table("face-api", face_api.yolo, face_api.has_yolo)),
    YOLOv3: _YOLO,
}
# Backbones of classifiers, and of whatever else has the classifier's head.
BACKBONES: Tables = {
    AlexNetBackbone: (
        Table("torchvision", torchvision.alexnet, torchvision.has_alexnet),
        Table("caffe", caffe.alexnet, caffe.has_alexnet),
    ),
    Darknet: (_DARKNET,),
    DlibResNetBackbone: (Table("face-api", face_api.dlib_resnet, face_api.has_dlib_resnet),),
    GoogLeNetBackbone: (
        Table("torchvision", torchvision.googlenet, torchvision.has_googlenet),
        Table("caffe", caffe.googlenet, caffe.has_googlenet),
    ),
    InceptionResNetV1Backbone: (
        Table(
            "facenet-pytorch",
            facenet_pytorch.inception_resnet_v1,
            facenet_pytorch.has_inception_resnet_v1,
        ),
    ),
    InceptionV3Backbone: (Table("torchvision", torchvision.inception_v3),),
    MobileNetV1Backbone: (Table("timm", timm.mobilenet_v1),),
    MobileNetV2Backbone: (
        Table("torchvision", torchvision.mobilenet_v2),
        Table("timm", timm.mobilenet_v2),
    ),
    ResNet: (
        Table("torchvision", torchvision.resnet, torchvision.has_resnet),
        Table("timm", timm.resnet),
        Table("detectron2-backbone", detectron2.backbone, detectron2.has_backbone),
    ),
    ResNetCifar: (Table("akamaster", akamaster.resnet_cifar),),
    ResNetV2: (Table("timm", timm.resnet_v2, timm.has_resnet_v2),),
    ResidualDarknet: (Table("timm", timm.darknet53, timm.has_darknet53), _DARKNET),
    VGG: (
        Table("torchvision", torchvision.vgg, torchvision.has_vgg),
        Table("timm", timm.vgg, timm.has_vgg),
        Table("caffe", caffe.vgg, caffe.has_vgg),
    ),
}


@runtime_checkable
class OnBackbone(Protocol):
    """A network that is made of a backbone and parts on top of it."""

    @property
    def backbone(self) -> nn.Module:
        """The part whose parameters are `params['backbone']`."""


def tables_for(model: nn.Module) -> tuple[Table, ...]:
    """Returns the tables of a network, in the order in which they are tried.

    Raises:
      UserError: there are none.
    """
    if isinstance(model, Captioner) and isinstance(model.backbone, Classifier):
        return tuple(_below(table) for table in tables_for(model.backbone))
    part, tables = model, _of(NETWORKS, model)
    if tables is None and isinstance(model, OnBackbone):
        part, tables = model.backbone, _of(BACKBONES, model.backbone)
    name = type(part).__name__
    if tables is None:
        known = sorted(kind.__name__ for kind in (*NETWORKS, *BACKBONES))
        raise UserError(f"no weights table for {name} - known: {', '.join(known)}")
    applying = tuple(table for table in tables if table.applies(model))
    if not applying:
        raise UserError(f"no weights table for this variant of {name}")
    return applying


def _below(table: Table) -> Table:
    """Returns a classifier's table for a network whose backbone is the whole classifier."""

    def rows(model: Any) -> Iterator[Row]:
        for row in table.rows(model.backbone):
            yield dataclasses.replace(row, path=f"backbone/{row.path}")

    return Table(table.source, rows, is_part=True)


def _of(tables: Tables, module: nn.Module) -> tuple[Table, ...] | None:
    """Returns the tables of a module's class, or of the nearest class that it derives from."""
    return next((tables[kind] for kind in type(module).__mro__ if kind in tables), None)
