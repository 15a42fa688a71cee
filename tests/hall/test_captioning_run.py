"""Captioning as a user runs it: the vocabulary in the run folder, pictures of one's own, kills."""

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
from vision_jax.config import load
from vision_jax.data import read_vocabulary
from vision_jax.training import Checkpoints, agree, initial, spread

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = "experiments/quickstart_captioning.py:smoke"
pytestmark = pytest.mark.usefixtures("at_the_root")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Trains the smoke; returns its folder."""
    folder = tmp_path_factory.mktemp("captioning") / "run"
    here = pathlib.Path.cwd()
    os.chdir(ROOT)
    try:
        assert launch.main(["--config", CONFIG, "--workdir", str(folder)]) == 0
    finally:
        os.chdir(here)
    return folder


@pytest.fixture
def photos(tmp_path):
    """A folder of two pictures that are larger than what the network was fed, and not square."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.jpg"):
        Image.fromarray(rng.integers(0, 255, (70, 151, 3), np.uint8)).save(folder / name)
    return folder


def answers(folder):
    return json.loads((folder / "predictions.json").read_text())["predictions"]


def last_row(folder):
    return json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])


def test_the_run_folder_holds_vocabulary_scores_and_pictures(run):
    words = read_vocabulary(run / "vocabulary.json").words
    signature = json.loads((run / "signature.json").read_text())
    assert tuple(signature["classes"]) == words and {"large", "star"} <= {*words}
    row = last_row(run)
    scores = {"cider_d", "cider_d_frequent", "cider_d_shuffled", "bleu_4", "rouge_l", "perplexity"}
    assert scores <= {name.removeprefix("eval/") for name in row}
    assert 1 < row["eval/perplexity"] < 2 * len(words)
    page = (run / "report" / "index.html").read_text()
    assert "Captions</h2>" in page and "cider_d_shuffled" in page


@pytest.mark.slow
def test_pictures_of_ones_own_and_an_evaluation(run, photos, tmp_path):
    folder = ["--workdir", str(run)]
    out = tmp_path / "out"
    predict = ["--mode", "predict", *folder, "--input", str(photos), "--output", str(out)]
    assert launch.main(predict) == 0
    first = answers(out)
    assert [pathlib.Path(one["file"]).name for one in first] == ["a.png", "b.jpg"]
    for one in first:
        assert set(one["caption"].split()) <= {*read_vocabulary(run / "vocabulary.json").words}
        with Image.open(one["picture"]) as picture:
            assert picture.size[0] >= 151
    hot = ["--config.task.temperature=5.0", "--config.task.draw=3"]
    assert launch.main([*predict[:-1], str(tmp_path / "hot"), *hot]) == 0
    assert [one["caption"] for one in answers(tmp_path / "hot")] != [o["caption"] for o in first]
    assert launch.main(["--mode", "evaluate", *folder]) == 0
    measured = json.loads((run / "evaluation.json").read_text())["metrics"]
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    best = max(row["eval/cider_d"] for row in rows if "eval/cider_d" in row)
    assert measured["eval/cider_d"] == best  # that of the best checkpoint


@pytest.mark.slow
def test_an_exported_program_writes_the_same_captions(run, photos, tmp_path):
    file, folder = tmp_path / "model.stablehlo", ["--workdir", str(run)]
    command = [sys.executable, "-m", "vision_jax.export"]  # without the checks of shapes
    for arguments in (
        [str(run), "--out", str(file), "--platforms", "cpu"],
        ["run", str(file), str(photos), "--output", str(tmp_path / "program")],
    ):
        subprocess.run([*command, *arguments], cwd=ROOT, check=True)
    ours = ["--mode", "predict", *folder, "--input", str(photos), "--output", str(tmp_path / "o")]
    assert launch.main(ours) == 0
    program, expected = answers(tmp_path / "program"), answers(tmp_path / "o")
    assert [one["caption"] for one in program] == [one["caption"] for one in expected]


STEPS = 16


def start(folder):
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
    long = (f"--config.steps={STEPS}", "--config.eval_every=6", "--config.checkpoint_every=3")
    command = [sys.executable, "launch.py", "--config", CONFIG, "--workdir", str(folder), *long]
    out = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, **out)


def bits(folder, structure):
    """Returns all rows, with every step's loss, and all arrays of the last checkpoint, in bytes."""
    checkpoints = Checkpoints(folder / "checkpoints", read_only=True)
    state, _ = checkpoints.restore(structure, STEPS)
    checkpoints.close()
    arrays = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]
    return (folder / "metrics.jsonl").read_bytes(), arrays


@pytest.mark.slow
def test_a_killed_run_goes_on_with_the_same_bits(tmp_path):
    straight = start(tmp_path / "straight")
    out = straight.communicate(timeout=300)[0]
    assert straight.returncode == 0, out
    process, file = start(tmp_path / "killed"), tmp_path / "killed" / "metrics.jsonl"
    while not file.exists() or '"step": 8,' not in file.read_text():
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    process.kill()
    process.communicate()
    again = start(tmp_path / "killed")
    assert "resumed from step" in again.communicate(timeout=300)[0]
    structure = initial.state(agree(spread(load(CONFIG)))[1])[1]
    assert bits(tmp_path / "killed", structure) == bits(tmp_path / "straight", structure)
