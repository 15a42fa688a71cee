"""Parity of R-FCN: maps, proposals, votes, losses, gradients, and its authors' whole head."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.seeded import Golden, subsample
from tests.parity.golden_cases import FOLDER
from tests.parity.golden_detection import check_array, check_gradients, check_loss
from tests.parity.golden_ops import BOTH, Case, cases
from vision_jax import models, weights
from vision_jax.ops import boxes as box_ops
from vision_jax.ops.assign import BACKGROUND, IGNORED
from vision_jax.ops.losses import smooth_l1
from vision_jax.ops.rfcn import rfcn_pool
from vision_jax.structs import Targets

pytestmark = pytest.mark.golden
FILES = [
    FOLDER / "models_thirdparty" / f"rfcn_{n}.npz" for n in ("resnet50", "resnet101_k3_dilated")
]
LOSSES = {"rpn_cls": "rpn_class", "rpn_box": "rpn_box", "cls": "roi_class", "bbox": "roi_box"}


def network(golden):
    """Makes the network of a golden file, by its options and shapes."""
    options, shapes = golden.meta["options"], golden.meta["shapes"]
    bins = options["POOLING_SIZE"]
    classes = shapes["RCNN_cls_base.weight"][0] // bins**2 - 1
    model = models.rfcn_resnet(101 if "101" in golden.meta["name"] else 50, classes)
    body = model.score_maps.body.clone(dilations=(options["res5a dilation"], 2, 2))
    return model.clone(
        backbone=model.backbone.clone(ceil_pool=True),
        rpn=model.rpn.clone(
            anchor_sizes=(tuple(16.0 * scale for scale in options["ANCHOR_SCALES"]),),
            pre_nms_top_n=options["RPN_PRE_NMS_TOP_N"],
            post_nms_top_n=options["RPN_POST_NMS_TOP_N"],
            min_size=0.0,
        ),
        score_maps=model.score_maps.clone(body=body, bins=bins, use_bias=False),
        head=model.head.clone(hard_examples=False),
    )


# The first file's gradients are a minute's work.
@pytest.mark.parametrize(
    "file",
    [
        pytest.param(file, marks=[pytest.mark.slow] * ("resnet50" in file.stem), id=file.stem)
        for file in FILES
    ],
)
def test_network_equals_the_references(file):
    golden = Golden(file)
    model = network(golden)
    state = weights.from_reference(golden.state_dict(), model)
    assert sum(a.size for a in jax.tree.leaves(state["params"])) == golden.meta["param_count"]
    for kind in (np.float32, np.float64):
        with jax.enable_x64(kind is np.float64):
            variables = jax.tree.map(lambda a, kind=kind: jnp.asarray(a, kind), state)
            check_eval(golden, model, variables, kind)
            if "train" in golden.meta:
                check_train(golden, model, variables, kind)


def scene(golden, phase, kind):
    """Returns images and their sizes."""
    image = jnp.asarray(golden.inputs(phase)["x"].transpose(0, 2, 3, 1), kind)
    return image, jnp.broadcast_to(jnp.array(image.shape[1:3], kind), (len(image), 2))


def maps_first(x):
    return np.asarray(x).transpose(0, 3, 1, 2)


def check_eval(golden, model, variables, kind):
    """Compares every array that the file holds of evaluation."""
    image, sizes = scene(golden, "eval", kind)
    run = jax.jit(lambda v, *x: model.apply(v, *x, capture_intermediates=is_reduction))
    found, kept = run(variables, image, sizes)
    reduced = kept["intermediates"]["score_maps"]["reduce"]["__call__"][0]
    images, height, width, _ = found["pyramid"][0].shape
    proposals = box_ops.move_ends(found["proposals"], -1)
    numbers = np.broadcast_to(np.arange(images)[:, None, None], (*proposals.shape[:2], 1))
    bins = model.score_maps.bins
    part_deltas = rfcn_pool(found["box_maps"], proposals, bins, 1 / 16)
    check_objectness(golden, found["rpn_class_logits"].reshape(images, height, width, -1), kind)
    arrays = {
        "base": maps_first(found["pyramid"][0]),
        "rpn_box": maps_first(found["rpn_box_deltas"].reshape(images, height, width, -1)),
        "conv_new": maps_first(jax.nn.relu(reduced)),
        "score_maps": maps_first(found["score_maps"]),
        "box_maps": maps_first(found["box_maps"]),
        "rois": np.concatenate([numbers, proposals], -1),
        "pooled_cls": parts_last(found["part_scores"]),
        "pooled_box": parts_last(part_deltas),
        "cls_prob": np.asarray(jax.nn.softmax(found["class_logits"])),
        "bbox_pred": np.asarray(found["box_deltas"][:, :, 0]),
    }
    assert {f"eval/{name}" for name in arrays} | {"eval/rpn_cls"} == {
        name for name in golden.meta["outputs"] if name.startswith("eval/")
    }
    for name, ours in arrays.items():
        check_array(golden, f"eval/{name}", ours, kind)


def is_reduction(module, method):
    return module.name == "reduce" and method == "__call__"


def parts_last(pooled):
    pooled = np.moveaxis(np.asarray(pooled), -1, 2)
    return pooled.reshape(-1, *pooled.shape[2:])


def check_objectness(golden, ours, kind):
    """Compares what an object's logit is above background's: the file has both, thinned."""
    info = golden.meta["outputs"]["eval/rpn_cls"]
    thinned = np.full(np.prod(info["shape"]), np.nan)
    thinned[:: info["stride"]] = golden["eval/rpn_cls"]
    background, objects = np.split(thinned.reshape(info["shape"]), 2, 1)
    stored = subsample(objects - background, 1)
    there = np.isfinite(stored)
    assert there.mean() > 0.3
    error = np.abs(subsample(maps_first(ours), 1) - stored)[there].max()
    golden.errors["eval/rpn_cls", kind.__name__] = float(error)
    allowed = 20 * info["float32_max_abs_diff"] if kind is np.float32 else 2e-9 * info["absmax"]
    assert error <= allowed


def check_train(golden, model, variables, kind):
    """Compares losses and gradients on the file's regions and anchors."""
    image, sizes = scene(golden, "train", kind)
    gt = golden["train/gt"]
    targets = Targets(
        boxes=box_ops.move_ends(jnp.asarray(gt[None, :, :4], kind), 1),
        labels=jnp.asarray(gt[None, :, 4] - 1, jnp.int32),
        valid=jnp.ones((1, len(gt)), bool),
    )
    rois = box_ops.move_ends(jnp.asarray(golden["train/rois"][None, :, 1:], kind), 1)
    owners = np.argmax(box_ops.pairwise(box_ops.iou, rois[0], targets.boxes[0]), 1)
    is_object = golden["train/labels"] > 0
    np.testing.assert_array_equal(gt[owners, 4][is_object], golden["train/labels"][is_object])
    anchors = model.anchors(*image.shape[1:3])
    matched_idxs = model.rpn.matches(anchors, targets, sizes)
    check_anchor_labels(golden, np.asarray(matched_idxs))
    fixed = {
        "anchors": anchors,
        "rpn_sampled_idxs": jnp.arange(len(anchors))[None],
        "rpn_matched_idxs": matched_idxs,
        "rois": rois,
        "roi_matched_idxs": jnp.asarray(np.where(is_object, owners, BACKGROUND)[None]),
    }

    @jax.jit
    def run(params):
        def total(params):
            outputs = model.apply({**variables, "params": params}, image, rois, method=on_regions)
            terms = model.loss(fixed | outputs, targets, jnp.ones(1, bool))
            means = {name: value / weight for name, (value, weight) in terms.items()}
            if kind is np.float64:
                means |= as_rounded(golden, terms, outputs)
            return sum(means.values()), (means, outputs)

        (loss, (means, outputs)), gradients = jax.value_and_grad(total, has_aux=True)(params)
        return {**means, "total": loss}, outputs, gradients

    terms, outputs, gradients = run(variables["params"])
    for name in golden.meta["train"]["losses"]:
        check_loss(golden, name, terms[LOSSES.get(name, name)], kind)
    probabilities = np.asarray(jax.nn.softmax(outputs["roi_class_logits"]))
    check_array(golden, "train/cls_prob", probabilities, kind)
    check_array(golden, "train/bbox_pred", np.asarray(outputs["roi_box_deltas"][:, :, 0]), kind)
    gradients = weights.to_reference(jax.tree.map(np.asarray, gradients), model)
    check_gradients(golden, gradients, kind)


