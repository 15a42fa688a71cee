"""Embedded images: nearest neighbours of some queries, and a map of some classes.

Of a large evaluation set some classes are kept whole, the same ones whatever the batch size.
"""

from collections.abc import Sequence

import numpy as np

from vision_jax import visualize
from vision_jax.report.gallery import Shelf, scramble
from vision_jax.structs import Batch

KEPT = 1000  # images that are searched
SIDE = 64  # pixels that an image is kept with
QUERIES, COLUMNS = 8, 8  # rows of neighbours; columns, the query's included
MAPPED = 14  # classes on the map
_PAIRS = ("different", "same")  # the classes of listed pairs, which tell nothing of one image


class EmbeddingGallery:
    """The embeddings of whole classes, with small pictures.

    Args:
      classes: names.
    """

    def __init__(self, classes: Sequence[str]):
        self._names = tuple(classes)
        self._kept = Shelf(KEPT)

    def add(self, embedding: np.ndarray, batch: Batch) -> None:
        """Looks at a batch: embeddings (b, d), and NumPy arrays with a label per image."""
        if self._names == _PAIRS:
            return
        for row in np.flatnonzero(batch.valid).tolist():
            number, label = int(batch.id[row]), int(batch.targets.label[row])
            if label >= 0 and np.isfinite(embedding[row]).all():
                key = (scramble(label + 1), -number)
                self._kept.offer(key, lambda row=row: _item(embedding, batch, row))

    def result(self) -> dict[str, dict[str, np.ndarray]]:
        """Returns arrays for `save_arrays(folder, NAME, …)`, by name; none of too few images."""
        if len(self._kept.items) < 3:
            return {}
        label, embedding, picture = zip(*self._kept.items, strict=True)
        labels, rows = np.array(label, np.int32), np.stack(embedding).astype(np.float64)
        classes = np.array(self._names, np.str_)
        return {
            "neighbours": {**_neighbours(labels, rows, picture), "classes": classes},
            "map": {**_map(labels, rows), "classes": classes},
        }


def _item(embedding: np.ndarray, batch: Batch, row: int) -> tuple:
    image = np.asarray(batch.image[row])
    picture = visualize.fit(image, SIDE)
    frame = np.full((SIDE, SIDE, 3), 255, np.uint8)
    height, width = picture.shape[:2]
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    frame[top : top + height, left : left + width] = picture
    return int(batch.targets.label[row]), np.array(embedding[row], np.float32), frame


def _neighbours(
    labels: np.ndarray, rows: np.ndarray, pictures: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """Chooses queries of different classes, the hardest and others, and finds what is near them."""
    squared = np.square(rows).sum(1)
    distance = np.maximum(squared[:, None] + squared[None] - 2 * rows @ rows.T, 0)
    np.fill_diagonal(distance, np.inf)
    stranger = np.where(labels[:, None] == labels[None], np.inf, distance).min(1)
    queries: list[int] = []
    for order, count in ((np.argsort(stranger, kind="stable"), QUERIES // 2), (None, QUERIES)):
        order = np.arange(len(labels)) if order is None else order
        for row in order.tolist():
            if len(queries) < count and labels[row] not in labels[queries]:
                queries.append(row)
    columns = min(COLUMNS, len(labels))
    near = np.argsort(distance[queries], axis=1, kind="stable")[:, : columns - 1]
    chosen = np.concatenate([np.array(queries)[:, None], near], 1)
    between = np.take_along_axis(distance[queries], near, 1)
    between = np.concatenate([np.zeros((len(queries), 1)), between], 1)
    return {
        "image": np.stack([pictures[row] for row in chosen.ravel()]),
        "label": labels[chosen.ravel()],
        "distance": between.ravel(),
        "columns": np.array(columns),
        "searched": np.array(len(labels)),
    }


def _map(labels: np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Lays the classes with most images out in the plane; of few images by their components."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    found, counts = np.unique(labels, return_counts=True)
    spread = [scramble(label) for label in found.tolist()]  # decides between equals
    largest = found[np.lexsort((spread, -counts))[:MAPPED]]
    chosen = np.isin(labels, largest)
    rows, labels = rows[chosen], labels[chosen]
    components = min(2, *rows.shape)
    if not np.ptp(rows, axis=0).any():
        points = np.zeros((len(rows), 2))
    elif len(rows) < 10 or components < 2:
        flat = PCA(components, random_state=0).fit_transform(rows)
        points = np.pad(flat, ((0, 0), (0, 2 - components)))
    else:
        perplexity = min(30.0, (len(rows) - 1) / 3)
        points = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(rows)
    return {"points": np.asarray(points, np.float64), "label": labels}
