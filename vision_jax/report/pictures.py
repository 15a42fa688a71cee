"""Pictures of the last evaluation, for the page and for TensorBoard."""

import pathlib
from collections.abc import Callable, Mapping

import numpy as np

from vision_jax import visualize
from vision_jax.report.gallery_images import MADE
from vision_jax.report.saved_arrays import checked_arrays
from vision_jax.visualize import colors
from vision_jax.visualize.attended import COLUMNS
from vision_jax.visualize.captions import class_caption, wrapped

Arrays = Mapping[str, np.ndarray]
_SIDE_BY_SIDE = ("image", "bicubic", "truth", "found", "object", "decoder", "encoder")


def evaluation_pictures(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """Draws what `save_evaluation` saved: galleries and the confusion matrix, uint8 (h, w, 3)."""
    makers: dict[str, Callable[[Arrays], np.ndarray | None]] = {
        "predictions": predictions,
        "detections": pairs,
        "segmentations": pairs,
        "attention": pairs,
        "sequences": sequences,
        "slots": slots,
        "images": pairs,
        "captions": captions,
        "looks": looks,
        "neighbours": neighbours,
        "map": embedding_map,
        MADE: lambda arrays: arrays["image"],
        "confusion": confusion,
    }
    pictures = {}
    for name, make in makers.items():
        arrays = checked_arrays(folder, name)
        picture = None if arrays is None else make(arrays)
        if picture is not None:
            pictures[name] = picture
    return pictures


def predictions(arrays: Arrays) -> np.ndarray | None:
    """Draws classified images with the network's answers; None without any."""
    if not len(arrays["image"]):
        return None
    answers = (arrays["label"], arrays["predicted"], arrays["confidence"], arrays["classes"])
    return visualize.predictions(arrays["image"], *answers, min(8, len(arrays["image"])))


def pairs(arrays: Arrays) -> np.ndarray | None:
    """Draws pictures of the same image side by side, image after image; None without any."""
    if not len(arrays["caption"]):
        return None
    kinds = kinds_of(arrays)
    pictures, captions = [], []
    for row, text in enumerate(arrays["caption"].tolist()):
        pictures += [arrays[kind][row] for kind in kinds]
        captions += [*kinds[:-1], f"{kinds[-1]}: {text}"]
    side, columns = arrays[kinds[0]].shape[1], 2 * len(kinds)
    colors, names = arrays.get("legend_colors", ()), arrays.get("legend_names", ())
    entries = list(zip(np.asarray(colors).tolist(), np.asarray(names).tolist(), strict=True))
    return visualize.panel(pictures, captions, columns=columns, side=side, entries=entries)


def slots(arrays: Arrays) -> np.ndarray | None:
    """Draws where each of a detector's queries has found its boxes; None without any."""
    return visualize.draw_slots(arrays["boxes"]) if len(arrays["boxes"]) else None


def neighbours(arrays: Arrays) -> np.ndarray | None:
    """Draws queries, each followed by its nearest images, green if of its class; None without."""
    columns, labels = int(arrays["columns"]), arrays["label"].tolist()
    if columns < 2 or not labels or len(labels) % columns:
        return None
    captions, ink = [], []
    for place, (label, distance) in enumerate(zip(labels, arrays["distance"], strict=True)):
        name = class_caption(label, arrays["classes"])
        is_query, query = place % columns == 0, labels[place - place % columns]
        captions.append(f"{name}\nquery" if is_query else f"{name}\n{distance:.2f}")
        right = colors.RIGHT if label == query else colors.WRONG
        ink.append(colors.INK if is_query else right)
    return visualize.panel(arrays["image"], captions, ink, columns, side=96)


def captions(arrays: Arrays) -> np.ndarray | None:
    """Draws images with the network's caption, and below it those of people; None without any."""
    if not len(arrays["image"]):
        return None
    side, texts, ink = arrays["image"].shape[1], [], []
    for found, truth in zip(arrays["found"].tolist(), arrays["truth"].tolist(), strict=True):
        lines = [*wrapped(found or "(no word)", side), ""]
        for line in filter(None, truth.split("\n")):
            lines += wrapped(f"· {line}", side)
        texts.append("\n".join(lines))
        ink.append(colors.RIGHT if found in truth.split("\n") else colors.INK)
    return visualize.panel(arrays["image"], texts, ink, columns=4, side=side)


def sequences(arrays: Arrays) -> np.ndarray | None:
    """Draws images with their objects, and the text that these were read from; None without any."""
    if not len(arrays["found"]):
        return None
    side = arrays["found"].shape[1]
    texts = ["\n".join(wrapped(text, side)) for text in arrays["caption"].tolist()]
    return visualize.panel(arrays["found"], texts, columns=3, side=side)


def looks(arrays: Arrays) -> np.ndarray | None:
    """Draws where a captioner looks for each word, a row or more for each image; None without."""
    if not len(arrays["image"]):
        return None
    side = arrays["image"].shape[1]
    return visualize.panel(arrays["image"], arrays["caption"].tolist(), columns=COLUMNS, side=side)


def embedding_map(arrays: Arrays) -> np.ndarray | None:
    """Draws embeddings in the plane, coloured by class; None without any."""
    if not len(arrays["points"]):
        return None
    return visualize.scatter(arrays["points"], arrays["label"], arrays["classes"], "t-SNE")


def kinds_of(arrays: Arrays) -> list[str]:
    """Returns the kinds of pictures that stand beside each other: image, truth, found."""
    return [kind for kind in _SIDE_BY_SIDE if kind in arrays]


def confusion(arrays: Arrays) -> np.ndarray:
    """Draws a confusion matrix."""
    return visualize.confusion(arrays["matrix"], arrays.get("classes", ()))
