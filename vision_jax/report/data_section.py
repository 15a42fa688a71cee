"""The page's part about the data: how many images and classes, how often each, and examples."""

import pathlib
from collections.abc import Mapping

import numpy as np

from vision_jax import visualize
from vision_jax.data.loading import Loader
from vision_jax.data.sources import Example, Source
from vision_jax.report.folder import save_arrays
from vision_jax.report.gallery_semantic import cells
from vision_jax.report.markup import Page, table, text
from vision_jax.report.originals import UNREADABLE, in_colors
from vision_jax.report.saved_arrays import checked_arrays
from vision_jax.structs import Targets
from vision_jax.visualize.captions import class_caption, named
from vision_jax.visualize.detection import COCO_SKELETON
from vision_jax.visualize.semantic import resized_labels

_PICTURED = 8
_COUNTED = 200  # examples that are read for the counts, where a source is not in memory
_SIDE = 224  # pixels of a picture
_LONG = 20  # classes; more are folded
_NAME = "data"


def save_data(folder: pathlib.Path, sources: Mapping[str, Source]) -> None:
    """Saves what the page tells about the data, once per run folder.

    Args:
      folder: the run's.
      sources: by the name of their part, the training set first.
    """
    if not sources or (folder / "arrays" / f"{_NAME}.npz").exists():
        return
    counts, counted, unit = [], [], ""
    classes = next(iter(sources.values())).classes
    for source in sources.values():
        per_class, looked_at, unit = _counts(source, len(classes))
        counts.append(per_class)
        counted.append(looked_at)
    pictures = _pictures(next(iter(sources.values())), classes)
    arrays = {
        "parts": np.array(list(sources), dtype=np.str_),
        "images": np.array([len(source) for source in sources.values()]),
        "counted": np.array(counted),
        "counts": np.array(counts),
        "classes": np.array(classes, dtype=np.str_),
        "unit": np.array(unit),
        **cells(pictures, ("image",)),
    }
    save_arrays(folder, _NAME, arrays)


def add_data(page: Page, folder: pathlib.Path) -> None:
    """Adds the part about the data, if there is one."""
    with page.without_damage():
        arrays = checked_arrays(folder, _NAME)
        if arrays is not None:
            _add(page, arrays)


def _add(page: Page, arrays: Mapping[str, np.ndarray]) -> None:
    """Adds the numbers, the classes and the examples."""
    classes = [named(i, arrays["classes"].tolist()) for i in range(len(arrays["classes"]))]
    parts = arrays["parts"].tolist()
    rows = [
        (f"{part}: images", f"{images:,}")
        for part, images in zip(parts, arrays["images"].tolist(), strict=True)
    ]
    page.add(table("Data", [*rows, ("classes", f"{len(classes):,}")]))
    if arrays["counts"].any():
        page.add(_histogram(arrays, parts, classes))
    if len(arrays["image"]):
        captions = arrays["caption"].tolist()
        picture = visualize.panel(list(arrays["image"]), captions, side=arrays["image"].shape[1])
        alt = f"{len(captions)} examples of {parts[0]}"
        figure = page.picture("data", picture, alt)
        page.add(f"<figure>{figure}<figcaption>Examples of {text(parts[0])}.</figcaption></figure>")


def _histogram(arrays: Mapping[str, np.ndarray], parts: list[str], classes: list[str]) -> str:
    """Makes a table with a bar per class: its share in each part."""
    counts, unit = arrays["counts"], str(arrays["unit"])
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    longest = shares.max()
    lines = [f"<tr><th>class</th>{''.join(f'<th>{text(part)}</th><th></th>' for part in parts)}"]
    for label in np.argsort(-counts[0], kind="stable").tolist():
        cells_of_class = [f"<td>{text(classes[label])}</td>"]
        for part in range(len(parts)):
            width = 100 * shares[part, label] / longest
            bar = f'<div class="bar" style="width:{width:.1f}%"></div>' if width else ""
            cells_of_class.append(f'<td>{counts[part, label]:,}</td><td class="wide">{bar}</td>')
        lines.append("</tr><tr>" + "".join(cells_of_class))
    content = f"<table>{''.join(lines)}</tr></table>"
    if len(classes) > _LONG:
        content = f"<details><summary>{len(classes)} classes</summary>{content}</details>"
    sampled = [
        f"{part} in {counted:,} of {images:,} images"
        for part, counted, images in zip(parts, arrays["counted"], arrays["images"], strict=True)
        if counted < images
    ]
    note = f"Counted are {unit}{', ' if sampled else ''}{', '.join(sampled)}; bars are shares."
    return f'{content}<p class="note">{text(note)}</p>'


