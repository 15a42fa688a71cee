"""Detectors on several devices, and in runs: one program for all steps, equal bits after a kill."""

import json
import os
import pathlib
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from PIL import Image

import launch
from tests.models.detectors import tiny_detectors
from vision_jax import data, models, run
from vision_jax.config import UserError, build, load
from vision_jax.tasks import Detection
from vision_jax.training import (
    Checkpoints,
    Constant,
    Optimizer,
    Parallel,
    Sgd,
    create,
    initial,
    make_train_step,
)

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = "experiments/quickstart_detection.py:smoke"
STEPS = 4
pytestmark = pytest.mark.usefixtures("at_the_root")


def stepped(name: str, how: str, devices: int):
    """Returns the state after two steps on eight images, and the steps' measurements."""
    batch = jax.tree.map(np.asarray, tiny_detectors.images(8))
    task = Detection(tiny_detectors.DETECTORS[name]())
    variables = jax.tree.map(np.asarray, task.init(jax.random.key(0), batch))
    # Not Adam, which would turn a last bit into a step of its own.
    update = Optimizer(Sgd(), Constant(0.02)).build(variables["params"], 2, 2)
    parallel = Parallel(how, jax.devices()[:devices])
    state = parallel.put_state(create(variables, update))
    step = parallel.compile(make_train_step(task, update, parallel.axis))
    rows = []
    for _ in range(2):
        state, measured = step(state, parallel.put_batch(batch), np.uint32(0))
        rows.append({key: float(value) for key, value in measured.items()})
    return parallel.get_state(state), rows


@pytest.mark.parametrize(
    "name",
    [
        "retinanet",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("faster_rcnn", "rfcn", "detr", "pix2seq")
        ),
    ],
)
def test_devices_and_their_mapping_do_not_matter(name):
    eight, rows = stepped(name, "shard_map", 8)
    other, again = stepped(name, "pmap", 8)
    assert rows == again
    jax.tree.map(np.testing.assert_array_equal, eight, other)
    one, alone = stepped(name, "shard_map", 1)
    for found, expected in zip(alone, rows, strict=True):
        for key in expected:
            np.testing.assert_allclose(found[key], expected[key], rtol=1e-5, err_msg=key)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        one.params,
        eight.params,
    )


def killed(config: str, folder: pathlib.Path) -> None:
    """Starts the run in a process of its own, and kills it after its third step."""
    command = [sys.executable, "launch.py", "--config", config, "--workdir", str(folder)]
    process = subprocess.Popen(
        command, cwd=ROOT, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    rows = folder / "metrics.jsonl"
    for _ in range(30_000):
        if rows.exists() and '"step": 3,' in rows.read_text():
            break
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not (folder / "DONE").exists()


def bits(config: str, folder: pathlib.Path) -> tuple[bytes, list[bytes]]:
    """Reads metrics.jsonl, and every array of the last checkpoint, optimizer and all."""
    checkpoints = Checkpoints(folder / "checkpoints", read_only=True)
    state, _ = checkpoints.restore(initial.state(build(load(config)))[1], STEPS)
    checkpoints.close()
    arrays = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]
    return (folder / "metrics.jsonl").read_bytes(), arrays


def test_a_run_compiles_once_and_survives_a_kill_with_the_same_bits(tmp_path, monkeypatch):
    programs = []
    finish = run.Run.finish

    def counted(self):
        evaluator = self.parts.evaluator
        programs.append((self.parts.step._cache_size(), evaluator._step._cache_size()))
        return finish(self)

    monkeypatch.setattr(run.Run, "finish", counted)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert launch.main(["--config", CONFIG, "--workdir", str(whole)]) == 0
    killed(CONFIG, broken)
    assert launch.main(["--config", CONFIG, "--workdir", str(broken)]) == 0
    assert bits(CONFIG, broken) == bits(CONFIG, whole)
    assert programs == [(1, 1), (1, 1)]

    run_ = ["--config", CONFIG, "--workdir", str(whole)]
    report = (whole / "report" / "index.html").read_text()
    assert "12 images: truth, found" in report and "the hardest first" in report
    assert launch.main([*run_, "--mode", "inspect"]) == 0
    assert {p.name for p in (whole / "inspect").iterdir()} == {
        "train.png",
        "eval.png",
        "matches.png",
    }
    picture = tmp_path / "picture.png"
    Image.fromarray(np.zeros((48, 96, 3), np.uint8)).save(picture)
    assert launch.main([*run_, "--mode", "predict", "--input", str(picture)]) == 0
    (answer,) = json.loads((whole / "predictions" / "predictions.json").read_text())["predictions"]
    assert all(0 <= x <= 96 for one in answer["objects"] for x in one["box"])
    with Image.open(answer["picture"]) as drawn:
        assert drawn.size == (96, 48)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rfcn", "detr", "pix2seq"])
def test_a_killed_demo_ends_with_the_same_bits(tmp_path, name):
    config = f"experiments/quickstart_{name}.py:smoke"
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    killed(config, broken)
    for folder in (whole, broken):
        assert launch.main(["--config", config, "--workdir", str(folder)]) == 0
    assert bits(config, broken) == bits(config, whole)


def test_the_quickstarts_arguments():
    experiment = build(load("experiments/quickstart_detection.py:detector=retinanet,shuffle,smoke"))
    assert isinstance(experiment.task.model, models.RetinaNet)
    assert isinstance(experiment.train.source, data.Shuffled)
    with pytest.raises(UserError, match="did you mean retinanet"):
        load("experiments/quickstart_detection.py:detector=retinnet")


@pytest.mark.slow
@pytest.mark.parametrize("argument, low, high", [("", 0.75, 1.0), (":shuffle", 0.0, 0.1)])
def test_the_quickstart_learns_what_can_be_learned(tmp_path, argument, low, high):
    config = f"experiments/quickstart_detection.py{argument}"
    assert launch.main(["--config", config, "--workdir", str(tmp_path)]) == 0
    measured = json.loads((tmp_path / "DONE").read_text())["metrics"]
    assert low <= measured["eval/ap50"] <= high