def as_rounded(golden, terms, outputs):
    """Computes the box losses with what the reference rounds to float32, whatever its network has.

    That is the weight of an anchor, and the targets of regions, which are in the file.
    """
    value, count = terms["rpn_box"]
    stored = jnp.asarray(golden["train/roi_targets"])
    positive = jnp.asarray(golden["train/labels"] > 0)[:, None]
    mask = jnp.broadcast_to(positive, stored.shape)
    regions = smooth_l1(outputs["roi_box_deltas"][0, :, 0], stored, mask=mask).sum()
    return {
        "rpn_box": value * (1 / count).astype(jnp.float32),
        "roi_box": regions / len(stored),
    }


def on_regions(model, images, rois):
    """Computes the answers for every anchor and for given regions."""
    levels = (model.backbone(images)["conv4_x"],)
    logits, deltas = model.rpn(levels)
    found = model.score_maps(levels[0], rois, 16, model.num_classes)
    return {
        "rpn_class_logits": logits,
        "rpn_box_deltas": deltas,
        "roi_class_logits": found["class_logits"],
        "roi_box_deltas": found["box_deltas"],
    }


def check_anchor_labels(golden, matched_idxs):
    """Compares which anchors are objects, background and neither: the file goes row by row of a."""
    labels = golden["train/rpn_labels"]
    height, width = labels.shape[2] // 9, labels.shape[3]
    labels = labels.reshape(9, height, width).transpose(1, 2, 0).reshape(1, -1)
    ours = np.select([matched_idxs >= 0, matched_idxs == IGNORED], [1, -1], 0)
    np.testing.assert_array_equal(ours, labels)


