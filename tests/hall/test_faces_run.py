"""Runs on faces: one device and eight, and photographs that a run compares."""

import json
import pathlib

import numpy as np
import pytest
from PIL import Image

import launch
from tests.hall.test_style_run import SETTINGS
from vision_jax.show import faces

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("at_the_root")]
EMBEDDER, OWN = "experiments/quickstart_faces.py:smoke", "experiments/own_faces.py:smoke"
FLAGS = tuple(f"--config.{key}={value}" for key, value in SETTINGS.items())


def losses(folder: pathlib.Path) -> list[float]:
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [row["train/loss"] for row in rows if "train/loss" in row]


@pytest.mark.parametrize("config", [EMBEDDER, OWN])
def test_one_device_and_eight(config, tmp_path):
    for name, extra in (("eight", ()), ("one", ("--config.parallel=single",))):
        command = ("--config", config, "--workdir", str(tmp_path / name))
        assert launch.main([*command, *FLAGS, *extra]) == 0
    one, eight = (losses(tmp_path / name) for name in ("one", "eight"))
    np.testing.assert_allclose(one[:4], eight[:4], rtol=2e-4)  # chaos grows from step to step


def test_a_run_compares_photographs(tmp_path, monkeypatch, capsys):
    run, rng = str(tmp_path / "run"), np.random.default_rng(0)
    assert launch.main(["--config", OWN, "--workdir", run]) == 0
    photos = [str(tmp_path / f"{name}.png") for name in "abc"]
    for photo in photos:
        Image.fromarray(rng.integers(0, 256, (100, 90, 3)).astype(np.uint8)).save(photo)
    face = faces.Face(np.array([20.0, 30, 60, 90]), faces.TEMPLATE / 112 * 50 + 15, 0.9)
    monkeypatch.setattr(faces, "Finder", lambda detector: lambda image: [face])
    capsys.readouterr()
    assert faces.main(["compare", *photos, photos[0], "--weights", run]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 6 and lines[2] == f"{photos[0]} {photos[0]}: 0.000, the same person"
    assert (
        launch.main(["--config", "experiments/lenet_digits.py:smoke", "--workdir", f"{run}2"]) == 0
    )
    assert faces.main(["compare", *photos, "--weights", f"{run}2"]) == 2
    assert "is no run of a tasks.Embedding" in capsys.readouterr().err
