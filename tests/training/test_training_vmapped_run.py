"""Several runs in one program through the conductor."""

import json
import shutil

import jax
import numpy as np
import pytest
from tiny_net import experiment

from vision_jax import run
from vision_jax.config import build
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
