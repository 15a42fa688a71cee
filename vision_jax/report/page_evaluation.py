"""The page's part about the last evaluation: pictures of answers, curves, tables of classes."""

import pathlib
from collections.abc import Mapping

import numpy as np

from vision_jax import visualize
from vision_jax.report.folder import load_arrays
from vision_jax.report.markup import Page, number, table

Arrays = Mapping[str, np.ndarray]
# Kinds of pictures that stand beside each other: headline, text below.
_PAIRS = {
    "detections": (
        "Detections",
        "The annotated objects, and those detected with a score of 0.5 or more. The first half are"
        " the images with the lowest F1, the others lie evenly over the data set.",
    ),
    "segmentations": (
        "Segmentations",
        "The image, its annotation, and the prediction. The first half are the images with the"
        " fewest right pixels, the others lie evenly over the data set.",
    ),
}


def add_evaluation(page: Page, folder: pathlib.Path) -> None:
    """Adds the arrays that `save_evaluation` saved, as far as they are there."""
    _add_predictions(page, load_arrays(folder, "predictions"))
    for name, (title, caption) in _PAIRS.items():
        _add_pairs(page, name, load_arrays(folder, name), title, caption)
    _add_confusion(page, load_arrays(folder, "confusion"))
    _add_precision(page, load_arrays(folder, "precision_recall"))
    _add_curves(page, load_arrays(folder, "curves"))
    _add_classes(page, load_arrays(folder, "per_class"))


def _add_confusion(page: Page, arrays: Arrays | None) -> None:
    if arrays is None:
        return
    matrix, names = arrays["matrix"], arrays.get("classes", ())
    right, total = int(np.trace(matrix)), int(matrix.sum())
    alt = f"Confusion matrix of {len(matrix)} classes; {right} of {total} on the diagonal"
    caption = f"{right} of {total} are on the diagonal; shades are shares of a row."
    picture = visualize.confusion(matrix, names)
    page.add_figure("Confusion", "confusion", picture, alt, caption)


def _add_classes(page: Page, arrays: Arrays | None) -> None:
    if arrays is None:
        return
    metrics = [name for name in arrays if name != "classes"]
    order = np.argsort(arrays[metrics[0]], kind="stable") if metrics else []
    rows = [
        (str(arrays["classes"][i]), *(number(float(arrays[m][i])) for m in metrics)) for i in order
    ]
    page.add(table("Classes, the hardest first", rows, ("class", *metrics)))


def _add_predictions(page: Page, arrays: Arrays | None) -> None:
    if arrays is None or not len(arrays["image"]):
        return
    label, predicted = arrays["label"], arrays["predicted"]
    answers = (label, predicted, arrays["confidence"], arrays["classes"])
    image = visualize.predictions(arrays["image"], *answers, min(8, len(label)))
    wrong = int((label != predicted).sum())
    alt = f"{len(label)} images with the network's answers, {wrong} of them wrong"
    caption = (
        "The network's answer with its probability. Red: wrong, the most confident first;"
        " green: right, spread over the data set. Not a fair sample: mistakes are preferred."
    )
    page.add_figure("Predictions", "predictions", image, alt, caption)


def _add_pairs(page: Page, name: str, arrays: Arrays | None, title: str, caption: str) -> None:
    """Adds pictures of the same image side by side, image after image."""
    if arrays is None or not len(arrays["caption"]):
        return
    kinds = [kind for kind in arrays if kind != "caption"]
    pictures, captions = [], []
    for row, text in enumerate(arrays["caption"].tolist()):
        pictures += [arrays[kind][row] for kind in kinds]
        captions += [*kinds[:-1], f"{kinds[-1]}: {text}"]
    side, columns = arrays[kinds[0]].shape[1], 2 * len(kinds)
    image = visualize.panel(pictures, captions, columns=columns, side=side)
    alt = f"{len(arrays['caption'])} images: {', '.join(kinds)}"
    page.add_figure(title, name, image, alt, caption)


def _add_precision(page: Page, arrays: Arrays | None) -> None:
    """Adds precision against recall: the mean over classes, the best class and the worst."""
    if arrays is None:
        return
    precision, names = arrays["precision"], arrays["classes"]
    known = np.flatnonzero(~np.isnan(precision).any(1))
    if not len(known):
        return
    recall = np.linspace(0, 1, precision.shape[1])
    series = {"mean": (recall, precision[known].mean(0))}
    order = known[np.argsort(precision[known].mean(1), kind="stable")]
    if len(known) > 1:
        for which, label in (("best", order[-1]), ("worst", order[0])):
            series[f"{which}: {names[label]}"] = (recall, precision[label])
    image = visualize.curves(series, "precision", "recall")
    alt = f"Precision against recall: {', '.join(series)}"
    caption = f"At IoU 0.5, of {len(known)} classes."
    page.add_figure("Precision and recall", "precision_recall", image, alt, caption)


def _add_curves(page: Page, arrays: Arrays | None) -> None:
    """Adds a picture per title; names are 'curve/TITLE/X/NAME'."""
    pictures: dict[tuple[str, str], dict] = {}
    for name, (x, y) in (arrays or {}).items():
        _, title, x_label, line = name.split("/")
        pictures.setdefault((title, x_label), {})[line] = (x, y)
    figures = []
    for (title, x_label), series in pictures.items():
        alt = f"{title} against {x_label}: {', '.join(series)}"
        image = visualize.curves(series, title, x_label)
        picture = page.picture(f"curve_{title.replace(' ', '_')}", image, alt)
        figures.append(f"<figure>{picture}</figure>")
    if figures:
        page.add(f'<h2>Measured</h2><div class="pictures">{"".join(figures)}</div>')
