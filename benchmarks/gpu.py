"""Entries that need a GPU: training in bfloat16, with float32 statistics and parameters."""

import dataclasses
from typing import Any

from benchmarks.entries import WORK, Entry, Variant

_TORCH, _TORCHVISION = ("torch",), ("torch", "torchvision")
_COMPILED, _EAGER = "torch.compile, AMP", "torch, AMP"
_GRAPHS = "torch.compile, CUDA graphs, AMP"


@dataclasses.dataclass(frozen=True)
class Training:
    """One network's two entries: beside PyTorch, and what our choices cost or gain.

    They are two because every process of an entry keeps its memory to the end.

    Attributes:
      title, shape: of the entries.
      module: of the peer, in `benchmarks.work`, less '_torch'.
      ours: function of `benchmarks.work.on_gpu`.
      settings: of both; see `ours`.
      quick: settings under `--quick`.
      dispatch: steps per program.
      needs: the peer's packages.
      bar: see `Entry`.
      graphs: whether PyTorch's CUDA graphs are a peer too, which spare it what several steps per
        program spare us.
      tolerance: of the losses of the first two steps, or of what the region proposal network says
        of each of many anchors, whose largest difference is larger; see `Entry`. A number in
        bfloat16 is 0.4% wide, and sides round in different places.
    """

    title: str
    shape: str
    module: str
    ours: str
    settings: dict[str, Any]
    quick: dict[str, Any]
    dispatch: int
    needs: tuple[str, ...] = _TORCHVISION
    bar: float | None = None
    graphs: bool = False
    tolerance: float = 2e-2

    def entries(self) -> tuple[Entry, Entry]:
        """Beside PyTorch, and ours beside ours."""
        name = f"GPU {self.title} training step, {self.shape}, bf16"
        ours = self._ours(self.dispatch)
        peers = {_COMPILED: self._peer(compiled=True), _EAGER: self._peer()}
        if self.graphs:
            peers[_GRAPHS] = self._peer(compiled="reduce-overhead")
        others = {
            "deterministic": self._ours(self.dispatch, deterministic=True),
            "one step per dispatch": self._ours(1),
        }
        return (
            self._entry(name, {"ours": ours, **peers}, self.bar),
            self._entry(f"{name}: determinism, dispatches", {"ours": ours, **others}, None),
        )

    def _entry(self, name: str, variants: dict[str, Variant], bar: float | None) -> Entry:
        return Entry(
            *(name, "images", variants, self.settings, self.quick),
            bar=bar,
            tolerance=self.tolerance,
            gpus=1,
        )

    def _ours(self, dispatch: int, **more: Any) -> Variant:
        settings = {"dispatch": dispatch, **more}
        return Variant(f"{WORK}.on_gpu:{self.ours}", settings=settings, large_pages=True)

    def _peer(self, **more: Any) -> Variant:
        target = f"{WORK}.{self.module}_torch:train"
        return Variant(target, self.needs, {"amp": True, **more})


def _classifier(
    title: str,
    network: str,
    shape: tuple[int, int],
    quick: tuple[int, int],
    steps: int,
    **more: Any,
) -> Training:
    batch, size = shape
    settings = {"network": network, "batch_size": batch, "size": size, "steps": steps}
    small = {"batch_size": quick[0], "size": quick[1], "steps": 2}
    return Training(title, f"{batch}×{size}", "classify", "classifier", settings, small, **more)


def _detector(
    title: str,
    network: str,
    shape: tuple[int, int, int],
    quick: tuple[int, int, int],
    steps: int,
    **more: Any,
) -> Training:
    names = ("batch_size", "height", "width")
    settings = {"network": network, **dict(zip(names, shape, strict=True)), "steps": steps}
    small = {**dict(zip(names, quick, strict=True)), "steps": 2}
    sides = shape[:2] if shape[1] == shape[2] else shape
    said = "×".join(map(str, sides))
    return Training(title, said, "detect", "detector", settings, small, **more)


TRAININGS = (
    _classifier(
        *("LeNet", "lenet", (4096, 28), (16, 28), 96), dispatch=32, needs=_TORCH, graphs=True
    ),
    _classifier(
        *("CIFAR ResNet-20", "resnet20", (1024, 32), (16, 32), 64),
        dispatch=32,
        needs=_TORCH,
        graphs=True,
    ),
    _classifier(*("ResNet-50", "resnet50", (256, 224), (16, 128), 24), dispatch=8, bar=1.1),
    _detector("SSD300", "ssd300", (64, 300, 300), (1, 300, 300), 16, dispatch=8, bar=1.3),
    _detector(
        *("Faster R-CNN R50-FPN", "faster_rcnn", (8, 800, 1344), (1, 128, 160), 8),
        dispatch=4,
        bar=1.5,
        tolerance=5e-2,
    ),
)

_EPOCH = f"{WORK}.cifar_epoch"
_EPOCH_ENTRY = Entry(
    "GPU an epoch of 50,000 images of 32×32, CIFAR ResNet-20, batches of 512, bf16",
    "images",
    {
        "ours": Variant(f"{_EPOCH}:ours", settings={"dispatch": 32}, large_pages=True),
        _COMPILED: Variant(f"{_EPOCH}_torch:train", _TORCH, {"compiled": True}),
        _GRAPHS: Variant(f"{_EPOCH}_torch:train", _TORCH, {"compiled": "reduce-overhead"}),
        "ours, from the host, one step per dispatch": Variant(
            f"{_EPOCH}:ours", settings={"cached": False}, large_pages=True
        ),
    },
    {"images": 50_000, "batch_size": 512},
    {"images": 16, "batch_size": 4},
    gpus=1,
)

# Losses are of the same 4,096 images on any number of devices.
_SCALING = tuple(
    Entry(
        f"GPU weak scaling to {most} GPUs, CIFAR ResNet-56, 512 images each, bf16",
        "images",
        {
            "ours" if n == most else f"{n} GPU{'s' * (n > 1)}": Variant(
                f"{WORK}.scaling:train", settings={"devices": n}, large_pages=True
            )
            for n in (1, 2, 4, 8)
            if n <= most
        },
        {"depth": 56, "per_device": 512, "steps": 20, "dtype": "bfloat16"},
        {"depth": 8, "per_device": 4, "steps": 1},
        tolerance=2e-2,
        gpus=most,
    )
    for most in (2, 4, 8)
)

ENTRIES = (
    *(entry for training in TRAININGS for entry in training.entries()),
    _EPOCH_ENTRY,
    *_SCALING,
)
