"""The page's part about the last evaluation: pictures of answers, curves, tables of classes."""

import functools
import pathlib
from collections.abc import Callable, Mapping

import numpy as np

from vision_jax import visualize
from vision_jax.report import pictures
from vision_jax.report.markup import Page, file_name, table
from vision_jax.report.saved_arrays import checked_arrays
from vision_jax.report.stages_beside import add_stages
from vision_jax.report.titles import are_fractions, titled, valued
from vision_jax.visualize.captions import named

Arrays = Mapping[str, np.ndarray]
# Kinds of pictures that stand beside each other: headline, text below.
_PAIRS = {
    "images": (
        "Images",
        "The first images of the evaluation set, and what the network made of each; where it is"
        " known what should have been made, that too.",
    ),
    "detections": (
        "Detections",
        "The annotated objects, and those detected with a score of 0.5 or more, drawn on the"
        " original images. The first half are"
        " the images with the lowest F1, the others lie evenly over the data set.",
    ),
    "attention": (
        "Attention",
        "The most certain object of an image; where its query looks, in the decoder's last layer;"
        " and where the encoder's last layer looks from the middle of its box (the heads' mean).",
    ),
    "segmentations": (
        "Segmentations",
        "The image, its annotation, and the prediction; the strip below says which colour is which"
        " class. The first half are the images with the"
        " fewest right pixels, the others lie evenly over the data set.",
    ),
}


def add_evaluation(page: Page, folder: pathlib.Path) -> None:
    """Adds the arrays that `save_evaluation` saved, as far as they are there and whole."""
    sections: dict[str, Callable[[Page, Arrays], None]] = {"predictions": _add_predictions}
    for name, (title, caption) in _PAIRS.items():
        sections[name] = functools.partial(_add_pairs, name=name, title=title, caption=caption)
    sections |= {
        "captions": _add_captions,
        "looks": _add_looks,
        "sequences": _add_sequences,
        "slots": _add_slots,
        "neighbours": _add_neighbours,
        "map": _add_map,
        "confusion": _add_confusion,
        "precision_recall": _add_precision,
        "curves": _add_curves,
        "per_class": _add_classes,
    }
    for name, add in sections.items():
        with page.without_damage():
            arrays = checked_arrays(folder, name)
            if arrays is not None:
                add(page, arrays)
        if name == "images":
            with page.without_damage():
                add_stages(page, folder)


def _add_confusion(page: Page, arrays: Arrays) -> None:
    matrix = arrays["matrix"]
    right, total = int(np.trace(matrix)), int(matrix.sum())
    alt = f"Confusion matrix of {len(matrix)} classes; {right} of {total} on the diagonal"
    caption = f"{right} of {total} are on the diagonal; shades are shares of a row."
    page.add_figure("Confusion", "confusion", pictures.confusion(arrays), alt, caption)


def _add_classes(page: Page, arrays: Arrays) -> None:
    metrics = [name for name in arrays if name != "classes"]
    order = np.argsort(arrays[metrics[0]], kind="stable") if metrics else []
    names = arrays["classes"].tolist()
    rows = [(named(i, names), *(valued(m, float(arrays[m][i])) for m in metrics)) for i in order]
    head = ("class", *map(titled, metrics))
    page.add(table("Classes, the hardest first", rows, head))


def _add_predictions(page: Page, arrays: Arrays) -> None:
    image = pictures.predictions(arrays)
    if image is None:
        return
    label, predicted = arrays["label"], arrays["predicted"]
    wrong = int((label != predicted).sum())
    alt = f"{len(label)} images with the network's answers, {wrong} of them wrong"
    caption = (
        "The network's answer with its probability. Red: wrong, the most confident first;"
        " green: right, spread over the data set. Not a fair sample: mistakes are preferred."
    )
    page.add_figure("Predictions", "predictions", image, alt, caption)


def _add_captions(page: Page, arrays: Arrays) -> None:
    image = pictures.captions(arrays)
    if image is None:
        return
    alt = f"{len(arrays['image'])} images with the network's captions and those of people"
    caption = (
        "The network's caption, green if it is one of people's word for word, and below it theirs."
        " The first half are those of which it is least certain, the others lie evenly over the"
        " data set."
    )
    page.add_figure("Captions", "captions", image, alt, caption)


def _add_looks(page: Page, arrays: Arrays) -> None:
    image = pictures.looks(arrays)
    if image is None:
        return
    alt = "Images as the network was fed them, and where it looks for each word of its caption"
    caption = (
        "Where the network looks when it writes a word: lighter is more, each at its own contrast."
        " A row begins with the image as it was fed."
    )
    page.add_figure("Attention of words", "looks", image, alt, caption)


