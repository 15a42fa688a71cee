"""DETR against the authors' code and against transformers': everything that the files store."""

import contextlib
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.seeded import Golden, seeded_state_dict
from tests.parity.golden_cases import FOLDER
from tests.parity.golden_detection import check_array, check_gradients, check_loss
from tests.parity.golden_ops import BOTH, Case
from vision_jax import models, weights
from vision_jax.models.detectors import detr
from vision_jax.models.detectors.detr_masks import AttentionMaps, MaskConvs
from vision_jax.ops import boxes as box_ops
from vision_jax.structs import Targets
from vision_jax.weights.engine import Row, Table
from vision_jax.weights.engine import read as read_table

pytestmark = pytest.mark.golden
KINDS = (np.float32, np.float64)
FILES = sorted(FOLDER.rglob("*detr_resnet50.npz"))


class DecoderOfTransformers(models.Decoder):
    """The decoder as transformers has it with auxiliary losses: norms stand between its layers.

    Each layer reads the normalised answer of the one before it, and the last answer is normalised
    twice; without auxiliary losses it is the authors'.
    """

    def __call__(self, x, memory, *where, train=False, keys=None):
        for layer in self.layer:
            x, weights = layer(x, memory, *where, train=train, keys=keys)
            x = self.norm(x)
        return (self.norm(x),), weights


def network(golden):
    """As the file's reference was built: 91 classes, no dropout."""
    settings = models.TransformerSettings(dropout=0.0, attention_dropout=0.0)
    theirs = "transformers" in golden.meta["source"]
    decoder = (DecoderOfTransformers if theirs else models.Decoder)(settings=settings)
    model = models.DETRResNet50(num_classes=91)
    encoder = models.Encoder(settings=settings)
    # The reference holds the weight of "no object" in float32, whatever it computes in.
    weight = float(np.float32(0.1))
    return model.clone(
        encoder=encoder, decoder=decoder, no_object_weight=weight, aux_loss=not theirs
    )


def scene(golden, dtype):
    """Returns images and the sizes of their content; the rest of the second image is padding."""
    images = jnp.asarray(golden.inputs("eval")["x"].transpose(0, 2, 3, 1), dtype)
    if "eval/pixel_mask" in golden.arrays:
        content = golden["eval/pixel_mask"] == 1
    else:
        content = golden["eval/padding_mask"] == 0
    sizes = np.stack([content[:, :, 0].sum(1), content[:, 0].sum(1)], 1)
    return images, jnp.asarray(sizes, dtype)


@contextlib.contextmanager
def their_positions(golden, dtype):
    """Gives the network torch's sines, as the reference's float64 network has them.

    The authors' stay in float32 whatever the network computes in, and float32's sines differ from
    library to library in the last bit. In float32 this difference is among the others.
    """
    if dtype is np.float32:
        yield
        return
    name = "float64" if "transformers" in golden.meta["source"] else "float32"
    with np.load(FOLDER / "ops" / "positions.npz") as stored:
        mask, positions = stored["mask"], stored[name]

    def recorded(valid, features, temperature):
        assert valid.shape == mask.shape and 2 * features == positions.shape[-1]
        assert temperature == 10_000
        return jnp.asarray(positions)

    with mock.patch.object(detr, "sine_positions", recorded):
        yield


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_detr_equals_its_reference(path):
    golden = Golden(path)
    model = network(golden)
    state = weights.from_reference(golden.state_dict(), model)
    for dtype in KINDS:
        with jax.enable_x64(dtype is np.float64):
            variables = jax.tree.map(lambda a, dtype=dtype: jnp.asarray(a, dtype), state)
            check_eval(golden, model, variables, dtype)
            if "train" in golden.meta:
                _check_train(golden, model, variables, dtype)


def check_eval(golden, model, variables, dtype):
    """Every output of evaluation that the file holds."""
    images, sizes = scene(golden, dtype)
    with their_positions(golden, dtype):
        outputs = jax.jit(model.apply)(variables, images, sizes)
    phase = "eval" if "eval/logits" in golden.meta["outputs"] else "train"
    check_array(golden, f"{phase}/logits", outputs["class_logits"], dtype)
    check_array(golden, f"{phase}/pred_boxes", outputs["relative_boxes"], dtype)
    if not model.aux_loss:
        return
    earlier = zip(outputs["aux_class_logits"], outputs["aux_relative_boxes"], strict=True)
    for i, (logits, boxes) in enumerate(earlier):
        check_array(golden, f"{phase}/aux{i}.logits", logits, dtype)
        check_array(golden, f"{phase}/aux{i}.pred_boxes", boxes, dtype)


