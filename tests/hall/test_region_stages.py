"""R-CNN's and SPP-net's stages by `launch.py`: what they hand on, kills, and the detector's use."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from PIL import Image

import launch
from vision_jax import models
from vision_jax.config import build, load
from vision_jax.data import TFDS
from vision_jax.training import initial, restore_params, stages

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = "experiments/quickstart_rcnn.py:smoke,stages"
NAMES = ("pretrain", "trainval", "test", "finetune", "features", "svm", "boxes")
ARRAYS = ("features", "box_features", "boxes", "valid", "labels")
pytestmark = pytest.mark.usefixtures("at_the_root")


@pytest.mark.parametrize(
    "file", ["rcnn_alexnet_voc07", "rcnn_vgg16_voc07", "sppnet_zf5_voc07", "quickstart_rcnn"]
)
def test_the_stages_of_an_experiment_follow_each_other(file, tmp_path):
    names = NAMES if file.startswith("quickstart") else NAMES[1:]
    runs = stages.resolve(load(f"experiments/{file}.py"), tmp_path)
    assert [folder.name for _, folder in runs] == [*names]
    configs = dict(zip(names, (config for config, _ in runs), strict=True))
    for name, split in (("trainval", "train"), ("test", "eval")):
        path = str(tmp_path / name / "proposals.npz")
        assert configs[name].solver.file == path
        for later in ("finetune", "boxes"):
            assert configs[later][split].source.file == path
    head = configs["boxes"].task.model.head
    assert (head.classifier, head.refine) == ("svm", True)
    assert configs["svm"].task.model.head.refine is False
    assert configs["finetune"].task.model.head.classifier == "softmax"
    for name, before in (("features", "finetune"), ("svm", "features"), ("boxes", "svm")):
        assert configs[name].init.weights.rstrip("/") == str(tmp_path / before)
        assert configs[name].init.reinitialize is None
    assert configs["svm"].solver.regions == str(tmp_path / "features" / "regions")
    assert configs["features"].eval is None and configs["features"].expect is None
    # Features are of the images as they are, mirrored ones are for the fine-tuning alone.
    assert "RandomFlip" not in str(configs["features"].train.transforms)
    assert "RandomFlip" in str(configs["finetune"].train.transforms)


def test_proposals_that_are_there_are_not_made_again(tmp_path):
    runs = stages.resolve(load("experiments/rcnn_alexnet_voc07.py:proposals=p/voc"), tmp_path)
    assert [folder.name for _, folder in runs] == [*NAMES[3:]]
    assert runs[0][0].train.source.file == "p/voc_trainval.npz"
    assert runs[0][0].eval.source.file == "p/voc_test.npz"


@pytest.mark.parametrize("file", ["rcnn_alexnet_voc07", "rcnn_vgg16_voc07", "sppnet_zf5_voc07"])
def test_full_networks_have_fitting_shapes(file):
    config = load(f"experiments/{file}.py")
    model = build(config.task).model
    side = 1200 if isinstance(model, models.SPPNet) else 500
    inputs = jax.numpy.zeros((1, side, side, 3)), jax.numpy.full((1, 2), float(side))
    outputs = jax.eval_shape(lambda key: model.init_with_output(key, *inputs)[0], jax.random.key(0))
    width = {"rcnn_alexnet_voc07": 9216, "rcnn_vgg16_voc07": 25088}.get(file, 50 * 256)
    assert outputs["box_features"].shape == (1, 1, width)
    assert outputs["features"].shape == (1, 1, 4096)
    assert outputs["box_deltas"].shape == (1, 1, 20, 4)


def started(folder: pathlib.Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "launch.py", "--config", CONFIG, "--workdir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(folder: pathlib.Path) -> None:
    process = started(folder)
    out = process.communicate(timeout=600)[0]
    assert process.returncode == 0, out


def killed_when(folder: pathlib.Path, file: str, number: int = signal.SIGKILL) -> str:
    """Runs the chain until a file is there, and ends it at once; returns what it said."""
    process = started(folder)
    for _ in range(60_000):
        if (folder / file).exists() or process.poll() is not None:
            break
        time.sleep(0.01)
    process.send_signal(number)
    out = process.communicate(timeout=10)[0]
    assert (folder / file).exists() and process.returncode in (-number, 128 + number), out
    return out


def content(folder: pathlib.Path) -> dict[str, bytes]:
    """Everything that the stages leave: proposals, features, metrics, variables."""
    files = {}
    for name in ("trainval", "test"):
        with np.load(folder / name / "proposals.npz") as stored:
            files |= {f"{name}/{key}": stored[key].tobytes() for key in stored.files}
    for name in ARRAYS:
        path = folder / "features" / "regions" / f"{name}.npy"
        files[f"features/{name}"] = np.load(path).tobytes()
    for config, run in stages.resolve(load(CONFIG), folder):
        files[f"{run.name}/metrics"] = (run / "metrics.jsonl").read_bytes()
        if run.name in ("finetune", "svm", "boxes"):
            fresh = build(config)
            variables = fresh.task.init(jax.random.key(0), fresh.train.element())
            stored = restore_params(run / initial.CHECKPOINTS, variables).variables
            leaves = jax.tree.leaves(stored["params"])
            files[f"{run.name}/params"] = b"".join(np.asarray(x).tobytes() for x in leaves)
    return files


@pytest.mark.slow
def test_a_chain_that_is_killed_ends_with_the_same_bits(tmp_path):
    finished(tmp_path / "straight")
    begun = "trainval/proposals.npz.parts/settings.json"
    told = killed_when(tmp_path / "killed", begun, signal.SIGINT).splitlines()[-1]
    assert told == "launch.py: interrupted; the same command goes on from what is saved"
    for file in (begun, "finetune/metrics.jsonl", "features/regions/done.npy"):
        killed_when(tmp_path / "killed", file)
    finished(tmp_path / "killed")
    straight, killed = (content(tmp_path / name) for name in ("straight", "killed"))
    assert straight.keys() == killed.keys()
    assert [name for name in straight if straight[name] != killed[name]] == []


@pytest.mark.slow
@pytest.mark.parametrize("config", [CONFIG, "experiments/sppnet_zf5_voc07.py:smoke,stages"])
def test_the_last_stage_has_a_detector_of_its_own(config, tmp_path, capsys):
    assert launch.main(["--config", config, "--workdir", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "features of up to" in told and "SVMs of 8 classes" in told
    with np.load(tmp_path / "test" / "proposals.npz") as stored:
        counts = stored["counts"]
    assert len(counts) == len(TFDS("shapes/det64", "validation[:16]")) and counts.min() > 0
    rows = (tmp_path / "boxes" / "metrics.jsonl").read_text().splitlines()
    trained = [row["eval/ap50"] for row in map(json.loads, rows) if "eval/ap50" in row]
    folder = str(tmp_path / "boxes")
    assert launch.main(["--mode", "evaluate", "--workdir", folder]) == 0
    measured = json.loads((tmp_path / "boxes" / "evaluation.json").read_text())["metrics"]
    assert measured["eval/ap50"] == trained[-1]
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.fromarray(np.uint8(np.random.default_rng(0).integers(0, 255, (80, 96, 3)))).save(
        pictures / "one.png"
    )
    assert launch.main(["--mode", "predict", "--workdir", folder, "--input", str(pictures)]) == 0
    assert [path.name for path in (tmp_path / "boxes" / "predictions").glob("one*")]
