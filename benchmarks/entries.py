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
    """

    target: str
    needs: tuple[str, ...] = ()
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Entry:
    """Work that ours and its peers do.

    Attributes:
      name: what the filter and the table say.
      unit: of the work; rates are units per second.
      variants: by name; 'ours' is compared with each other one.
      settings: arguments of the variants' functions.
      quick: settings that replace them under `--quick`, which only shows that all works.
      clock: 'wall', or 'cpu' for units per second of processor time, over all threads.
      rounds: turns that each variant gets.
      cores: to which its processes are pinned; 0 leaves all.
      bar: the least ratio of ours to the first peer that we aim at.
      tolerance: largest difference of outputs from the first peer's, relative to their largest
        value; None compares nothing, where the work is random.
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


_TF = ("tensorflow",)
_PIPELINES = {
    "ours": Variant(f"{WORK}.input_pipeline:ours"),
    "tf.data": Variant(f"{WORK}.input_pipeline:tf_data", _TF),
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
                "ours": Variant(f"{WORK}.several_runs:together"),
                "one after the other": Variant(f"{WORK}.several_runs:in_sequence"),
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
        "from command to first step, quickstart",
        "runs",
        {
            "ours": Variant(f"{WORK}.first_step:warm"),
            "without compilation cache": Variant(f"{WORK}.first_step:cold"),
        },
        {"config": "experiments/quickstart.py"},
        rounds=5,
    ),
)
