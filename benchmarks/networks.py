"""Entries of whole networks, batch × input: inference, and the full training step."""

import dataclasses
from typing import Any

from benchmarks.entries import WORK, Entry, Variant

_TORCH, _TORCHVISION = ("torch",), ("torch", "torchvision")


@dataclasses.dataclass(frozen=True)
class Network:
    """One network's two entries.

    Attributes:
      title: of the entries.
      module: of `benchmarks.work`, with `infer` and `train`; with '_torch', the peer's.
      shape: as the entries say it.
      settings: of both.
      quick: settings under `--quick`.
      steps: of a round, in inference and in training.
      needs: the peer's packages.
      compiled: whether torch.compile is a peer too, and PyTorch with large pages.
      bars: of inference and training; see `Entry`.
      tolerances: of the outputs of inference, and of losses, of which the second one is after an
        update; see `Entry`.
    """

    title: str
    module: str
    shape: str
    settings: dict[str, Any]
    quick: dict[str, Any]
    steps: tuple[int, int]
    needs: tuple[str, ...] = _TORCHVISION
    compiled: bool = False
    bars: tuple[float | None, float | None] = (1.0, 1.0)
    tolerances: tuple[float, float] = (1e-4, 5e-3)

    def entries(self) -> tuple[Entry, Entry]:
        """Of inference and of training."""
        infer, train = (
            Entry(
                f"{self.title} {title}, {self.shape}",
                "images",
                self._variants(function),
                {**self.settings, "steps": steps},
                {**self.quick, "steps": 1},
                bar=bar,
                tolerance=tolerance,
            )
            for title, function, steps, bar, tolerance in zip(
                ("inference", "training step"),
                ("infer", "train"),
                *(self.steps, self.bars, self.tolerances),
                strict=True,
            )
        )
        return infer, train

    def _variants(self, function: str) -> dict[str, Variant]:
        peer = f"{WORK}.{self.module}_torch:{function}"
        found = {
            "ours": Variant(f"{WORK}.{self.module}:{function}", large_pages=True),
            "torch": Variant(peer, self.needs),
        }
        if self.compiled:
            found["torch.compile"] = Variant(peer, self.needs, {"compiled": True})
            found["torch, large pages"] = Variant(peer, self.needs, large_pages=True)
        return found


def _classifier(
    title: str, network: str, batch: int, size: int, quick: tuple[int, int], **more: Any
) -> Network:
    settings = {"network": network, "batch_size": batch, "size": size}
    small = {"batch_size": quick[0], "size": quick[1]}
    return Network(title, "classify", f"{batch}×{size}", settings, small, **more)


def _detector(
    title: str,
    network: str,
    batch: int,
    size: tuple[int, int],
    quick: tuple[int, int, int],
    steps: tuple[int, int],
    **more: Any,
) -> Network:
    height, width = size
    shape = f"{batch}×{height}" if height == width else f"{batch}×{height}×{width}"
    settings = {"network": network, "batch_size": batch, "height": height, "width": width}
    small = dict(zip(("batch_size", "height", "width"), quick, strict=True))
    return Network(title, "detect", shape, settings, small, steps, **more)


NETWORKS = (
    _classifier(
        "LeNet", "lenet", 128, 28, (16, 28), steps=(100, 50), needs=_TORCH, bars=(None, 1.0)
    ),
    _classifier(
        "CIFAR ResNet-20",
        "resnet20",
        128,
        32,
        (16, 32),
        steps=(10, 5),
        needs=_TORCH,
        bars=(None, 1.0),
    ),
    _classifier(
        *("ResNet-50", "resnet50", 8, 224, (4, 96)), steps=(10, 5), compiled=True, bars=(1.2, 1.0)
    ),
    _classifier("VGG-16", "vgg16", 8, 224, (1, 64), steps=(3, 1)),
    _classifier("MobileNet v1", "mobilenet_v1", 32, 224, (4, 96), steps=(3, 1), needs=_TORCH),
    _classifier("Inception v3", "inception_v3", 8, 299, (4, 299), steps=(3, 2), bars=(None, None)),
    _classifier("FCN-8s VGG-16", "fcn8s", 2, 320, (1, 64), steps=(1, 1), needs=_TORCH),
    _detector("SSD300", "ssd300", 8, (300, 300), (1, 300, 300), (2, 1)),
    _detector("YOLO v3", "yolov3", 4, (416, 416), (2, 224, 224), (2, 1)),
    _detector(
        "RetinaNet R50-FPN", "retinanet", 1, (480, 640), (1, 128, 160), (2, 1), bars=(None, None)
    ),
    _detector("Faster R-CNN R50-FPN", "faster_rcnn", 1, (480, 640), (1, 128, 160), (2, 1)),
    _detector("R-FCN R50", "rfcn", 1, (480, 640), (1, 128, 160), (2, 1)),
    Network(
        "DETR R50",
        "detr",
        "1×480×640",
        {"batch_size": 1, "height": 480, "width": 640},
        {"batch_size": 1, "height": 128, "width": 160},
        (2, 1),
        bars=(1.1, 1.0),
    ),
    Network(
        "Show and Tell's decoder, 10,000 words, 3 beams,",
        "captions",
        "32×20",
        {"images": 32, "length": 20, "words": 10_000, "width": 512, "beams": 3},
        {"images": 4, "length": 12, "words": 50, "width": 16, "beams": 2},
        (2, 2),
        needs=_TORCH,
    ),
    Network(
        "super-resolution ×4",
        "super_resolution",
        "4×72",
        {"batch_size": 4, "size": 72},
        {"batch_size": 1, "size": 16},
        (5, 2),
        needs=_TORCH,
    ),
    _detector(
        "Mask R-CNN R50-FPN", "mask_rcnn", 1, (480, 640), (1, 128, 160), (1, 1), bars=(None, None)
    ),
    _detector(
        *("Keypoint R-CNN R50-FPN", "keypoint_rcnn", 1, (480, 640), (1, 128, 160), (1, 1)),
        bars=(None, None),
    ),
)

