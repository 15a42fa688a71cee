"""Rows and pictures also go to the tracker that the environment asks for, as its library wants."""

import pathlib
import sys
import types

import numpy as np
import pytest

from vision_jax import report
from vision_jax.config import UserError
from vision_jax.report import trackers

PICTURE = np.full((4, 6, 3), 7, np.uint8)


class Recorder:
    """A stand-in for a library: notes every call by its name."""

    def __init__(self):
        self.calls = []

    def note(self, name):
        def call(*arguments, **more):
            self.calls.append((name, arguments, more))
            return self.library if name == "init" else arguments[0] if arguments else None

        return call


def install(monkeypatch, name, functions):
    recorder = Recorder()
    library = types.ModuleType(name)
    library.__spec__ = types.SimpleNamespace(name=name)
    recorder.library = library
    for function in functions:
        setattr(library, function, recorder.note(function))
    monkeypatch.setitem(sys.modules, name, library)
    monkeypatch.setenv(trackers.VARIABLE, name)
    return recorder


def write(folder: pathlib.Path):
    with report.Log(folder) as log:
        log.metrics(1, {"train/loss": 0.5})
        log.pictures(2, {"confusion": PICTURE})


def test_weights_and_biases_gets_rows_and_pictures(monkeypatch, tmp_path):
    recorder = install(monkeypatch, "wandb", ("init", "log", "Image", "finish"))
    write(tmp_path / "r1")
    begun, row, image, shown, ended = recorder.calls
    assert begun == (
        "init",
        (),
        {"project": "vision_jax", "name": "r1", "dir": str(tmp_path / "r1")},
    )
    assert row == ("log", ({"train/loss": 0.5},), {"step": 1})
    assert image[0] == "Image" and image[1][0] is PICTURE
    assert shown[0] == "log" and shown[1][0]["pictures/confusion"] is PICTURE
    assert shown[2] == {"step": 2} and ended == ("finish", (), {})


def test_a_tracker_that_is_not_there_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv(trackers.VARIABLE, "wand")
    with pytest.raises(UserError, match="VISION_JAX_TRACKER='wand' - did you mean wandb"):
        trackers.asked_for(tmp_path)
    monkeypatch.setenv(trackers.VARIABLE, "wandb")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="not installed; pip install wandb"):
        trackers.asked_for(tmp_path)
    monkeypatch.delenv(trackers.VARIABLE)
    assert trackers.asked_for(tmp_path) is None
