"""DeepMask's and SharpMask's stages by `launch.py`: what is kept, what is handed on, and kills."""

import json

import jax
import numpy as np
import pytest

import launch
from tests.hall.test_resume import wait_for_step
from tests.hall.test_style_run import start
from vision_jax import data
from vision_jax.config import build, load, override
from vision_jax.training import initial, restore_params, stages

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("at_the_root")]
CONFIG = "experiments/sharpmask_r50_coco.py:smoke,stages"


def variables(folder):
    """Reads what each stage ended with."""
    found = {}
    for run, place in stages.resolve(load(CONFIG), folder):
        override(run, "init.weights", None)
        fresh = initial.variables(build(run))[0]
        found[place.name] = restore_params(place / "checkpoints", fresh).variables
    return found


def test_the_refinement_alone_is_trained(tmp_path):
    assert launch.main(["--config", CONFIG, "--workdir", str(tmp_path)]) == 0
    coarse, sharp = variables(tmp_path).values()
    for name, part in coarse["params"].items():
        jax.tree.map(np.testing.assert_array_equal, part, sharp["params"][name])
    jax.tree.map(np.testing.assert_array_equal, coarse["batch_stats"], sharp["batch_stats"])
    moved = jax.tree.leaves(sharp["params"]["refinement"])
    assert all(np.isfinite(leaf).all() for leaf in moved)


def test_fast_rcnn_learns_from_the_masks_boxes(tmp_path):
    config = "experiments/quickstart_masks.py:smoke,detector"
    assert launch.main(["--config", config, "--workdir", str(tmp_path)]) == 0
    for name, split in (("train", "train[:32]"), ("validation", "validation[:16]")):
        source = data.TFDS("shapes/det64", split, fields=("objects",))
        file = str(tmp_path / name / "proposals.npz")
        examples = data.WithProposals(source, file, max_proposals=8)
        counts = [examples[i]["proposal_valid"].sum() for i in range(len(source))]
        assert len(counts) == len(source) and 0 < max(counts) <= 8, name
        assert all((examples[i]["proposals"] <= 64).all() for i in range(len(source)))
    rows = (tmp_path / "detector" / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(row) for row in rows]
    assert rows[-1]["step"] == 4 and "eval/ap50" in rows[-1]
    terms = [row["train/loss/roi_class"] for row in rows if "train/loss" in row]
    assert len(terms) == 4 and np.isfinite(terms).all() and min(terms) > 0


def test_half_precision_trains_masks_and_scores(tmp_path):
    config = "experiments/deepmask_r50_coco.py:smoke"
    command = ("--config", config, "--workdir", str(tmp_path), "--config.dtype=bfloat16")
    assert launch.main([*command, "--config.log_every=1"]) == 0
    rows = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    terms = [
        [row[f"train/loss/{name}"] for name in ("mask", "score")]
        for row in rows
        if "train/loss" in row
    ]
    assert len(terms) == 4 and np.isfinite(terms).all() and np.min(terms) > 0


def test_killed_in_each_stage_it_ends_with_the_same_bits(tmp_path):
    settings = ("--config.steps=40", "--config.eval_every=20", "--config.checkpoint_every=5")
    folders = tmp_path / "straight", tmp_path / "killed"
    for stage in ("deepmask", "sharpmask"):
        process = start(folders[1], CONFIG, settings)
        wait_for_step(folders[1] / stage, 12, process)
        process.kill()
        process.communicate()
    for folder in folders:
        process = start(folder, CONFIG, settings)
        out = process.communicate(timeout=600)[0]
        assert process.returncode == 0, out
    for stage in ("deepmask", "sharpmask"):
        one, other = ((folder / stage / "metrics.jsonl").read_bytes() for folder in folders)
        assert one == other and json.loads(one.splitlines()[-1])["step"] == 40
    jax.tree.map(np.testing.assert_array_equal, *map(variables, folders))
