"""Several runs in one program through the training loop."""

import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image
from tiny_net import experiment

from vision_jax import run, show
from vision_jax.config import build
from vision_jax.data.decode import decode_image
from vision_jax.structs import Batch
from vision_jax.training import ensemble, vmapped


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two seeds in one program, and the same two alone: {name: (folder, metrics)}."""
    configs = {
        "both": experiment(seeds=2, checkpoint_every=1),
        "0": experiment(),
        "1": experiment(seed=1),
    }
    folder = tmp_path_factory.mktemp("runs")
    return {n: (folder / n, run.train(config, folder / n)) for n, config in configs.items()}


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_rows_and_evaluations_hold_every_run(folders):
    metrics = folders["both"][1]
    for k in (0, 1):
        assert metrics[f"eval/top1@{k}"] == folders[str(k)][1]["eval/top1"]
        for row, solo in zip(rows(folders["both"][0]), rows(folders[str(k)][0]), strict=True):
            for name, value in solo.items():
                if name.startswith("train/"):
                    np.testing.assert_allclose(row[f"{name}@{k}"], value, rtol=1e-5)
    assert metrics["eval/top1"] == np.mean([metrics["eval/top1@0"], metrics["eval/top1@1"]])


def test_the_checkpoint_holds_every_run(folders):
    members = vmapped.trained(build(experiment(seeds=2)), folders["both"][0])
    assert [member.seed for member, _ in members] == [0, 1]
    for k, (member, variables) in enumerate(members):
        ((_, solo),) = vmapped.trained(member, folders[str(k)][0])
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=2e-6), variables, solo
        )
    together = ensemble.evaluate([folders["both"][0]])
    assert together == ensemble.evaluate([folders["0"][0], folders["1"][0]])


def test_a_resumed_program_ends_with_the_same_rows(folders, tmp_path):
    shutil.copytree(folders["both"][0], tmp_path / "cut")
    (tmp_path / "cut" / "DONE").unlink()
    shutil.rmtree(max((tmp_path / "cut" / "checkpoints").glob("*2")))
    assert (
        run.train(experiment(seeds=2, checkpoint_every=1), tmp_path / "cut") == folders["both"][1]
    )
    assert rows(tmp_path / "cut") == rows(folders["both"][0])


def test_looking_at_a_folder_of_several_runs(folders, tmp_path, capsys):
    """Evaluation gives every run's numbers; prediction the answer of all of them together."""
    folder, metrics = folders["both"]
    config = experiment(seeds=2)
    found = show.MODES["evaluate"](config, folder)
    rows = {name: value for name, value in found.items() if name in metrics}
    assert rows == {name: pytest.approx(metrics[name]) for name in rows}
    assert {"eval/top1", "eval/top1@0", "eval/top1@1"} <= set(rows)
    assert "step 2, 2 runs" in json.loads((folder / "evaluation.json").read_text())["weights"]

    picture = tmp_path / "digit.png"
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(picture)
    (answer,) = show.MODES["predict"](config, folder, show.Asked(str(picture)))
    batch = Batch(
        image=decode_image(picture.read_bytes(), 1)[None],
        valid=np.ones(1, bool),
        index=np.zeros(1, np.int32),
    )
    members = vmapped.trained(build(config), folder)
    each = [
        jax.nn.softmax(jax.jit(member.task.predict)(variables, batch)["logits"][0])
        for member, variables in members
    ]
    mean = np.mean(each, 0)
    assert np.abs(each[0] - mean).max() > 1e-4
    for entry in answer["top"]:
        assert entry["probability"] == pytest.approx(mean[entry["label"]], abs=1e-5)
