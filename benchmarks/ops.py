"""Operators of detection, ours against torchvision's C++ ones (where they are installed).

Each case makes the same inputs for both sides from a seed; layouts are each side's own, and so is
the work: torchvision's NMS knows no limit, so that its result is cut afterwards.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.entries import Entry, Variant
from benchmarks.work import Work

STRIDES = (4, 8, 16, 32)
SIDE = 800  # of the image, in pixels


def ours(shared: object, case: str, repeats: int, **sizes: int) -> Work:
    import jax

    function, inputs, units = _OURS[case](**sizes)
    run = jax.jit(function)
    inputs = jax.device_put(inputs)
    jax.block_until_ready(run(*inputs))

    def rounds() -> None:
        for _ in range(repeats):
            jax.block_until_ready(run(*inputs))

    return Work(rounds, units * repeats, {}, {})


def torchvision(shared: object, case: str, repeats: int, **sizes: int) -> Work:
    function, inputs, units = _TORCHVISION[case](**sizes)

    def rounds() -> None:
        for _ in range(repeats):
            function(*inputs)

    return Work(rounds, units * repeats, {}, {})


def boxes(count: int, seed: int = 0, clusters: int = 0) -> np.ndarray:
    """Boxes in clusters (of eight where not said), as proposed; in SIDE × SIDE pixels."""
    rng = np.random.default_rng(seed)
    clusters = clusters or max(count // 8, 1)
    start = rng.uniform(0, SIDE * 0.6, (clusters, 2))
    middle = np.concatenate([start, start + rng.uniform(20, SIDE * 0.4, (clusters, 2))], 1)
    found = middle[rng.integers(0, clusters, count)] + rng.normal(0, 15, (count, 4))
    found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 2)
    return np.clip(found, 0, SIDE).astype(np.float32)


def unit(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(size=shape).astype(np.float32)


def _nms(count: int, kept: int, chain: int = 0) -> tuple[Callable, tuple, int]:
    from vision_jax.ops.nms import nms

    inputs = _chain(count) if chain else (boxes(count), unit(count))
    return lambda b, s: nms(b, s, 0.3 if chain else 0.5, kept).index, inputs, 1


def _chain(count: int) -> tuple[np.ndarray, np.ndarray]:
    """The worst for tiles: each box suppresses the next, so that nothing ends early."""
    start = np.arange(count, dtype=np.float32) * 4
    corners = np.stack([start, 0 * start, start + 8, 0 * start + 8], 1)
    return corners, np.linspace(1, 0.1, count, dtype=np.float32)


def _nms_torchvision(count: int, kept: int, chain: int = 0) -> tuple[Callable, tuple, int]:
    import torch
    from torchvision.ops import nms

    given = _chain(count) if chain else (boxes(count), unit(count))
    inputs = tuple(torch.from_numpy(x) for x in given)
    return lambda b, s: nms(b, s, 0.3 if chain else 0.5)[:kept], inputs, 1


def _class_nms(count: int, classes: int, candidates: int, kept: int) -> tuple:
    from vision_jax.ops.nms import nms_classes

    inputs = boxes(count), unit(count, classes) ** 8
    return lambda b, s: nms_classes(b, s, 0.5, kept, candidates).index, inputs, 1


def _class_nms_torchvision(count: int, classes: int, candidates: int, kept: int) -> tuple:
    import torch
    from torchvision.ops import batched_nms

    def run(corners: Any, scores: Any) -> Any:
        best, anchor = scores.T.topk(min(candidates, count), 1)
        label = torch.arange(classes)[:, None].expand_as(anchor).reshape(-1)
        best, anchor = best.reshape(-1), anchor.reshape(-1)
        return anchor[batched_nms(corners[anchor], best, label, 0.5)[:kept]]

    inputs = torch.from_numpy(boxes(count)), torch.from_numpy(unit(count, classes) ** 8)
    return run, inputs, 1


def _maps(channels: int) -> list[np.ndarray]:
    return [unit(1, SIDE // s, SIDE // s, channels) for s in STRIDES]


def _roi_align(regions: int, size: int, backward: int, channels: int = 256) -> tuple:
    import jax

    from vision_jax.ops.roi_align import pyramid_level, roi_align_pyramid

    def forward(maps: Any, corners: Any) -> Any:
        levels = pyramid_level(corners)
        scales = tuple(1 / s for s in STRIDES)
        return roi_align_pyramid(maps, corners, levels, (size, size), scales)

    def both(maps: Any, corners: Any) -> Any:
        return jax.value_and_grad(lambda m: forward(m, corners).sum())(maps)

    return both if backward else forward, (_maps(channels), boxes(regions)[None]), regions


def _roi_align_torchvision(regions: int, size: int, backward: int, channels: int = 256) -> tuple:
    import torch
    from torchvision.ops import MultiScaleRoIAlign

    pool = MultiScaleRoIAlign([str(s) for s in STRIDES], size, 2)
    maps = [torch.from_numpy(m).permute(0, 3, 1, 2).contiguous() for m in _maps(channels)]

    def run(*maps: Any) -> Any:
        named = {str(s): m for s, m in zip(STRIDES, maps, strict=True)}
        pooled = pool(named, [torch.from_numpy(boxes(regions))], [(SIDE, SIDE)])
        return torch.autograd.grad(pooled.sum(), maps) if backward else pooled

    for m in maps:
        m.requires_grad_(bool(backward))
    return run, tuple(maps), regions


def _roi_pool(regions: int, size: int, channels: int = 256) -> tuple:
    from vision_jax.ops.roi_pool import roi_pool

    inputs = unit(1, SIDE // 16, SIDE // 16, channels), boxes(regions)[None]
    return lambda x, b: roi_pool(x, b, (size, size), 1 / 16), inputs, regions


def _roi_pool_torchvision(regions: int, size: int, channels: int = 256) -> tuple:
    import torch
    from torchvision.ops import roi_pool

    x = torch.from_numpy(unit(1, SIDE // 16, SIDE // 16, channels)).permute(0, 3, 1, 2).contiguous()
    corners = [torch.from_numpy(boxes(regions))]
    return lambda x: roi_pool(x, corners, (size, size), 1 / 16), (x,), regions


def _by_position(regions: int, size: int, kind: str, backward: int, outputs: int = 21) -> tuple:
    """Position-sensitive pooling of R-FCN's scores: by its authors' rule, or as torchvision."""
    import jax

    from vision_jax import ops
    from vision_jax.ops.rfcn import rfcn_pool

    pool = {"released": rfcn_pool, "pool": ops.ps_roi_pool, "align": ops.ps_roi_align}[kind]

    def forward(x: Any, corners: Any) -> Any:
        return pool(x, corners, size, 1 / 16)

    def both(x: Any, corners: Any) -> Any:
        return jax.value_and_grad(lambda x: forward(x, corners).sum())(x)

    inputs = unit(1, SIDE // 16, SIDE // 16, outputs * size**2), boxes(regions)[None]
    return both if backward else forward, inputs, regions


def _by_position_torchvision(
    regions: int, size: int, kind: str, backward: int, outputs: int = 21
) -> tuple:
    import torch
    from torchvision.ops import ps_roi_align, ps_roi_pool

    x = torch.from_numpy(unit(1, SIDE // 16, SIDE // 16, outputs * size**2))
    x = x.permute(0, 3, 1, 2).contiguous().requires_grad_(bool(backward))
    corners = [torch.from_numpy(boxes(regions))]

    def run(x: Any) -> Any:
        pool = ps_roi_align if kind == "align" else ps_roi_pool
        pooled = pool(x, corners, size, 1 / 16)
        return torch.autograd.grad(pooled.sum(), x) if backward else pooled

    return run, (x,), regions


def _match(anchors: int, truth: int, padded: int = 100) -> tuple:
    from vision_jax.ops.assign import match

    padding = np.zeros((padded - truth, 4), np.float32)
    given = np.concatenate([boxes(truth, 5, truth), padding])
    inputs = given, np.arange(padded) < truth, boxes(anchors, 6, 500)
    return lambda t, v, a: match(t, v, a, 0.7, 0.3, True), inputs, 1


def _match_torchvision(anchors: int, truth: int, padded: int = 100) -> tuple:
    import torch
    from torchvision.models.detection._utils import Matcher
    from torchvision.ops import box_iou

    matcher = Matcher(0.7, 0.3, True)
    inputs = [torch.from_numpy(x) for x in (boxes(truth, 5, truth), boxes(anchors, 6, 500))]
    return lambda t, a: matcher(box_iou(t, a)), tuple(inputs), 1


def _matching(anchors: int) -> np.ndarray:
    rng = np.random.default_rng(2)
    return rng.choice([0, -1, -2], anchors, p=[0.002, 0.9, 0.098]).astype(np.int32)


def _sample(anchors: int, count: int) -> tuple:
    import jax

    from vision_jax.ops.sampling import sample_balanced

    inputs = jax.random.key(0), _matching(anchors)
    return lambda k, m: sample_balanced(k, m, count, 0.5).index, inputs, 1


def _sample_torchvision(anchors: int, count: int) -> tuple:
    import torch
    from torchvision.models.detection._utils import BalancedPositiveNegativeSampler

    matching = _matching(anchors)
    labels = torch.from_numpy(np.where(matching >= 0, 1, matching + 1))
    return BalancedPositiveNegativeSampler(count, 0.5), ([labels],), 1


def _hard(images: int, anchors: int) -> tuple:
    import jax

    from vision_jax.ops.sampling import hard_negatives

    inputs = -np.log(unit(images, anchors) + 1e-6), unit(anchors, images).T < 0.002
    return jax.vmap(lambda x, p: hard_negatives(x, p)), inputs, images


def _hard_torchvision(images: int, anchors: int) -> tuple:
    import torch

    def run(loss: Any, positive: Any) -> Any:  # as torchvision's SSD does
        negative = loss.clone()
        negative[positive] = -float("inf")
        rank = negative.sort(1, descending=True)[1].sort(1)[1]
        return rank < 3 * positive.sum(1, keepdim=True)

    inputs = -np.log(unit(images, anchors) + 1e-6), unit(anchors, images).T < 0.002
    return run, tuple(torch.from_numpy(np.ascontiguousarray(x)) for x in inputs), images


_OURS = {
    "nms": _nms,
    "class_nms": _class_nms,
    "roi_align": _roi_align,
    "roi_pool": _roi_pool,
    "by_position": _by_position,
    "match": _match,
    "sample": _sample,
    "hard": _hard,
}
_TORCHVISION = {
    "nms": _nms_torchvision,
    "class_nms": _class_nms_torchvision,
    "roi_align": _roi_align_torchvision,
    "roi_pool": _roi_pool_torchvision,
    "by_position": _by_position_torchvision,
    "match": _match_torchvision,
    "sample": _sample_torchvision,
    "hard": _hard_torchvision,
}


def _entry(
    title: str, unit: str, bar: float | None, case: str, repeats: int, **sizes: int
) -> Entry:
    variants = {
        "ours": Variant("benchmarks.ops:ours"),
        "torchvision": Variant("benchmarks.ops:torchvision", ("torch", "torchvision")),
    }
    settings = {"case": case, "repeats": repeats, **sizes}
    return Entry(
        f"ops: {title}", unit, variants, settings, {"repeats": 1}, clock="cpu", cores=1, bar=bar
    )


def _assignment(most: int, bar: float | None) -> Entry:
    work = "benchmarks.work.assignment"
    return Entry(
        f"ops: assignment, 16 × 100 queries, up to {most} objects",
        "images",
        {"ours": Variant(f"{work}:ours"), "SciPy": Variant(f"{work}:scipy")},
        {"images": 16, "most": most, "repeats": 20},
        {"images": 2, "repeats": 1},
        clock="cpu",
        cores=1,
        bar=bar,
    )


def _writing() -> Entry:
    work = "benchmarks.work.pix2seq"
    return Entry(
        "Pix2Seq: writing 500 tokens, with and without cached keys",
        "tokens",
        {"ours": Variant(f"{work}:cached"), "without a cache": Variant(f"{work}:uncached")},
        {"tokens": 500, "features": 64, "layers": 2},
        {"tokens": 20, "features": 16, "layers": 1},
        clock="cpu",
        rounds=3,
        cores=1,
        bar=10.0,
    )


OPS = (
    _entry("NMS, 1,000 boxes", "images", 10, "nms", 100, count=1000, kept=100),
    _entry("NMS, 2,000 boxes", "images", 10, "nms", 50, count=2000, kept=300),
    _entry("NMS, 8,732 boxes", "images", 40, "nms", 20, count=8732, kept=200),
    _entry("NMS, worst case", "images", None, "nms", 5, count=8732, kept=8732, chain=1),
    _entry(
        *("NMS, 2,000 × 20 classes", "images", 3, "class_nms", 50),
        count=2000,
        classes=20,
        candidates=200,
        kept=100,
    ),
    _entry(
        *("NMS, 8,732 × 80 classes", "images", 4, "class_nms", 5),
        count=8732,
        classes=80,
        candidates=400,
        kept=200,
    ),
    _entry(
        "RoIAlign 7×7, pyramid", "regions", 2.5, "roi_align", 3, regions=512, size=7, backward=0
    ),
    _entry(
        "RoIAlign 7×7, with gradient", "regions", 3, "roi_align", 2, regions=512, size=7, backward=1
    ),
    _entry("RoIAlign 14×14", "regions", 1, "roi_align", 2, regions=512, size=14, backward=0),
    _entry("RoIPool 7×7", "regions", 1, "roi_pool", 5, regions=512, size=7),
    *(
        _entry(
            f"PS pooling 7×7, {title}{', with gradient' * backward}",
            *("regions", 1, "by_position", 5),
            regions=300,
            size=7,
            kind=kind,
            backward=backward,
        )
        for kind, title in (
            ("released", "R-FCN's"),
            ("pool", "torchvision's"),
            ("align", "aligned"),
        )
        for backward in (0, 1)
    ),
    _entry("matching 8,732 anchors", "images", 10, "match", 100, anchors=8732, truth=20),
    _entry("matching 242,991 anchors", "images", 10, "match", 5, anchors=242_991, truth=20),
    _entry("sampling 256 of 242,991", "images", 1, "sample", 50, anchors=242_991, count=256),
    _entry("hard negatives, 32 × 8,732", "images", 10, "hard", 20, images=32, anchors=8732),
    _assignment(15, 1.0),
    _assignment(100, 1.0),
    _writing(),
)
