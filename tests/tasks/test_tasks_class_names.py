"""Answers keep a class's name as it is; their line of text is fit for a terminal."""

import numpy as np
import pytest

from vision_jax.evaluation.explain_text import _table
from vision_jax.structs import Detections
from vision_jax.tasks.descriptions import (
    describe_classes,
    describe_objects,
    describe_pixels,
    describe_places,
)

NAMES = {
    "traffic\nlight": "traffic light",
    "\x1b[2Jred\x00": "?[2Jred?",
    "\ud83d": "?",
    "שלום\u202e": "שלום?",
    "😀 <b>$": "😀 <b>$",
    "n" * 300: "n" * 79 + "…",
}


@pytest.mark.parametrize(("name", "told"), NAMES.items(), ids=range(len(NAMES)))
def test_names_of_any_text(name, told):
    classes, logits = ("other", name), np.array([[0.0, 9.0]])
    found = Detections(
        boxes=np.zeros((1, 1, 4), np.float32),
        scores=np.array([[0.9]], np.float32),
        labels=np.array([[1]]),
        valid=np.array([[True]]),
    )
    (of_classes,) = describe_classes(logits, classes, None, multilabel=False)
    (of_objects,) = describe_objects(found, classes, None)
    (of_pixels,) = describe_pixels(np.ones((1, 2, 2), int), classes)
    (of_places,) = describe_places(logits, "boxes", np.zeros((1, 1, 4)), classes, None)
    assert of_classes["top"][0]["class"] == of_objects["objects"][0]["class"] == name
    assert of_pixels["classes"][0]["class"] == of_places["class"] == name
    texts = {answer["text"] for answer in (of_classes, of_objects, of_pixels, of_places)}
    assert texts == {f"{told} 100%", f"{told} 90%"}


def test_a_table_keeps_its_columns_whatever_a_class_is_called():
    lines = _table([["class", "AP"], ["a|b\n<i>", "1"], ["\x1b[31m", "2"]]).splitlines()
    assert lines[2].split() == ["|", "a\\|b", "\\<i>", "|", "1", "|"]
    assert lines[3].split() == ["|", "?[31m", "|", "2", "|"] and len(lines) == 4
