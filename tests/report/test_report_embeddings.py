"""The page of an embedder: neighbours of queries, and the map; the same whatever the batches."""

import numpy as np
import pytest

from vision_jax.report import gallery_embeddings, pictures
from vision_jax.report.folder import save_arrays
from vision_jax.report.gallery_embeddings import EmbeddingGallery
from vision_jax.report.saved_arrays import checked_arrays
from vision_jax.structs import Batch, Targets

RNG = np.random.default_rng(2)
PEOPLE, IMAGES = 12, 5
LABELS = np.repeat(np.arange(PEOPLE), IMAGES)
CENTRES = RNG.normal(0, 1, (PEOPLE, 6))
ROWS = (CENTRES[LABELS] + RNG.normal(0, 0.02, (len(LABELS), 6))).astype(np.float32)
NAMES = tuple(f"person {i}" for i in range(PEOPLE))


def gallery(order, size, rows=ROWS, labels=LABELS, names=NAMES):
    """Shows a gallery all images, in an order, in padded batches of a size."""
    made = EmbeddingGallery(names)
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        padded = np.concatenate([chosen, np.zeros(size - len(chosen), int)])
        image = np.broadcast_to(padded.astype(np.uint8)[:, None, None, None], (size, 20, 16, 3))
        batch = Batch(
            image=image,
            valid=np.arange(size) < len(chosen),
            index=np.arange(size),
            id=padded,
            targets=Targets(label=labels[padded]),
        )
        made.add(rows[padded], batch)
    return made.result()


def test_neighbours_are_the_nearest_by_a_loop():
    found = gallery(np.arange(len(LABELS)), 8)["neighbours"]
    columns = int(found["columns"])
    # Each picture shows its number in its grey.
    middle = gallery_embeddings.SIDE // 2
    numbers = found["image"][:, middle, middle, 0].astype(int).reshape(-1, columns)
    assert len(set(LABELS[numbers[:, 0]])) == len(numbers) == gallery_embeddings.QUERIES
    for query, *near in numbers.tolist():
        distance = np.square(ROWS - ROWS[query]).sum(1)
        distance[query] = np.inf
        np.testing.assert_array_equal(near, np.argsort(distance)[: columns - 1])
    np.testing.assert_array_equal(found["label"], LABELS[numbers].ravel())
    apart = np.square(ROWS[numbers[:, :1]] - ROWS[numbers]).sum(2)
    np.testing.assert_allclose(found["distance"].reshape(apart.shape), apart, atol=1e-5)


def test_the_batches_do_not_matter():
    one, two = gallery(np.arange(60), 8), gallery(RNG.permutation(60), 13)
    for name in ("neighbours", "map"):
        for key, value in one[name].items():
            np.testing.assert_array_equal(value, two[name][key], err_msg=f"{name} {key}")


def test_the_map_keeps_people_together():
    found = gallery(np.arange(60), 8)["map"]
    points, labels = found["points"], found["label"]
    distance = np.square(points[:, None] - points[None]).sum(-1)
    np.fill_diagonal(distance, np.inf)
    assert (labels[distance.argmin(1)] == labels).mean() > 0.95


def test_large_sets_keep_whole_people(monkeypatch):
    monkeypatch.setattr(gallery_embeddings, "KEPT", 20)
    found = gallery(np.arange(60), 8)["neighbours"]
    assert int(found["searched"]) == 20
    counts = np.unique(gallery(np.arange(60), 8)["map"]["label"], return_counts=True)[1]
    assert counts.tolist() == [IMAGES] * 4


@pytest.mark.parametrize("count", [0, 2, 3, 5])
def test_few_images_and_pairs(count, tmp_path):
    found = gallery(np.arange(count), 4)
    assert bool(found) == (count > 2)
    for name, arrays in found.items():
        save_arrays(tmp_path, name, arrays)
        assert checked_arrays(tmp_path, name) is not None
    if found:
        drawn = pictures.evaluation_pictures(tmp_path)
        assert {"neighbours", "map"} <= set(drawn)
        assert all(picture.dtype == np.uint8 for picture in drawn.values())
    assert gallery(np.arange(60), 8, names=("different", "same")) == {}


def test_broken_embeddings_are_left_out():
    rows = ROWS.copy()
    rows[7] = np.nan
    assert int(gallery(np.arange(60), 8, rows)["neighbours"]["searched"]) == 59
    same = np.zeros_like(ROWS)
    assert gallery(np.arange(60), 8, same)["map"]["points"].shape == (60, 2)
