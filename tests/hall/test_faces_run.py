"""Runs on faces: killed ones end with the same bits; devices, halves, a cascade's stages."""

import json
import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

import launch
from tests.hall.test_resume import wait_for_step
from tests.hall.test_style_run import SETTINGS, STEPS, start
from vision_jax.config import build, load, override
from vision_jax.show import cascade, faces
from vision_jax.training import initial, restore_params

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("at_the_root")]
EMBEDDER, CASCADE = "experiments/quickstart_faces.py:smoke", "experiments/cnn_cascade.py:smoke"
DEEPID, MTCNN = "experiments/deepid2_vggface2.py:smoke", "experiments/mtcnn.py:smoke"
OWN = "experiments/own_faces.py:smoke"
FLAGS = tuple(f"--config.{key}={value}" for key, value in SETTINGS.items())


def ended(folder: pathlib.Path, config: str) -> None:
    """Runs to the end in a process of its own."""
    process = start(folder, config, FLAGS)
    out = process.communicate(timeout=300)[0]
    assert process.returncode == 0, out


def variables(config: str, folder: pathlib.Path) -> list[np.ndarray]:
    """Reads every array that a run ended with."""
    settings = load(config)
    override(settings, "init.weights", None)
    fresh = initial.variables(build(settings))[0]
    return jax.tree.leaves(restore_params(folder / "checkpoints", fresh).variables)


def losses(folder: pathlib.Path) -> list[float]:
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [row["train/loss"] for row in rows if "train/loss" in row]


@pytest.mark.parametrize("config", [EMBEDDER, DEEPID, OWN, CASCADE, MTCNN])
def test_killed_and_resumed_with_the_same_bits(config, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    ended(whole, config)
    process = start(killed, config, FLAGS)
    wait_for_step(killed, 7, process)
    process.kill()
    process.communicate()
    assert f'"step": {STEPS},' not in (killed / "metrics.jsonl").read_text()
    ended(killed, config)
    rows = [(folder / "metrics.jsonl").read_bytes() for folder in (whole, killed)]
    assert rows[0] == rows[1] and rows[0].count(b'"train/loss":') == STEPS
    for one, two in zip(variables(config, whole), variables(config, killed), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("config", [EMBEDDER, OWN])
def test_one_device_and_eight(config, tmp_path):
    for name, extra in (("eight", ()), ("one", ("--config.parallel=single",))):
        command = ("--config", config, "--workdir", str(tmp_path / name))
        assert launch.main([*command, *FLAGS, *extra]) == 0
    one, eight = (losses(tmp_path / name) for name in ("one", "eight"))
    np.testing.assert_allclose(one[:4], eight[:4], rtol=2e-4)  # chaos grows from step to step


@pytest.mark.parametrize("config", [EMBEDDER, CASCADE])
def test_half_precision_trains(config, tmp_path):
    command = ("--config", config, "--workdir", str(tmp_path), "--config.dtype=bfloat16")
    assert launch.main([*command, *FLAGS]) == 0
    found = losses(tmp_path)
    assert len(found) == STEPS and np.isfinite(found).all()


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


def test_the_cascades_stages_hand_on_what_they_learned(tmp_path, capsys):
    config = "experiments/cnn_cascade.py:smoke,stages"
    assert launch.main(["--config", config, "--workdir", str(tmp_path)]) == 0
    names = [f"{kind}{side}" for side in (12, 24, 48) for kind in ("net", "threshold")]
    assert all((tmp_path / name / "DONE").exists() for name in names)
    capsys.readouterr()
    found = cascade.measure(tmp_path, images=8, rounds=1)
    assert found["images"] == 8 and found["ratio"] > 0
    assert found["alone"]["stages"]["windows48"] == found["cascade"]["stages"]["windows12"]
    assert cascade.main([str(tmp_path), "--images", "8", "--rounds", "1"]) == 0
    out = capsys.readouterr().out
    assert "all windows" in out and "times as fast" in out
    assert json.loads((tmp_path / "threshold48" / cascade.FILE).read_text())["images"] == 8
    assert cascade.main([str(tmp_path), "--images", "0"]) == 2
    assert cascade.main([str(tmp_path / "nowhere")]) == 2
