"""What is measured: one `Entry` per row of the table."""

import dataclasses
from typing import Any

WORK = "benchmarks.work"


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way to do an entry's work, run in a process of its own.

    Attributes:
      target: 'module:function'; the function takes the entry's settings and returns a `Work`.
      needs: packages without which it is left out.
      settings: further arguments, of this variant alone.
      large_pages: whether its process has them, as one that `launch.py` starts.
    """

    target: str
    needs: tuple[str, ...] = ()
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    large_pages: bool = False


@dataclasses.dataclass(frozen=True)
class Entry:
    """Work that ours and its peers do.

    Attributes:
      name: what the filter and the table say.
      unit: of the work; rates are units per second.
      variants: by name; 'ours' is compared with each other one. Where all are ours, as in scaling,
        the others are what ours is held against.
      settings: arguments of the variants' functions.
      quick: settings that replace them under `--quick`, which only shows that all works.
      clock: 'wall', or 'cpu' for units per second of processor time, over all threads.
      rounds: turns that each variant gets.
      cores: to which its processes are pinned; 0 leaves all.
      bar: the least ratio of ours to the first peer that we aim at.
      tolerance: largest difference of outputs from the first peer's, relative to their largest
        value; None compares nothing, where the work is random.
      gpus: that it needs. 0 runs on the CPU on all sides, whatever else the machine has; such an
        entry's functions are told the `device`: 'cuda', or under `--quick` where there are too
        few, 'cpu'.
    """

    name: str
    unit: str
    variants: dict[str, Variant]
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    quick: dict[str, Any] = dataclasses.field(default_factory=dict)
    clock: str = "wall"
    rounds: int = 7
    cores: int = 0
    bar: float | None = None
    tolerance: float | None = None
    gpus: int = 0


_TF = ("tensorflow",)
_PIPELINES = {
    "ours": Variant(f"{WORK}.input_pipeline:ours"),
    "tf.data": Variant(f"{WORK}.input_pipeline:tf_data", _TF),
}

_OWN = (
    "experiments/own_detection.py:train=tfds:shapes/det64,train[:64]"
    ",val=tfds:shapes/det64,validation[:8],model=resnet50,size=320,batch=2"
)
FIRST_ANSWERS = {
    "quickstart": "experiments/quickstart.py",
    "quickstart_detection": "experiments/quickstart_detection.py",
    "Faster R-CNN R50-FPN on own pictures": _OWN,
    "Mask R-CNN R50-FPN on own pictures": f"{_OWN},detector=mask_rcnn",
}

ENTRIES = (
    Entry(
        "JPEG to 224 crop, one core",
        "images",
        _PIPELINES,
        {"files": 128, "images": 1024, "antialias": False},
        {"files": 16, "images": 64},
        clock="cpu",
        cores=1,
        bar=0.85,
    ),
    Entry(
        "JPEG to 224 crop, antialiased, one core",
        "images",
        _PIPELINES,
        {"files": 128, "images": 1024, "antialias": True},
        {"files": 16, "images": 64},
        clock="cpu",
        cores=1,
        bar=0.85,
    ),
    Entry(
        "JPEG to 224 crop, all cores",
        "images",
        _PIPELINES,
        {"files": 128, "images": 2048, "antialias": False},
        {"files": 16, "images": 64},
    ),
    Entry(
        "CIFAR batches from memory, augmented",
        "images",
        {
            "ours": Variant(f"{WORK}.cifar_batches:ours"),
            "tf.data": Variant(f"{WORK}.cifar_batches:tf_data", _TF),
        },
        {"batches": 200},
        {"batches": 4},
    ),
    *(
        Entry(
            f"training steps of 8 seeds, {title}, batches of {batch_size}",
            "steps",
            {
                "ours": Variant(f"{WORK}.several_runs:together", large_pages=True),
                "one after the other": Variant(
                    f"{WORK}.several_runs:in_sequence", large_pages=True
                ),
            },
            {"net": net, "seeds": 8, "batch_size": batch_size, "steps": 5},
            {"batch_size": 4, "seeds": 2, "steps": 1},
        )
        for net, title, batch_size in (
            ("lenet", "LeNet-5", 4),
            ("lenet", "LeNet-5", 64),
            ("resnet8", "ResNet-8", 16),
        )
    ),
    Entry(
        "an epoch from JPEG files, MobileNet v1, 32×128",
        "images",
        {
            "ours": Variant(f"{WORK}.jpeg_epoch:ours", large_pages=True),
            "torch": Variant(f"{WORK}.jpeg_epoch:torch", ("torch", "torchvision")),
        },
        {"files": 256, "batch_size": 32, "size": 128},
        {"files": 8, "batch_size": 4, "size": 64},
        rounds=5,
    ),
    Entry(
        "COCO AP, 5,000 images",
        "images",
        {
            "ours": Variant(f"{WORK}.coco_ap:ours"),
            "pycocotools": Variant(f"{WORK}.coco_ap:pycocotools"),
        },
        {"images": 5000, "truth": 7, "found": 50},
        {"images": 60, "truth": 3, "found": 10},
        rounds=3,
        tolerance=0.0,
        bar=2.0,
    ),
    Entry(
        "weak scaling to 8 devices, ResNet-20, 32 images each",
        "images",
        {
            "ours": Variant(f"{WORK}.scaling:train", large_pages=True, settings={"devices": 8}),
            **{
                f"{n} device{'s' * (n > 1)}": Variant(
                    f"{WORK}.scaling:train", large_pages=True, settings={"devices": n}
                )
                for n in (1, 2, 4)
            },
        },
        {"depth": 20, "per_device": 32, "steps": 3},
        {"depth": 8, "per_device": 4, "steps": 1},
        rounds=5,
        tolerance=1e-4,
    ),
    *(
        Entry(
            f"growth: ResNet-50 training step, {batch_size}×{size}",
            "images",
            {"ours": Variant(f"{WORK}.growth:train", large_pages=True)},
            {"network": "resnet50", "batch_size": batch_size, "size": size, "steps": 2},
            {"network": "lenet", "batch_size": 2, "size": 28, "steps": 1},
            rounds=3,
        )
        for batch_size, size in ((1, 128), (4, 128), (16, 128), (4, 64), (4, 256))
    ),
    *(
        Entry(
            f"growth: Faster R-CNN inference, {boxes:,} proposals",
            "images",
            {"ours": Variant(f"{WORK}.growth:propose", large_pages=True)},
            {"boxes": boxes, "height": 320, "width": 320, "steps": 2},
            {"boxes": 10, "height": 64, "width": 64, "steps": 1},
            rounds=3,
        )
        for boxes in (100, 300, 1000)
    ),
    *(
        Entry(
            f"from command to first {answer}, {name}",
            "runs",
            {
                "ours": Variant(f"{WORK}.first_step:warm"),
                "without compilation cache": Variant(f"{WORK}.first_step:cold"),
            },
            {"config": config, "predicts": answer == "prediction"},
            {"config": "experiments/quickstart.py:smoke", "predicts": answer == "prediction"},
            rounds=3,
        )
        for name, config in FIRST_ANSWERS.items()
        for answer in ("step", "prediction")
    ),
)
