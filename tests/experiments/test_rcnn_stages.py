"""The R-CNNs' stages by `launch.py`, each of them trained a little, and what they hand on."""

import json
import pathlib

import jax
import numpy as np
import pytest

import launch
from vision_jax import data
from vision_jax.config import build, load, override
from vision_jax.training import initial, restore_params, stages

pytestmark = pytest.mark.usefixtures("at_the_root")


def launched(config: str, folder: pathlib.Path, **changes) -> None:
    settings = [f"--config.{path.replace('__', '.')}={value}" for path, value in changes.items()]
    assert launch.main(["--config", config, "--workdir", str(folder), *settings]) == 0


def rows(folder: pathlib.Path, name: str) -> list[float]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [row[name] for row in map(json.loads, lines) if name in row]


def iou(a, b) -> float:
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = sides.clip(0).prod()
    return both / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - both)


@pytest.mark.slow
def test_fast_rcnn_learns_from_the_proposals_of_an_rpn(tmp_path):
    config, steps = "experiments/fast_rcnn_vgg16_voc07.py:rpn,smoke", 200
    often = {"steps": steps, "eval_every": steps, "checkpoint_every": steps}
    launched(config, tmp_path, **often, optimizer__schedule__value=0.02)
    for name, split in (("trainval", "train[:32]"), ("test", "validation[:16]")):
        truth = data.TFDS("shapes/det64", split, fields=("objects",))
        with np.load(tmp_path / name / "proposals.npz") as file:
            counts, boxes = file["counts"], file["boxes"]
        assert len(counts) == len(truth) and 0 < counts.min() <= counts.max() <= 8
        assert len(boxes) == counts.sum() and 0 <= boxes.min() < boxes.max() <= 64
        found = total = 0
        for i, own in enumerate(np.split(boxes, np.cumsum(counts)[:-1])):
            objects = truth[i]
            for box in objects["boxes"][~(objects["difficult"] | objects["crowd"])]:
                found += any(iou(box, proposal) >= 0.5 for proposal in own)
                total += 1
        if name == "test":  # whose images the stage was evaluated on too
            assert rows(tmp_path / name, "eval/recall50_8") == [pytest.approx(found / total)]
    losses = rows(tmp_path / "detector", "train/loss")
    assert len(losses) == steps and np.mean(losses[-20:]) < 0.7 * np.mean(losses[:20])
    assert len(rows(tmp_path / "detector", "eval/ap50")) == 1
    used = json.loads((tmp_path / "detector" / "config.json").read_text())
    for pipeline, name in (("train", "trainval"), ("eval", "test")):
        assert used[pipeline]["source"]["file"] == str(tmp_path / name / "proposals.npz")


@pytest.mark.slow
def test_the_four_steps_hand_on_what_they_do_not_train(tmp_path):
    config = "experiments/faster_rcnn_vgg16_alternating.py:stages,smoke"
    often = {"steps": 12, "eval_every": 12, "checkpoint_every": 12}
    launched(config, tmp_path, **often, optimizer__schedule__value=0.02)
    params = {}
    for run, folder in stages.resolve(load(config), tmp_path):
        override(run, "init.weights", None)
        fresh = initial.variables(build(run))[0]
        params[folder.name] = restore_params(folder / "checkpoints", fresh).variables["params"]
        losses = rows(folder, "train/loss")
        # Twelve steps on changing regions: what is learnt is tested elsewhere.
        assert len(losses) == 12 and np.isfinite(losses).all(), folder.name
    first = initial.variables(build(load(config)))[0]["params"]  # the same seed for all stages

    def moved(before, after, layer):
        leaves = [jax.tree.leaves(tree) for tree in (before[layer], after[layer])]
        same = [np.array_equal(*pair) for pair in zip(*leaves, strict=True)]
        assert all(same) or not any(same), layer
        return not all(same)

    rpn, detector, again, last = params.values()
    assert moved(first, rpn, "rpn") and not moved(first, rpn, "head")
    assert not moved(rpn, detector, "rpn") and moved(rpn, detector, "head")
    assert rpn["backbone"].keys() == {"conv1_1", "conv2_1", "conv3_1"}
    for one, other, part in ((first, rpn, "backbone"), (rpn, detector, "rpn_backbone")):
        assert not any(moved(one[part], other[part], layer) for layer in one[part])
    # Each trained its own backbone but for the layers that stay as ImageNet left them.
    assert [moved(rpn["backbone"], detector["backbone"], layer) for layer in rpn["backbone"]] == [
        0,
        0,
        1,
    ]
    assert "rpn_backbone" not in again and "rpn_backbone" not in last
    for layer in detector["backbone"]:
        assert not moved(detector["backbone"], again["backbone"], layer)
        assert not moved(again["backbone"], last["backbone"], layer)
    assert moved(detector, again, "rpn") and not moved(detector, again, "head")
    assert not moved(again, last, "rpn") and moved(again, last, "head")
