"""A source of one's own: what it must define, and what it and its wrappers then do."""

import numpy as np

from vision_jax import data


class Squares(data.BaseSource):
    """Three gray images, only with what a source must define."""

    classes = ("dark", "light")

    def __len__(self):
        return 3

    def __getitem__(self, i):
        boxes = np.array([[0, 0, 4, 4]], np.float32)
        image = np.full((4, 4, 3), 100 * i, np.uint8)
        return {"image": image, "boxes": boxes, "labels": np.array([i // 2], np.int32)}


class Darker(data.Transform):
    def __call__(self, example, rng):
        return {**example, "image": example["image"] // 2}


def test_the_rest_has_defaults():
    source = Squares()
    assert source.category_ids == () and source.arrays() is None
    assert source.image_id(2) == 2 and source.describe(2) == "Squares example 2"
    (batch,) = data.Eval(source, (Darker(),), batch_size=4).batches()
    assert batch.image[:, 0, 0, 0].tolist() == [0, 50, 100, 0]
    assert batch.valid.tolist() == [True] * 3 + [False]


def test_wrappers_pass_on_what_they_do_not_change():
    both = data.Concat((Squares(), Squares()))
    assert both.image_id(4) == 1 and both.arrays() is None and both.category_ids == ()
    light = data.OneClass(both, "light")
    assert [len(light[i]["labels"]) for i in range(6)] == [0, 0, 1, 0, 0, 1]
    assert light.category_ids == () and light.image_id(5) == 2
    assert light.describe(5) == "Squares example 2" and light.arrays() is None
