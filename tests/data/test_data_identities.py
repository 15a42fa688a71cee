"""Identities: batches of a few with several images each, drawn individuals, listed pairs."""

import numpy as np
import pytest
from PIL import Image

from vision_jax import data
from vision_jax.config import UserError
from vision_jax.data.by_identity import Grouped

PEOPLE = {"identities": 12, "known": 8, "images": 5, "size": 16}


def test_every_class_and_every_image_has_its_turn():
    labels = np.repeat([3, 5, 9], [4, 6, 2])
    order = Grouped(labels, 2)
    records = order.records(np.arange(3 * 2 * 6), 1)
    runs = labels[records].reshape(-1, 2)
    assert (runs[:, 0] == runs[:, 1]).all()
    turns = runs[:, 0].reshape(-1, 3)
    assert all(sorted(turn) == [3, 5, 9] for turn in turns)
    assert len({tuple(turn) for turn in turns}) > 1
    for label in (3, 5, 9):
        own = records[labels[records] == label]
        count = (labels == label).sum()
        for start in range(0, len(own) // count * count, count):
            assert len(set(own[start : start + count])) == count
    np.testing.assert_array_equal(order.records(np.arange(20, 29), 1), records[20:29])
    assert (order.records(np.arange(36), 2) != records).any()


def test_batches_hold_identities_and_can_be_sought():
    source = data.Individuals(**PEOPLE)
    train = data.Train(source, batch_size=12, per_class=3)
    batches = train.batches(0, 7)
    first = [next(batches) for _ in range(3)]
    batches.close()
    for batch in first:
        labels = batch.targets.label.reshape(4, 3)
        assert (labels == labels[:, :1]).all()
    later = train.batches(2, 7)
    again = next(later)
    later.close()
    np.testing.assert_array_equal(again.id, first[2].id)
    np.testing.assert_array_equal(again.image, first[2].image)


def test_per_class_needs_labels_and_must_divide_the_batch():
    source = data.Individuals(**PEOPLE)
    with pytest.raises(UserError, match="per_class=5 does not divide batch_size=12"):
        data.Train(source, batch_size=12, per_class=5)
    with pytest.raises(UserError, match="repeats=2"):
        data.Train(source, batch_size=12, per_class=3, repeats=2)


def test_individuals_are_known_or_not_and_always_the_same():
    train, held_out = (data.Individuals(split=s, **PEOPLE) for s in ("train", "validation"))
    assert (len(train), len(held_out)) == (40, 60) and len(train.classes) == 12
    assert set(train.image_labels()) == set(range(8))
    assert set(held_out.image_labels()) == set(range(12))
    again = data.Individuals(**PEOPLE)
    np.testing.assert_array_equal(train[13]["image"], again[13]["image"])
    assert train[13]["image"].shape == (16, 16, 3) and train[13]["label"] == 2
    assert (train[13]["image"] != held_out[13]["image"]).any()
    np.testing.assert_array_equal(train.arrays()["image"][13], train[13]["image"])
    for wrong in ({"split": "test"}, {"known": 13}, {"images": 0}, {"size": 4}):
        with pytest.raises(UserError):
            data.Individuals(**{**PEOPLE, **wrong})


@pytest.fixture
def lfw(tmp_path):
    for name, count in (("Ann_Lee", 3), ("Bo", 2)):
        (tmp_path / name).mkdir()
        for i in range(1, count + 1):
            image = Image.fromarray(np.full((4, 4, 3), 20 * i + len(name), np.uint8))
            image.save(tmp_path / name / f"{name}_{i:04d}.png")
    return tmp_path


def pairs(folder, text):
    file = folder / "pairs.txt"
    file.write_text(text)
    return data.LfwPairs(str(folder), str(file))


@pytest.mark.parametrize("gap", ["\t", " "])
def test_pairs_come_two_by_two(lfw, gap):
    text = "1 2\nAnn_Lee 1 3\n\nAnn_Lee 2 Bo 1\n".replace(" ", gap)
    source = pairs(lfw, text)
    assert len(source) == 4 and source.image_labels().tolist() == [1, 1, 0, 0]
    names = [source.describe(i).rpartition("/")[2] for i in range(4)]
    assert [name[:-5] for name in names] == [
        "Ann_Lee_0001", "Ann_Lee_0003", "Ann_Lee_0002", "Bo_0001"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Ann_Lee 1\n", "line 1: 'Ann_Lee 1' is no pair"),
        ("Ann_Lee 1 2\nAn_Lee 1 2\n", "line 2: .* no folder 'An_Lee' - did you mean Ann_Lee"),
        ("Bo 1 3\n", "line 1: .*Bo has 2 images, none of them Bo_0003"),
        ("Bo 1 x\n", "line 1: 'x' is no number of an image"),
        ("\n", "lists no image"),
    ],
)
def test_a_line_that_is_no_pair_is_named(lfw, text, message):
    with pytest.raises(UserError, match=message):
        pairs(lfw, text)


def test_a_canvas_shrinks_the_large_and_pads_to_a_multiple():
    canvas, rng = data.Canvas(max_long=100, multiple=32), np.random.default_rng(0)

    def laid(height, width):
        image = np.full((height, width, 3), 9, np.uint8)
        example = {"image": image, "scale": (1.0, 1.0), "size": np.array([height, width])}
        return canvas(example, rng)

    small = laid(40, 64)
    assert small["image"].shape == (64, 64, 3) and (small["image"][:40] == 9).all()
    assert tuple(small["scale"]) == (1.0, 1.0)
    large = laid(200, 120)
    assert large["image"].shape == (128, 64, 3) and (large["image"][:100, :60] == 9).all()
    np.testing.assert_allclose(large["scale"], (0.5, 0.5))
