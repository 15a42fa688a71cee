"""Parity of MTCNN: its networks on seeded weights, and the cascade with its published weights.

The photograph is scikit-image's astronaut (NASA, public domain). The reference ran in float32: its
own float64 run floors some windows of the pyramid otherwise.
"""

import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.seeded import Golden, state_crc32, subsample
from tests.parity.golden_cases import FOLDER
from vision_jax import models, weights
from vision_jax.models.detectors.mtcnn import pyramid
from vision_jax.ops import cascade
from vision_jax.weights.files import read_state

pytestmark = pytest.mark.golden
WEIGHTS = Path(__file__).parents[2] / "experiments" / "weights" / "mtcnn.safetensors"
NETS = {"pnet": models.PNet, "rnet": models.RNet, "onet": models.ONet}
SCORE = 1e-5  # the reference's float32 scores are up to 2.4e-6 from its float64 ones
PIXEL = 1e-3  # and its boxes up to 6e-5


@pytest.mark.usefixtures("precision")
@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("name", NETS)
def test_networks_on_seeded_weights(name, kind):
    golden = Golden(FOLDER / "models_thirdparty" / f"mtcnn_{name}.npz")
    model = network(golden)
    state = weights.from_reference(golden.state_dict(), model)
    variables = jax.tree.map(lambda a: jnp.asarray(a, kind), state)
    assert sum(a.size for a in jax.tree.leaves(state["params"])) == golden.meta["param_count"]
    check_eval(golden, model, variables, kind)


def network(golden: Golden):
    """Makes the network of a golden file."""
    golden.errors = {}
    return NETS[golden.meta["name"].removeprefix("mtcnn_")]()


def check_eval(golden: Golden, model, variables: dict, kind: type) -> None:
    """Compares boxes, landmarks of O-Net and probabilities; notes the differences."""
    x = jnp.asarray(golden.inputs("eval")["x"].transpose(0, 2, 3, 1), kind)
    outputs = model.apply(variables, x)
    scores = jax.nn.softmax(outputs.pop("logits"), -1)
    for i, value in enumerate([*outputs.values(), scores]):
        value = jnp.moveaxis(value, -1, 1)
        info = golden.meta["outputs"][f"eval/{i}"]
        assert list(value.shape) == info["shape"]
        error = np.abs(subsample(value, info["stride"]) - golden[f"eval/{i}"]).max()
        golden.errors[f"eval/{i}", kind.__name__] = float(error)
        float32 = 10 * info["float32_max_abs_diff"]
        assert error <= (float32 if kind is np.float32 else 1e-9 * info["absmax"])


def photograph(golden: Golden) -> np.ndarray:
    """Returns the golden's image, which it holds or names."""
    if "image" in golden.arrays:
        return golden["image"]
    data = pytest.importorskip("skimage.data", reason="the photograph is scikit-image's")
    return data.astronaut()


@pytest.fixture(scope="module", params=["mtcnn_astronaut_crop", "mtcnn_astronaut"])
def run(request):
    """Runs the cascade on a photograph that lies on a larger canvas."""
    golden = Golden(FOLDER / "real" / f"{request.param}.npz")
    image = photograph(golden)
    assert zlib.crc32(image.tobytes()) == golden.meta["image"]["crc32"]
    state = read_state(WEIGHTS)
    assert state_crc32(state) == golden.meta["weights_crc32"]
    model = models.MTCNN(min_size=golden.meta["options"]["min_size"])
    height, width = image.shape[:2]
    canvas = np.full((1, height + 40, width + 70, 3), 77, np.float32)
    canvas[0, :height, :width] = image
    variables = weights.from_reference(state, model)
    sizes = jnp.array([[height, width]], jnp.float32)
    outputs = jax.jit(model.apply)(variables, jnp.asarray(canvas), sizes)
    return golden, model, image, jax.tree.map(np.asarray, outputs)