def _check_train(golden, model, variables, dtype):
    images, sizes = scene(golden, dtype)
    targets = truth(golden, sizes, dtype)

    @jax.jit
    def run(params):
        def total(params):
            outputs = model.apply({**variables, "params": params}, images, sizes)
            terms = model.loss(outputs, targets, jnp.ones(2, bool))
            means = {name: x / weight for name, (x, weight) in terms.items()}
            return sum(means.values()), means

        (loss, terms), gradients = jax.value_and_grad(total, has_aux=True)(params)
        return {**terms, "total": loss}, gradients

    with their_positions(golden, dtype):
        terms, gradients = run(variables["params"])
    theirs = golden.meta["train"]["losses"]
    factors = {"loss_ce": ("class", 1), "loss_bbox": ("box", 5), "loss_giou": ("giou", 2)}
    check_loss(golden, "total", terms["total"], dtype)
    for name, (ours, factor) in factors.items():
        check_loss(golden, name, terms[ours] / factor, dtype)
        aux = sum(theirs[f"{name}_{i}"] for i in range(5))
        np.testing.assert_allclose(terms[f"aux_{ours}"] / factor, aux, rtol=1e-5)
    gradients = weights.to_reference(jax.tree.map(np.asarray, gradients), model)
    check_gradients(golden, gradients, dtype)


def truth(golden, sizes, dtype):
    """The file's boxes, shares of the content, in pixels; padded to the longest list."""
    boxes = np.zeros((len(sizes), 4, 4), dtype)
    labels = np.full((len(sizes), 4), -1, np.int32)
    for row, (height, width) in enumerate(np.asarray(sizes)):
        given = golden[f"train/target{row}/boxes"].astype(dtype)
        corners = box_ops.convert(jnp.asarray(given), "cxcywh", "xyxy")
        boxes[row, : len(given)] = corners * np.array([[width, height, width, height]], dtype)
        labels[row, : len(given)] = golden[f"train/target{row}/labels"]
    return Targets(boxes=jnp.asarray(boxes), labels=jnp.asarray(labels), valid=labels >= 0)


@pytest.mark.parametrize("path", FILES[-1:], ids=lambda p: p.stem)
def test_the_assignment_and_the_detections_are_the_references(path):
    golden = Golden(path)
    model = network(golden)
    if not model.aux_loss:
        pytest.skip("stores neither")
    variables = weights.from_reference(golden.state_dict(), model)
    images, sizes = scene(golden, np.float32)
    outputs = jax.jit(model.apply)(variables, images, sizes)
    gt = detr.relative_truth(truth(golden, sizes, np.float32), sizes, jnp.ones(2, bool))
    _, matched = jax.vmap(model._losses)(outputs["class_logits"], outputs["relative_boxes"], *gt)
    found = model.detect(outputs, sizes)
    for row in range(2):
        queries = np.flatnonzero(np.asarray(matched[row]) >= 0)
        assert np.array_equal(queries, golden[f"train/matched{row}.queries"])
        assert np.array_equal(matched[row][queries], golden[f"train/matched{row}.targets"])
        scores = golden[f"train/detections.{row}.scores"]
        order = np.argsort(-scores, kind="stable")
        np.testing.assert_allclose(found.scores[row], scores[order], atol=1e-5)
        labels = golden[f"train/detections.{row}.labels"]
        assert (np.asarray(found.labels[row]) == labels[order]).mean() > 0.95  # of equal scores


def parameters(case, rows, kind):
    """The case's seeded weights, in our names."""
    shapes, seed = case.args["shapes"], case.args["seed"]
    state = seeded_state_dict(shapes, seed)
    table = Table("detr", lambda model: iter(rows))
    loaded = read_table(state, None, [table], ())
    return jax.tree.map(lambda a: jnp.asarray(a, kind), loaded.variables)


@BOTH
def test_attention_maps(kind, precision):
    case = Case("set_prediction", "attention_map", kind)
    rows = [Row(f"{n[0]}_linear", n, "dense_bias") for n in ("query", "key")]
    memory = jnp.moveaxis(case["k"], 1, 3)
    maps = AttentionMaps(4).apply(
        parameters(case, rows, kind), case["q"], memory, case["mask"] == 0
    )
    case.check("y", jnp.moveaxis(maps, 4, 2))


@BOTH
def test_mask_head(kind, precision):
    case = Case("set_prediction", "mask_head", kind)
    names = {name.rsplit(".", 1)[0] for name in case.args["shapes"]}
    rows = [Row(n, n, "affine" if n.startswith("gn") else "conv_bias") for n in sorted(names)]
    maps = jnp.moveaxis(case["bbox_mask"], 2, 4)
    x, *finer = (jnp.moveaxis(case[n], 1, 3) for n in ("x", "fpn0", "fpn1", "fpn2"))
    logits = MaskConvs(128).apply(parameters(case, rows, kind), x, maps, finer)
    case.check("y", logits.reshape(6, 1, 32, 48))
