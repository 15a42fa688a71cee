"""LSDA's two stages: what the detector keeps of the classifier, and what it learns."""

import numpy as np
import pytest

import launch
from vision_jax.config import build, load
from vision_jax.training import Checkpoints, initial, stages

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("at_the_root")]
CONFIG = "experiments/lsda_shapes.py:smoke,stages"


def test_the_classifiers_last_layer_stays_and_its_changes_are_learned(tmp_path):
    assert launch.main(["--config", CONFIG, "--workdir", str(tmp_path)]) == 0
    heads = []
    for run, folder in stages.resolve(load(CONFIG), tmp_path):
        checkpoints = Checkpoints(folder / "checkpoints", read_only=True)
        state, _ = checkpoints.restore(initial.state(build(run))[1], 4)
        checkpoints.close()
        heads.append(state.params["head"])
    classifier, detector = heads
    for name in ("kernel", "bias"):
        np.testing.assert_array_equal(classifier["fc7"][name], detector["fc7"][name])
    moved = np.abs(np.asarray(detector["change_kernel"])).max(0)
    assert (moved[:4] > 0).all() and (moved[4:] == 0).all()
    assert np.any(classifier["fc6"]["kernel"] != detector["fc6"]["kernel"])
