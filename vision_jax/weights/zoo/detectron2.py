"""detectron2's model zoo, from its list of models (snapshot of June 2026)."""

import dataclasses
import functools
from collections.abc import Iterator

from vision_jax import models
from vision_jax.weights.download import Digest
from vision_jax.weights.zoo import networks
from vision_jax.weights.zoo.entry import Entry, Network
from vision_jax.weights.zoo.preprocessing import Preprocessing

_URL = "https://dl.fbaipublicfiles.com/detectron2"
_LICENCES = ("Apache-2.0", "CC BY-SA 3.0")
_FPN = Preprocessing(
    "short", "pillow-bilinear", short=800, longest=1333,
    mean=(123.675 / 255, 116.28 / 255, 103.53 / 255), std=(1 / 255,) * 3,
    divisor=32, rounding="nearest",
)  # fmt: skip
_C4 = dataclasses.replace(_FPN, divisor=1)
_make, _fpn = functools.partial, networks.detectron2_fpn
_BOX, _MASK, _KEYPOINT = "COCO-Detection", "COCO-InstanceSegmentation", "COCO-Keypoints"
_VOC, _COMPARISONS = "PascalVOC-Detection", "Detectron1-Comparisons"

# Group, config, number and hash of the file, network, preprocessing, metric, experiment.
_ROWS: tuple[tuple[str, str, str, Network, Preprocessing, str, str], ...] = (
    (_BOX, "faster_rcnn_R_50_C4_1x", "137257644 721ade", models.FasterRCNNResNet50C4, _C4,
     "box AP 35.7", "faster_rcnn_r50_c4_coco"),
    (_BOX, "faster_rcnn_R_50_FPN_1x", "137257794 b275ba", _make(_fpn, 50), _FPN, "box AP 37.9",
     "faster_rcnn_r50_fpn_coco"),
    (_BOX, "faster_rcnn_R_50_C4_3x", "137849393 f97cb7", models.FasterRCNNResNet50C4, _C4,
     "box AP 38.4", "faster_rcnn_r50_c4_coco"),
    (_BOX, "faster_rcnn_R_50_FPN_3x", "137849458 280758", _make(_fpn, 50), _FPN, "box AP 40.2",
     "faster_rcnn_r50_fpn_coco"),
    (_BOX, "faster_rcnn_R_101_C4_3x", "138204752 298dad", models.FasterRCNNResNet101C4, _C4,
     "box AP 41.1", "faster_rcnn_r50_c4_coco"),
    (_BOX, "faster_rcnn_R_101_FPN_3x", "137851257 f6e8b1", _make(_fpn, 101), _FPN, "box AP 42.0",
     "faster_rcnn_r101_fpn_coco"),
    (_BOX, "retinanet_R_50_FPN_1x", "190397773 bfca0b", _make(networks.detectron2_retinanet, 50),
     _FPN, "box AP 37.4", "retinanet_r50_fpn_coco"),
    (_BOX, "retinanet_R_50_FPN_3x", "190397829 5bd44e", _make(networks.detectron2_retinanet, 50),
     _FPN, "box AP 38.7", "retinanet_r50_fpn_coco"),
    (_BOX, "retinanet_R_101_FPN_3x", "190397697 971ab9",
     _make(networks.detectron2_retinanet, 101), _FPN, "box AP 40.4",
     "retinanet_r50_fpn_coco"),
    (_BOX, "rpn_R_50_FPN_1x", "137258492 02ce48", networks.detectron2_proposals, _FPN,
     "AR@1000 58.0", ""),
    (_MASK, "mask_rcnn_R_50_C4_1x", "137259246 9243eb", models.MaskRCNNResNet50C4, _C4,
     "box AP 36.8, mask AP 32.2", "mask_rcnn_r50_c4_coco"),
    (_MASK, "mask_rcnn_R_50_FPN_1x", "137260431 a54504", _make(_fpn, 50, mask=True), _FPN,
     "box AP 38.6, mask AP 35.2", "mask_rcnn_r50_fpn_coco"),
    (_MASK, "mask_rcnn_R_50_FPN_3x", "137849600 f10217", _make(_fpn, 50, mask=True), _FPN,
     "box AP 41.0, mask AP 37.2", "mask_rcnn_r50_fpn_coco"),
    (_MASK, "mask_rcnn_R_101_FPN_3x", "138205316 a3ec72", _make(_fpn, 101, mask=True), _FPN,
     "box AP 42.9, mask AP 38.6", "mask_rcnn_r50_fpn_coco"),
    (_KEYPOINT, "keypoint_rcnn_R_50_FPN_1x", "137261548 04e291", _make(_fpn, 50, keypoint=True),
     _FPN, "box AP 53.6, keypoint AP 64.0", "keypoint_rcnn_r50_fpn_coco"),
    (_KEYPOINT, "keypoint_rcnn_R_50_FPN_3x", "137849621 a6e10b", _make(_fpn, 50, keypoint=True),
     _FPN, "box AP 55.4, keypoint AP 65.5", "keypoint_rcnn_r50_fpn_coco"),
    (_VOC, "faster_rcnn_R_50_C4", "142202221 b1acc2",
     _make(models.FasterRCNNResNet50C4, num_classes=20), _C4, "AP 51.9, AP50 80.3 (VOC 07+12)",
     "faster_rcnn_r50_fpn_voc0712"),
    (_COMPARISONS, "faster_rcnn_R_50_FPN_noaug_1x", "137781054 7ab50c",
     _make(_fpn, 50, aligned=False), _FPN, "", "faster_rcnn_r50_fpn_coco"),
    (_COMPARISONS, "mask_rcnn_R_50_FPN_noaug_1x", "137781281 62ca52",
     _make(_fpn, 50, mask=True, aligned=False), _FPN, "", "mask_rcnn_r50_fpn_coco"),
)  # fmt: skip
_BACKBONES: tuple[tuple[str, Network], ...] = (
    ("MSRA/R-50", _make(networks.detectron2_backbone, 50)),
    ("MSRA/R-101", _make(networks.detectron2_backbone, 101)),
    ("torchvision/R-50", models.ResNet50),
)


def entries() -> Iterator[Entry]:
    """Yields the rows; the end of a model's file name is the beginning of its MD5."""
    for group, config, numbers, network, preprocessing, metric, experiment in _ROWS:
        number, digits = numbers.split()
        file = f"model_final_{digits}.pkl"
        yield Entry(
            f"detectron2/{config}", f"{_URL}/{group}/{config}/{number}/{file}", file, "detectron2",
            network, preprocessing, metric, *_LICENCES, Digest("md5", digits),
            experiment=experiment,
        )  # fmt: skip
    for path, network in _BACKBONES:
        yield Entry(
            f"detectron2/{path}", f"{_URL}/ImageNetPretrained/{path}.pkl",
            f"{path.rpartition('/')[2]}.pkl", "detectron2-backbone", network, None, "", *_LICENCES,
        )  # fmt: skip