@BOTH
@pytest.mark.usefixtures("precision")
@pytest.mark.parametrize("name", cases("rfcn", "head"))
def test_whole_head(name, kind):
    case = Case("rfcn", name, kind)
    bins, rois = case.args["k"], case["rois"]
    maps = models.ScoreMaps(None, len(case["b_reduce"]), bins)
    # Of the released code's eight columns the first four are never read.
    boxes = {"w": case["w_box"][-4 * bins**2 :], "b": case["b_box"][-4 * bins**2 :]}

    def head(x, w_cls):
        params = {
            "reduce": layer(case["w_reduce"], case["b_reduce"]),
            "cls_score": layer(w_cls, case["b_cls"]),
            "bbox_pred": layer(boxes["w"], boxes["b"]),
        }
        image = rois[:, 0].astype(jnp.int32)
        regions = box_ops.move_ends(rois[:, None, 1:], 1)
        maps_of = jnp.moveaxis(x, 1, -1)[image]
        found = maps.apply({"params": params}, maps_of, regions, 16, case.args["classes"] - 1)
        scores, deltas = found["class_logits"][:, 0], found["box_deltas"][:, 0, 0]
        return (
            scores,
            deltas,
            jax.nn.softmax(scores),
            box_ops.decode(deltas, regions[:, 0], (1.0,) * 4),
        )

    @jax.jit
    def run(x, w_cls):
        found, back = jax.vjp(head, x, w_cls)
        zeros = [jnp.zeros_like(value) for value in found[1:]]
        return found, back((case["grad_weight"], *zeros))

    found, gradients = run(case["x"], case["w_cls"])
    names = ("scores", "deltas", "probabilities", "boxes", "grad_x", "grad_w_cls")
    for key, ours in zip(names, (*found, *gradients), strict=True):
        case.check(key, ours)


def layer(weight, bias):
    return {"kernel": weight.transpose(2, 3, 1, 0), "bias": bias}
