"""Transfer between halves of the shapes' classes: what is read, and what a twin starts from."""

import dataclasses

import pytest

from experiments.shared.embedded import of_seeds
from experiments.shared.transfer import SomeClasses
from experiments.sweeps import transfer_data
from vision_jax.config import build
from vision_jax.data import BaseSource


@dataclasses.dataclass(frozen=True)
class Labels(BaseSource):
    """Examples that are their labels."""

    labels: tuple[int, ...] = (2, 0, 1, 2, 1, 0)

    @property
    def classes(self):
        return ("a", "b", "c")

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return {"image": i, "label": self.labels[i]}


def test_some_classes_keep_their_images_and_get_new_labels():
    source = SomeClasses(Labels(), names=("c", "b"))
    assert source.classes == ("c", "b")
    assert [source[i] for i in range(len(source))] == [
        {"image": 0, "label": 0},
        {"image": 2, "label": 1},
        {"image": 3, "label": 0},
        {"image": 4, "label": 1},
    ]
    assert [example["image"] for example in map(source.__getitem__, range(4))] == [0, 2, 3, 4]


def test_the_first_so_many_of_some_classes():
    source = SomeClasses(Labels(), names=("a", "b"), count=3)
    assert [source[i]["image"] for i in range(len(source))] == [1, 2, 4]


def test_the_twin_learns_the_other_half_with_the_sources_network():
    learnt = transfer_data.get_config("source")
    twin = transfer_data.get_config("tune=head,count=24,twin")
    assert not set(learnt.train.source.names) & set(twin.train.source.names)
    assert learnt.task.model.backbone.width == twin.task.model.backbone.width
    assert twin.init.weights == transfer_data.START
    assert transfer_data.get_config("tune=scratch,count=24,twin").init.weights is None
    train = build(twin.train.source)
    labels = [train[i]["label"] for i in range(len(train))]
    assert [labels.count(k) for k in range(4)] == [6, 6, 6, 6]


@pytest.mark.parametrize(
    ("twin", "expected"),
    [
        (True, [("net", {"seeds": 5, "depth": 3})]),
        (False, [(f"net-seed{seed}", {"seed": seed, "depth": 3}) for seed in range(3)]),
    ],
)
def test_a_twins_seeds_are_one_program(twin, expected):
    added = []
    of_seeds(lambda name, **changes: added.append((name, changes)), "net", twin, 5, depth=3)
    assert added == expected
