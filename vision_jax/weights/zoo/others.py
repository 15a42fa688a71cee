"""Published weights of Darknet, ssd.pytorch, pytorch-fcn and of ResNets for CIFAR-10."""

import functools
from collections.abc import Iterator

from vision_jax import models
from vision_jax.models.classifiers.darknet import DARKNET
from vision_jax.weights.download import Digest
from vision_jax.weights.zoo import networks
from vision_jax.weights.zoo.entry import Entry, Network
from vision_jax.weights.zoo.preprocessing import Preprocessing

_YOLO = "https://pjreddie.com/media/files/"
_SSD = "https://s3.amazonaws.com/amdegroot-models/"
_CIFAR = "https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models/"
_DRIVE = "https://drive.google.com/uc?id="
_LETTERBOX = Preprocessing(
    "letterbox", "darknet", size=416, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
)
_STRETCH = Preprocessing(
    "stretch", "opencv", size=300, mean=(123 / 255, 117 / 255, 104 / 255), std=(1 / 255,) * 3
)
_CAFFE = Preprocessing(
    "none",
    "pillow-bilinear",
    mean=(122.67891434 / 255, 116.66876762 / 255, 104.00698793 / 255),
    std=(1 / 255,) * 3,
)
_make = functools.partial

# File, network, preprocessing, metric, megabytes, experiment, golden.
_DARKNET: tuple[tuple[str, Network, Preprocessing | None, str, int | None, str, str], ...] = (
    ("yolov3.weights", networks.yolo_v3, _LETTERBOX, "AP50 55.3 (416)", 236, "yolo_v3_coco",
     "darknet_yolov3"),
    ("yolov3-tiny.weights", _make(models.YOLOv3Tiny, layers=DARKNET), _LETTERBOX, "AP50 33.1",
     None, "yolo_v3_tiny_coco", "darknet_yolov3-tiny"),
    ("yolov2.weights", _make(networks.yolo_v2, 80), _LETTERBOX, "AP50 48.1 (608)", 194,
     "yolo_v2_coco", "darknet_yolov2-voc"),
    ("yolo-voc.weights", _make(networks.yolo_v2, 20), _LETTERBOX, "mAP 76.8 (416, VOC 07)", None,
     "yolo_v2_voc0712", "darknet_yolov2-voc"),
    ("yolov2-tiny.weights", networks.yolo_v2_tiny_coco, _LETTERBOX, "", None,
     "yolo_v2_coco", ""),
    ("yolov2-tiny-voc.weights", _make(models.YOLOv2Tiny, layers=DARKNET), _LETTERBOX, "", None,
     "yolo_v2_voc0712", "darknet_yolov2-tiny-voc"),
    ("darknet19_448.conv.23", _make(models.Darknet19, layers=DARKNET), None, "", None,
     "yolo_v2_voc0712", ""),
    ("darknet53.conv.74", _make(models.Darknet53, layers=DARKNET), None, "", None,
     "yolo_v3_coco", ""),
)  # fmt: skip
_SHA1 = {"yolov3.weights": "520878f12e97cf820529daea502acca380f1cb8e"}

# File, preprocessing, metric, golden.
_SSD300: tuple[tuple[str, Preprocessing | None, str, str], ...] = (
    ("ssd300_mAP_77.43_v2.pth", _STRETCH, "mAP 77.43 (VOC 07)", "ssd300_vgg16_original"),
    ("ssd_300_VOC0712.pth", _STRETCH, "mAP 77.2 (VOC 07)", "ssd300_vgg16_original"),
    ("vgg16_reducedfc.pth", None, "", ""),
)

