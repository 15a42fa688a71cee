"""The control: images keep their pixels and get the annotations of another image."""

import pickle

import numpy as np

from vision_jax import data


class Painted(data.BaseSource):
    """Image i is i everywhere, and so is its label."""

    classes = ("a", "b")

    def __len__(self):
        return 50

    def __getitem__(self, i):
        image = np.full((4, 4, 3), i, np.uint8)
        return {"image": image, "boxes": np.array([[0, 0, i + 1, 4]]), "labels": np.array([i])}

    def describe(self, i):
        return f"painted {i}"


def test_every_annotation_is_there_once_and_elsewhere():
    source = data.Shuffled(Painted(), seed=3)
    examples = [source[i] for i in range(len(source))]
    assert [int(e["image"][0, 0, 0]) for e in examples] == list(range(50))
    labels = [int(e["labels"][0]) for e in examples]
    assert sorted(labels) == list(range(50))
    assert sum(label == i for i, label in enumerate(labels)) < 5
    assert all(e["boxes"][0, 2] == e["labels"][0] + 1 for e in examples)
    assert source.describe(2) == f"painted 2 with the annotations of painted {labels[2]}"


def test_the_order_is_the_seeds_and_survives_pickling():
    def labels(source):
        return [int(source[i]["labels"][0]) for i in range(50)]

    source = data.Shuffled(Painted(), seed=3)
    assert labels(pickle.loads(pickle.dumps(source))) == labels(source)
    assert labels(data.Shuffled(Painted(), seed=4)) != labels(source)