# Drawn weights: two computations in bfloat16 are as far apart as one is from float32, 0.16 of
# ResNet-50's largest logit, PyTorch's own.
HALF = tuple(
    Entry(
        f"{title} inference in bfloat16, {batch}×224",
        "images",
        {
            "ours": Variant(f"{WORK}.classify:infer", (), {"dtype": "bfloat16"}, large_pages=True),
            "torch": Variant(f"{WORK}.classify_torch:infer", _TORCHVISION, {"half": True}),
            "ours, float32": Variant(f"{WORK}.classify:infer", large_pages=True),
        },
        {"network": network, "batch_size": batch, "size": 224, "steps": steps},
        {"batch_size": 4, "size": 96, "steps": 1},
        bar=1.0,
        tolerance=0.25,
    )
    for title, network, batch, steps in (
        ("ResNet-50", "resnet50", 8, 10),
        ("VGG-16", "vgg16", 8, 3),
    )
)

_FACES = ("facenet_pytorch", "torch")
FACES = (
    Entry(
        "MTCNN, faces and landmarks, 1×512×512",
        "images",
        {
            "ours": Variant(f"{WORK}.faces:detect", ("skimage",), large_pages=True),
            "facenet-pytorch": Variant(f"{WORK}.faces_torch:detect", ("skimage", *_FACES)),
        },
        {"steps": 5, "side": 0},
        {"steps": 1, "side": 256},
        bar=2.0,
        tolerance=1e-4,
    ),
    Entry(
        "FaceNet Inception-ResNet v1 inference, 8×160",
        "images",
        {
            "ours": Variant(f"{WORK}.faces:embed", large_pages=True),
            "facenet-pytorch": Variant(f"{WORK}.faces_torch:embed", _FACES),
        },
        {"batch_size": 8, "steps": 5},
        {"batch_size": 2, "steps": 1},
        bar=1.0,
        tolerance=1e-4,
    ),
)

MASKS = (
    Entry(
        "SharpMask R50 inference, windows of 8×192",
        "windows",
        {
            "ours": Variant(f"{WORK}.masks:infer", large_pages=True),
            "torch": Variant(f"{WORK}.masks_torch:infer", _TORCH),
        },
        {"batch_size": 8, "steps": 3},
        {"batch_size": 1, "steps": 1},
        bar=1.0,
        tolerance=1e-4,
    ),
)

STYLE = (
    Entry(
        "Gatys' style transfer on VGG-19, a step of Adam, 1×256",
        "steps",
        {
            "ours": Variant(f"{WORK}.gatys:paint", large_pages=True),
            "torch": Variant(f"{WORK}.gatys_torch:paint", _TORCH),
        },
        {"size": 256, "steps": 4},
        {"size": 64, "steps": 2},
        bar=1.1,
        tolerance=5e-3,
    ),
    Entry(
        "fast style transfer inference, 1×256",
        "images",
        {
            "ours": Variant(f"{WORK}.stylize:repaint", large_pages=True),
            "torch": Variant(f"{WORK}.stylize_torch:repaint", _TORCH),
        },
        {"batch_size": 1, "size": 256, "steps": 10},
        {"batch_size": 1, "size": 64, "steps": 1},
        bar=1.0,
        tolerance=1e-4,
    ),
    Entry(
        "fast style transfer training step, 4×128",
        "images",
        {
            "ours": Variant(f"{WORK}.stylize:train", large_pages=True),
            "torch": Variant(f"{WORK}.stylize_torch:train", _TORCH),
        },
        {"batch_size": 4, "size": 128, "steps": 1},
        {"batch_size": 2, "size": 64, "steps": 1},
        bar=1.0,
        tolerance=5e-3,
    ),
)

ENTRIES = (
    *(entry for network in NETWORKS for entry in network.entries()),
    *HALF,
    *FACES,
    *MASKS,
    *STYLE,
)