# Name, number at Google Drive, MD5, network, metric, golden.
_FCN: tuple[tuple[str, str, str, Network, str, str], ...] = (
    ("fcn32s", "11k2Q0bvRQgQbT6-jYWeh6nmAsWlSCY3f", "d3eb467a80e7da0468a20dfcbc13e6c8",
     _make(models.FCN32s, learn="all"), "mIoU 63.63", "fcn32s_vgg16"),
    ("fcn16s", "1bctu58B6YH9bu6lBBSBB2rUeGlGhYLoP", "a2d4035f669f09483b39c9a14a0d6670",
     _make(models.FCN16s, learn="all"), "mIoU 65.01", "fcn16s_vgg16"),
    ("fcn8s", "1ieXWyoG68xqoHJPWdyrDyaIaaWlfmUxI", "de93e540ec79512f8770033849c8ae89",
     _make(models.FCN8s, learn="all"), "mIoU 65.51", "fcn8s_vgg16"),
    ("fcn8s-atonce", "0B9P1L--7Wd2vblE1VUIxV1o2d2M", "bfed4437e941fef58932891217fe6464",
     _make(models.FCN8s, learn="all", scales=(1e-2, 1e-4)), "mIoU 65.40", ""),
)  # fmt: skip
_VGG = ("vgg16_from_caffe", "1adDBTGY3GcEB_47dvcibajyzi872RAs3", "aa75b158f4181e7f6230029eb96c1b13")
_FIRST = "backbone/conv1_1/conv/kernel"

# File, depth, metric, golden.
_RESNETS: tuple[tuple[str, int, str, str], ...] = (
    ("resnet20-12fca82f", 20, "error 8.27 %", "cifar_resnet20"),
    ("resnet32-d509ac18", 32, "error 7.37 %", ""),
    ("resnet44-014dd654", 44, "error 6.90 %", ""),
    ("resnet56-4bfd9763", 56, "error 6.61 %", "cifar_resnet56"),
    ("resnet110-1d1ed7c2", 110, "error 6.32 %", "cifar_resnet110"),
    ("resnet1202-f3b1deed", 1202, "error 6.18 %", ""),
)


def entries() -> Iterator[Entry]:
    """Yields the rows of all four."""
    yield from _darknet()
    yield from _ssd()
    yield from _fcn()
    yield from _cifar()


def _darknet() -> Iterator[Entry]:
    licence = "YOLO LICENSE 2 (2016-07-29)"
    for file, network, preprocessing, metric, megabytes, experiment, golden in _DARKNET:
        digest = Digest("sha1", _SHA1[file]) if file in _SHA1 else None
        yield Entry(
            f"darknet/{file.removesuffix('.weights')}", f"{_YOLO}{file}", file, "darknet",
            network, preprocessing, metric, licence, licence, digest, megabytes, experiment, golden,
        )  # fmt: skip


def _ssd() -> Iterator[Entry]:
    for file, preprocessing, metric, golden in _SSD300:
        yield Entry(
            f"amdegroot/{file.removesuffix('.pth')}", f"{_SSD}{file}", file,
            "amdegroot" if preprocessing else "amdegroot-vgg", networks.amdegroot_ssd300,
            preprocessing, metric, "MIT", "not stated", experiment="ssd300_vgg16_voc0712",
            golden=golden,
        )  # fmt: skip


def _fcn() -> Iterator[Entry]:
    """Yields FCNs, and the VGG-16 that they start from, which read images as Caffe does."""
    licences = "MIT", "BVLC model licence, unrestricted use"
    for name, number, md5, network, metric, golden in _FCN:
        experiment = f"{name}_vgg16_voc" if golden else "fcn8s_vgg16_voc"
        yield Entry(
            f"wkentaro/{name}", f"{_DRIVE}{number}", f"{name}.pth", "wkentaro", network, _CAFFE,
            metric, *licences, Digest("md5", md5), experiment=experiment, golden=golden,
            reads_bgr=_FIRST,
        )  # fmt: skip
    name, number, md5 = _VGG
    yield Entry(
        f"wkentaro/{name}", f"{_DRIVE}{number}", f"{name}.pth", "torchvision", models.VGG16, None,
        "", *licences, Digest("md5", md5), experiment="fcn32s_vgg16_voc", reads_bgr=_FIRST,
    )  # fmt: skip


def _cifar() -> Iterator[Entry]:
    """Yields ResNets for images of 32 pixels, which come as they are."""
    images = Preprocessing("none", "pillow-bilinear")
    for stem, depth, metric, golden in _RESNETS:
        yield Entry(
            f"akamaster/{stem}", f"{_CIFAR}{stem}.th", f"{stem}.th", "akamaster",
            functools.partial(models.CifarResNet, depth), images, metric, "BSD-2-Clause",
            "not stated", experiment="resnet_cifar10", golden=golden,
        )  # fmt: skip
