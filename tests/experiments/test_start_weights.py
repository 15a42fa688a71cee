"""What experiments start from: names of the zoo, so that nothing has to be put in place first."""

import pathlib

import pytest

from vision_jax.config import UserError, load
from vision_jax.weights import zoo

ROOT = pathlib.Path(__file__).parents[2]
EXPERIMENTS = sorted(
    path.stem
    for path in (ROOT / "experiments").glob("*.py")
    if "def get_config" in path.read_text(encoding="utf-8")
)
# Runs that others go on from; nobody publishes the like.
RUNS = {
    "transfer_digits": "runs/quickstart",
    "yolo_v1_voc0712": "runs/extraction",
    "fast_yolo_voc0712": "runs/fast_yolo",
    "sppnet_zf5_voc07": "runs/zf5",
}
pytestmark = pytest.mark.usefixtures("at_the_root")


def starts(config):
    """Yields what an experiment and its stages start from."""
    yield config.init.weights
    for stage in config.get("stages", ()):
        yield from (value for key, value in stage.changes if key == "init.weights")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_starts_by_itself(name):
    try:
        config = load(f"experiments/{name}.py")
    except UserError as error:
        pytest.skip(str(error))  # pictures, or data, have to be named
    for weights in starts(config):
        if weights is None or weights.startswith("stage:"):
            continue
        if name in RUNS:
            assert weights == RUNS[name]
        elif not (ROOT / weights).is_file():  # ours to ship
            zoo.find(weights)
