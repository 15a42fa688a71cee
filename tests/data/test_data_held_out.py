"""A source is divided once and for all: by ids and a seed, by class where labels are known."""

import collections
import dataclasses
import pickle

import numpy as np
import pytest
from PIL import Image

from vision_jax.config import UserError
from vision_jax.data import BaseSource, HeldOut, ImageFolder, Individuals


@dataclasses.dataclass(frozen=True)
class Named(BaseSource):
    """A source of names."""

    names: tuple[str, ...]
    classes = ("a",)

    def __len__(self):
        return len(self.names)

    def __getitem__(self, i):
        return {"image": np.full((2, 2, 3), i, np.uint8), "label": 0}

    def image_id(self, i):
        return self.names[i]


def ids(source):
    return [source.image_id(i) for i in range(len(source))]


def test_every_image_is_on_one_side():
    source = Named(tuple(f"{k}.jpg" for k in range(53)))
    train, held = HeldOut(source, "train"), HeldOut(source, "val")
    assert len(held) == 11 and sorted(ids(train) + ids(held)) == sorted(source.names)
    assert [held[i]["image"][0, 0, 0] for i in range(3)] == [held.position(i) for i in range(3)]
    # The lowest of hashlib.sha256(b"0:a"), …: another division would train on what was held out.
    assert ids(HeldOut(Named(tuple("abcdefghij")), "val")) == ["f", "h"]


def test_the_division_follows_names_not_places():
    names = [f"{k}.jpg" for k in range(100)]
    held = set(ids(HeldOut(Named(tuple(names)), "val")))
    assert set(ids(HeldOut(Named(tuple(reversed(names))), "val"))) == held
    assert set(ids(HeldOut(Named(tuple(names)), "val", seed=1))) != held
    grown = set(ids(HeldOut(Named((*names, *(f"new{k}.jpg" for k in range(10)))), "val")))
    assert len(held & grown) >= 17  # of 20: most stay held out
    again = pickle.loads(pickle.dumps(HeldOut(Named(tuple(names)), "val")))
    assert set(ids(again)) == held


@pytest.mark.parametrize(
    ("count", "share", "held"),
    [(2, None, 1), (3, None, 1), (10, None, 2), (20_000, None, 2000), (10, 0.5, 5), (4, 0.01, 1)],
)
def test_how_many(count, share, held):
    source = Named(tuple(map(str, range(count))))
    assert len(HeldOut(source, "val", share)) == held
    assert len(HeldOut(source, "train", share)) == count - held


def test_classes_are_divided_alike(tmp_path):
    for name, count in (("cat", 20), ("dog", 10), ("rare", 5)):
        (tmp_path / name).mkdir()
        for k in range(count):
            Image.new("RGB", (4, 4)).save(tmp_path / name / f"{k}.png")
    source = ImageFolder(str(tmp_path))
    assert source.image_labels().tolist() == [0] * 20 + [1] * 10 + [2] * 5
    held = HeldOut(source, "val")
    assert collections.Counter(held[i]["label"] for i in range(len(held))) == {0: 4, 1: 2, 2: 1}
    assert held.classes == ("cat", "dog", "rare")


@pytest.mark.parametrize(
    ("names", "settings", "message"),
    [
        (("a",), {}, "is the only image: none can be held out"),
        (("a", "b"), {"share": 1.0}, "share=1.0 is not between 0 and 1"),
        (("a", "b"), {"part": "test"}, "part='test' is neither"),
    ],
)
def test_mistakes(names, settings, message):
    with pytest.raises(Exception, match=message) as caught:
        HeldOut(Named(names), **settings)
    if "part" not in settings:  # whose type is checked here before
        assert isinstance(caught.value, UserError)


def test_whom_images_show_is_known_of_each_part():
    source = Individuals(identities=3, known=3, images=10)
    for part, count in (("train", 8), ("val", 2)):
        held = HeldOut(source, part)
        labels = held.image_labels()
        assert [held[i]["label"] for i in range(len(held))] == labels.tolist()
        assert np.bincount(labels).tolist() == [count] * 3
    assert HeldOut(Named(("a", "b"))).image_labels() is None
