"""Fingerprints notice other data, and cost no more for many examples than for some."""

import dataclasses
from typing import ClassVar

import numpy as np
import pytest

from vision_jax.config import UserError
from vision_jax.data import BaseSource
from vision_jax.training import fingerprint


@dataclasses.dataclass(frozen=True)
class Source(BaseSource):
    """Examples that count how often they are asked for."""

    count: int = 40
    classes: tuple = ("cat", "dog")
    shift: int = 0
    bad: int = -1
    version: str = "1.0.0"
    name: str = "img"
    asked: ClassVar[list[int]] = []

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        self.asked.append(i)
        if i == self.bad:
            raise UserError(f"{i} is broken")
        return {
            "image": np.full((2, 2, 3), i % 256, np.uint8),
            "boxes": np.array([[i + self.shift]]),
        }

    def image_id(self, i):
        return f"{self.name}{i}"


def told(**changes) -> list[str]:
    return fingerprint.differences(fingerprint.of(Source()), fingerprint.of(Source(**changes)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"count": 8}, ["40 -> 8 examples"]),
        ({"version": "2.0.0"}, ["1.0.0 -> 2.0.0 version"]),
        ({"classes": ("cat", "owl")}, ["2 -> 2 classes (without 'dog', with 'owl')"]),
        ({"classes": ("dog", "cat")}, ["2 -> 2 classes (in another order)"]),
        ({"name": "new"}, ["other images"]),
        ({"shift": 1}, ["other pixels or annotations"]),
        ({"bad": 0}, ["other pixels or annotations"]),
    ],
)
def test_what_has_changed_is_told(changes, words):
    assert told(**changes) == words


def test_many_examples_cost_no_more_than_some():
    Source.asked.clear()
    found = fingerprint.of(Source(count=1_281_167))
    assert found["examples"] == 1_281_167 and len(Source.asked) == 16
    assert Source.asked[0] == 0 and Source.asked[-1] == 1_281_166


def test_an_empty_source_has_one_too():
    assert fingerprint.of(Source(count=0))["examples"] == 0