def _add_slots(page: Page, arrays: Arrays) -> None:
    image = pictures.slots(arrays)
    if image is None:
        return
    images, queries = arrays["boxes"].shape[:2]
    alt = f"Centres of the boxes of {queries} queries in {images} images"
    caption = (
        "The boxes that each query has predicted, on all images: a dot is a box's centre. Green:"
        " small; red: large and wide; blue: large and high."
    )
    page.add_figure("Queries", "slots", image, alt, caption)


def _add_neighbours(page: Page, arrays: Arrays) -> None:
    image = pictures.neighbours(arrays)
    if image is None:
        return
    columns, labels = int(arrays["columns"]), arrays["label"]
    rows = labels.reshape(-1, columns)
    right = int((rows[:, 1] == rows[:, 0]).sum())
    alt = f"{len(rows)} images with their nearest ones; {right} times the first is of its class"
    caption = (
        f"Queries, and their nearest images among {int(arrays['searched'])} of the evaluation set,"
        " with squared distances. Green: of the query's class. Not a fair sample: the first half"
        " are those whose nearest image of another class is nearest."
    )
    page.add_figure("Nearest neighbours", "neighbours", image, alt, caption)


def _add_map(page: Page, arrays: Arrays) -> None:
    image = pictures.embedding_map(arrays)
    if image is None:
        return
    count = len(np.unique(arrays["label"]))
    alt = f"{len(arrays['points'])} embeddings of {count} classes in the plane"
    caption = (
        "Embeddings of some classes in the plane, by t-SNE: near ones stay near, and distances"
        " between groups mean little."
    )
    page.add_figure("Map of embeddings", "map", image, alt, caption)


def _add_pairs(page: Page, arrays: Arrays, name: str, title: str, caption: str) -> None:
    """Adds pictures of the same image side by side, image after image."""
    image = pictures.pairs(arrays)
    if image is None:
        return
    alt = f"{len(arrays['caption'])} images: {', '.join(pictures.kinds_of(arrays))}"
    page.add_figure(title, name, image, alt, caption)


def _add_sequences(page: Page, arrays: Arrays) -> None:
    """Adds what was written of images, beside the objects that were read from it."""
    image = pictures.sequences(arrays)
    if image is not None:
        page.add_figure(
            "Sequences",
            "sequences",
            image,
            f"{len(arrays['caption'])} images with what was written of them",
            "What was written of an image: bins of top, left, bottom and right, and the class, of"
            " one object after the other. Drawn are the detections that were read from it with a"
            " score of 0.5 or more; those of made-up objects have lower ones.",
        )


def _add_precision(page: Page, arrays: Arrays) -> None:
    """Adds precision against recall: the mean over classes, the best class and the worst."""
    precision, names = arrays["precision"], arrays["classes"]
    known = np.flatnonzero(~np.isnan(precision).any(1))
    if not len(known):
        return
    recall = np.linspace(0, 1, precision.shape[1])
    series = {"mean": (recall, precision[known].mean(0))}
    order = known[np.argsort(precision[known].mean(1), kind="stable")]
    if len(known) > 1:
        for which, label in (("best", order[-1]), ("worst", order[0])):
            series[f"{which}: {named(int(label), names)}"] = (recall, precision[label])
    image = visualize.curves(series, "precision", "recall", fractions=True)
    alt = f"Precision against recall: {', '.join(series)}"
    caption = f"At IoU 0.5, of {len(known)} classes."
    page.add_figure("Precision and recall", "precision_recall", image, alt, caption)


def _add_curves(page: Page, arrays: Arrays) -> None:
    """Adds a picture per title; names are 'curve/TITLE/X/NAME'."""
    drawn: dict[tuple[str, str], dict] = {}
    for name, (x, y) in arrays.items():
        _, title, x_label, line = name.split("/")
        drawn.setdefault((title, x_label), {})[line] = (x, y)
    figures = []
    for (title, x_label), series in drawn.items():
        alt = f"{title} against {x_label}: {', '.join(series)}"
        fractions = are_fractions(title, np.concatenate([y for _, y in series.values()]))
        image = visualize.curves(series, title, x_label, fractions=fractions)
        picture = page.picture(file_name(f"curve_{title}"), image, alt)
        figures.append(f"<figure>{picture}</figure>")
    if figures:
        page.add(f'<h2>Measured</h2><div class="pictures">{"".join(figures)}</div>')
