"""DeepMask's and SharpMask's weights: the reference's own names, and classifiers' backbones."""

from pathlib import Path

import jax
import pytest

from tests.golden.seeded import Golden
from tests.weights.variables import assert_equal
from vision_jax import models, weights

GOLDEN = Path(__file__).parents[1] / "golden" / "models"
NETWORKS = {
    "deepmask_losses": models.DeepMaskResNet50,
    "sharpmask_resnet50": models.SharpMaskResNet50,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_there_and_back_is_the_identity(name):
    golden, model = Golden(GOLDEN / f"{name}.npz"), NETWORKS[name]()
    theirs = golden.state_dict()
    back = weights.to_reference(weights.from_reference(theirs, model), model)
    assert back.keys() == {k for k in theirs if not k.endswith("num_batches_tracked")}
    assert_equal(back, {k: theirs[k] for k in back})


def test_a_classifiers_last_stage_goes_unused():
    golden, model = Golden(GOLDEN / "resnet50.npz"), models.DeepMaskResNet50()
    loaded = weights.engine.read(golden.state_dict(), model, weights.tables.tables_for(model), ())
    backbone = loaded.variables["params"]["backbone"]
    assert loaded.source == "torchvision-classifier" and loaded.is_part
    assert {"conv1", "conv4_6"} <= backbone.keys()
    assert all(leaf.size for leaf in jax.tree.leaves(backbone))