def _counts(source: Source, classes: int) -> tuple[np.ndarray, int, str]:
    """Counts how often each class occurs.

    Returns:
      The counts (classes,), the number of examples looked at, evenly chosen, and what is counted.
    """
    held = _held(source)
    if held is not None:
        labels = held["label"]
        return np.bincount(labels, minlength=classes)[:classes], len(labels), "images"
    counts, looked_at, unit = np.zeros(classes, np.int64), 0, "images"
    for number in _spread(len(source), _COUNTED):
        try:
            example = source[number]
            if "segmentation" in example:
                example = Loader(source, degenerate="drop")(number, np.random.default_rng(0))
        except UNREADABLE:  # training names records that cannot be read
            continue
        labels, unit = _labels(example)
        labels = labels[(labels >= 0) & (labels < classes)]
        counts += np.bincount(labels, minlength=classes)
        looked_at += 1
    return counts, looked_at, unit


def _held(source: Source) -> dict[str, np.ndarray] | None:
    """Returns a source's examples where it holds them in memory, one label each."""
    try:
        held = source.arrays()
    except UNREADABLE:
        return None
    return held if held is not None and np.ndim(held["label"]) == 1 else None


def _labels(example: Example) -> tuple[np.ndarray, str]:
    """Returns the labels that an example counts for, and what is counted."""
    if "segmentation" in example:
        return np.unique(example["segmentation"]).astype(int), "images with any pixel of a class"
    if "labels" in example:
        return np.asarray(example["labels"], int).reshape(-1), "objects"
    label = np.asarray(example.get("label", []))
    return (np.flatnonzero(label) if label.ndim and label.size else label.reshape(-1)).astype(
        int
    ), "images"


def _pictures(source: Source, classes: tuple[str, ...]) -> list[tuple[np.ndarray, str]]:
    """Draws some examples with their annotations, each with a caption."""
    load, drawn = Loader(source, degenerate="drop"), []
    for number in _spread(len(source), _PICTURED):
        try:
            example = load(number, np.random.default_rng(0))
        except UNREADABLE:
            continue
        drawn.append((_annotated(example, classes), _caption(example, classes)))
    return drawn


def _annotated(example: Example, classes: tuple[str, ...]) -> np.ndarray:
    """Draws an example's boxes, masks, keypoints and semantic labels."""
    image = in_colors(np.asarray(example["image"]))
    picture = visualize.fit(image, _SIDE)
    scale = np.array(image.shape[:2]) / picture.shape[:2]
    if "segmentation" in example:
        labels = resized_labels(example["segmentation"], *picture.shape[:2])
        picture = visualize.draw_semantic(labels, picture, outlined=True)
    if "boxes" in example and "labels" in example:
        points = example.get("keypoints")
        targets = Targets(
            boxes=example["boxes"][None],
            labels=example["labels"][None],
            valid=np.ones((1, len(example["boxes"])), bool),
            masks=example["masks"][None] if "masks" in example else None,
            keypoints=None if points is None else points[None],
        )
        human = points is not None and points.shape[1] == 17
        skeleton = COCO_SKELETON if human else ()
        picture = visualize.draw_targets(picture, targets, 0, scale, classes, skeleton)
    return picture


def _caption(example: Example, classes: tuple[str, ...]) -> str:
    """Names an example's classes, where they are not drawn."""
    if "labels" in example:
        return ""
    labels, _ = _labels(example)
    return ", ".join(class_caption(label, classes) for label in labels.tolist() if label < 255)


def _spread(total: int, count: int) -> list[int]:
    """Chooses at most so many numbers below `total`, evenly."""
    count = min(total, count)
    return [number * total // count for number in range(count)]
