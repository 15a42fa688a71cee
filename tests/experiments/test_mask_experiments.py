"""SharpMask's masks by `launch.py`: the boxes around them go on to Fast R-CNN."""

import json

import numpy as np
import pytest

import launch
from vision_jax import data

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("at_the_root")]


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