def test_every_level_of_the_pyramid(run):
    golden, model, image, outputs = run
    levels = pyramid(image.shape[:2], model.min_size, model.factor)
    np.testing.assert_array_equal([level.scale for level in levels], golden["scales"])
    for k, level in enumerate(levels):
        info = golden.meta["outputs"]
        height, width = info[f"pnet/{k}/prob"]["shape"]
        assert (level.rows[-1] - 1) // 2 - 4 == height and (level.columns[-1] - 1) // 2 - 4 == width
        logits = outputs["level_logits"][k][0, :height, :width]
        scores = np.asarray(jax.nn.softmax(logits, -1))[..., 1]
        deltas = outputs["level_deltas"][k][0, :height, :width]
        for name, ours in (("prob", scores), ("reg", deltas.transpose(2, 0, 1))):
            ours = subsample(ours, info[f"pnet/{k}/{name}"]["stride"])
            expected = golden[f"pnet/{k}/{name}"].reshape(-1)
            np.testing.assert_allclose(ours, expected, atol=SCORE)
        rows, chosen = cascade.face_windows(
            jnp.asarray(scores), jnp.asarray(deltas), level.scale, model.score_thresholds[0]
        )
        found, expected = np.asarray(rows)[np.asarray(chosen)], golden[f"pnet/{k}/candidates"]
        np.testing.assert_array_equal(found[:, :4], expected[:, :4])
        np.testing.assert_allclose(found[:, 4:], expected[:, 4:], atol=SCORE)


def test_every_stage(run):
    golden, _, _, outputs = run
    for name, stage in (("proposals", "stage1"), ("refined", "stage2")):
        found, count = outputs[name], len(golden[f"{stage}/boxes_regressed"])
        assert found.valid.sum() == count and found.valid[0, :count].all()
        for ours, theirs in ((found.boxes, "regressed"), (found.squares, "square")):
            expected = golden[f"{stage}/boxes_{theirs}"]
            np.testing.assert_allclose(ours[0, :count], expected[:, :4], atol=PIXEL)
            np.testing.assert_allclose(found.scores[0, :count], expected[:, 4], atol=SCORE)


@pytest.mark.parametrize(("stage", "side"), [(1, 24), (2, 48)])
def test_crops_between_stages(run, stage, side):
    golden, _, image, _ = run
    squares = jnp.asarray(golden[f"stage{stage}/boxes_square"][:, :4])
    spans = cascade.pixel_spans(squares, *image.shape[:2])
    np.testing.assert_array_equal(spans, golden[f"stage{stage}/pad_y_ey_x_ex"])
    areas = cascade.summed_areas(jnp.asarray(image.astype(np.uint32)))
    crops = jax.vmap(lambda span: cascade.area_resize(areas, span, (side, side)))(spans)
    crops = (np.asarray(crops).transpose(0, 3, 1, 2) - 127.5) / 128
    name = f"stage{stage + 1}/crops"
    info = golden.meta["outputs"][name]
    assert list(crops.shape) == info["shape"]
    np.testing.assert_allclose(subsample(crops, info["stride"]), golden[name], atol=1e-6)


def test_the_face_and_its_landmarks(run):
    golden, _, _, outputs = run
    found, count = outputs["detections"], len(golden["boxes"])
    assert found.valid.sum() == count == 1
    np.testing.assert_allclose(found.boxes[0, :count], golden["boxes"][:, :4], atol=PIXEL)
    np.testing.assert_allclose(found.scores[0, :count], golden["boxes"][:, 4], atol=SCORE)
    np.testing.assert_allclose(found.keypoints[0, :count, :, :2], golden["points"], atol=PIXEL)


def test_the_counts_of_each_stage(run):
    """The cascade's point: the first network leaves few windows, the second fewer still."""
    golden, model, image, outputs = run
    levels = pyramid(image.shape[:2], model.min_size, model.factor)
    windows = sum(
        ((level.rows[-1] - 1) // 2 - 4) * ((level.columns[-1] - 1) // 2 - 4) for level in levels
    )
    counts = [int(windows)] + [
        int(outputs[k].valid.sum()) for k in ("proposals", "refined", "detections")
    ]
    expected = {"mtcnn_astronaut": [42866, 153, 9, 1], "mtcnn_astronaut_crop": [2020, 22, 6, 1]}
    assert counts == expected[golden.meta["name"]]
