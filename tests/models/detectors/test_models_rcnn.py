"""The R-CNNs' parts, each against a slow loop, and their variants by shape."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax import models
from vision_jax.config import UserError
from vision_jax.models import Layers
from vision_jax.models.detectors.rpn import Proposals
from vision_jax.ops import boxes as box_ops
from vision_jax.ops.roi_pool import roi_pool
from vision_jax.structs import Targets

TRUTH = np.float32([[[8, 8, 24, 24], [30, 4, 60, 40]], [[0, 0, 0, 0], [0, 0, 0, 0]]])
TARGETS = Targets(
    boxes=jnp.asarray(TRUTH),
    labels=jnp.array([[0, 2], [-1, -1]]),
    valid=jnp.array([[True, True], [False, False]]),
)
SIZES = jnp.array([[48.0, 64.0], [64.0, 50.0]])
KEYS = jax.random.split(jax.random.key(0), 2)


@pytest.mark.parametrize(
    ("model", "count"),
    [
        # torchvision's count, and the norms' scales and offsets, which it does not count.
        (models.FasterRCNNResNet50FPN(90), 41_755_286 + 53_120),
        (models.MaskRCNNResNet50FPN(90), 44_401_393 + 53_120),
        (models.KeypointRCNNResNet50FPN(1), 59_137_258 + 53_120),
        # 14,714,688 of VGG-16, 2,382,893 of the RPN, 119,545,856 and 430,185 of the head.
        (models.FasterRCNNVGG16(20), 137_073_622),
        (models.FasterRCNNVGG16(20, shared=False), 137_073_622 + 14_714_688),
        (models.FastRCNNVGG16(20), 137_073_622 - 2_382_893),
    ],
)
def test_published_networks_have_as_many_parameters(model, count):
    image, sizes = jnp.zeros((1, 64, 64, 3)), jnp.full((1, 2), 64.0)
    variables = jax.eval_shape(model.init, jax.random.key(0), image, sizes)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count


def test_c4_has_the_parameters_of_its_classifier():
    image, sizes = jnp.zeros((1, 64, 64, 3)), jnp.full((1, 2), 64.0)
    variables = jax.eval_shape(
        models.FasterRCNNResNet50C4(20).init, jax.random.key(0), image, sizes
    )["params"]
    classifier = jax.eval_shape(models.ResNet50().init, jax.random.key(0), image)["params"]
    own = variables["backbone"] | variables["head"]["body"]
    shapes = jax.tree.map(lambda leaf: leaf.shape, (own, classifier["backbone"]))
    assert shapes[0] == shapes[1]


def test_mask_rcnn_c4_has_as_many_parameters_as_its_layers():
    def conv(size, channels, features):
        return size * size * channels * features

    backbone, channels = conv(7, 3, 64) + 2 * 64, 64  # weights, and each norm's scales and offsets
    for blocks, width in zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True):
        for block in range(blocks):
            backbone += conv(1, channels, width) + conv(3, width, width) + conv(1, width, 4 * width)
            backbone += 2 * (width + width + 4 * width)
            if block == 0:
                backbone += conv(1, channels, 4 * width) + 2 * 4 * width
            channels = 4 * width
    rpn = conv(3, 1024, 1024) + 1024 + sum(conv(1, 1024, n) + n for n in (15, 4 * 15))
    head = sum(2048 * n + n for n in (81, 4 * 81))
    mask = conv(2, 2048, 256) + 256 + 256 * 81 + 81
    image, sizes = jnp.zeros((1, 64, 64, 3)), jnp.full((1, 2), 64.0)
    made = jax.eval_shape(models.MaskRCNNResNet50C4().init, jax.random.key(0), image, sizes)
    counts = {
        part: sum(leaf.size for leaf in jax.tree.leaves(tree))
        for part, tree in made["params"].items()
    }
    counts["backbone"] += sum(leaf.size for leaf in jax.tree.leaves(made["params"]["head"]["body"]))
    counts["head"] -= sum(leaf.size for leaf in jax.tree.leaves(made["params"]["head"]["body"]))
    assert counts == {"backbone": backbone, "rpn": rpn, "head": head, "mask": mask}


@pytest.mark.parametrize(
    "model",
    [
        models.MaskRCNNResNet50FPN(3, layers=Layers(norm="frozen", dtype="bfloat16")),
        models.FasterRCNNVGG16(3, layers=Layers(norm="none", dtype="bfloat16")),
    ],
)
def test_half_precision_ends_with_the_maps(model):
    def run(image, sizes, targets, keys):
        outputs, _ = model.init_with_output(jax.random.key(0), image, sizes, targets, keys=keys)
        return outputs, model.loss(outputs, targets, jnp.ones(2, bool))

    masks = TARGETS.replace(masks=jnp.zeros((2, 2, 64, 64), bool))
    outputs, terms = jax.eval_shape(run, jnp.zeros((2, 64, 64, 3)), SIZES, masks, KEYS)
    assert {level.dtype for level in outputs["pyramid"]} == {jnp.bfloat16.dtype}
    names = ("rpn_class_logits", "proposals", "class_logits", "roi_box_deltas", "rois")
    assert {outputs[name].dtype for name in names} == {jnp.float32.dtype}
    assert outputs["detections"].boxes.dtype == jnp.float32
    assert {total.dtype for total, _ in terms.values()} == {jnp.float32.dtype}


@pytest.mark.parametrize("cross_boundary", [True, False])
def test_anchors_are_matched_as_by_a_loop(cross_boundary):
    fields = {"anchor_sizes": ((16.0, 32.0),), "anchor_stride": "level"}
    rpn = models.RPN(**fields, allow_cross_boundary=cross_boundary)
    anchors = jnp.concatenate(rpn.anchors((64, 64), [(8, 8)], [8]))
    ours = np.asarray(rpn.matches(anchors, TARGETS, SIZES))
    for row, (boxes, valid, (height, width)) in enumerate(
        zip(TRUTH, np.asarray(TARGETS.valid), np.asarray(SIZES), strict=True)
    ):
        boxes = boxes[valid]
        usable = [
            cross_boundary or (min(a[:2]) >= 0 and a[2] <= width and a[3] <= height)
            for a in np.asarray(anchors)
        ]
        expected = np.full(len(anchors), -2)
        overlaps = np.asarray(box_ops.pairwise(box_ops.iou, anchors, jnp.asarray(boxes)))
        overlaps = overlaps * np.array(usable)[:, None]
        for i in np.flatnonzero(usable):
            best = overlaps[i].max(initial=0)
            if best < 0.3:
                expected[i] = -1
            forced = any(overlaps[i, j] == overlaps[:, j].max() > 0 for j in range(len(boxes)))
            if best >= 0.7 or forced:
                expected[i] = overlaps[i].argmax()
        np.testing.assert_array_equal(ours[row], expected)
    assert (ours[0] >= 0).any() and (ours[1] < 0).all()
    assert ((ours == -2).sum() > 50) == (not cross_boundary)


def test_original_cell_is_the_papers():
    rpn = models.FasterRCNNVGG16().rpn
    (anchors,) = rpn.anchors((600, 1000), [(37, 62)], [16])
    assert anchors.shape == (37 * 62 * 9, 4)
    np.testing.assert_array_equal(anchors[0], [-84, -40, 99, 55])
    np.testing.assert_array_equal(anchors[9] - anchors[0], [16, 0, 16, 0])


def test_proposals_are_those_of_a_loop():
    rpn = models.RPN(
        anchor_sizes=((8.0,), (16.0,)),
        anchor_ratios=(1.0,),
        pre_nms_top_n=20,
        post_nms_top_n=12,
        min_size=4.0,
    )
    anchors = rpn.anchors((32, 32), [(8, 8), (4, 4)], [4, 8])
    count = sum(len(level) for level in anchors)
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(1, count)).astype(np.float32)
    deltas = rng.normal(size=(1, count, 4)).astype(np.float32) * 0.3
    size = jnp.array([[24.0, 32.0]])
    ours = rpn.propose(jnp.asarray(logits), jnp.asarray(deltas), anchors, size)
    candidates, start = [], 0
    for level, places in enumerate(anchors):
        own = range(start, start + len(places))
        for i in sorted(own, key=lambda i: -logits[0, i])[:20]:
            box = box_ops.decode(jnp.asarray(deltas[0, i]), places[i - start], (1.0,) * 4)
            box = np.asarray(box_ops.clip(box, 24.0, 32.0))
            if min(box[2] - box[0], box[3] - box[1]) >= 4:
                candidates.append((logits[0, i], level, box))
        start += len(places)
    kept = []
    for score, level, box in sorted(candidates, key=lambda c: -c[0]):
        others = [b for _, own, b in kept if own == level]
        if all(float(box_ops.iou(jnp.asarray(box), jnp.asarray(b))) <= 0.7 for b in others):
            kept.append((score, level, box))
    kept = kept[:12]
    assert int(ours.valid.sum()) == len(kept)
    np.testing.assert_allclose(ours.boxes[0][: len(kept)], [b for *_, b in kept], atol=1e-5)
    expected = 1 / (1 + np.exp(-np.array([score for score, *_ in kept])))
    np.testing.assert_allclose(ours.scores[0][: len(kept)], expected, rtol=1e-5)


def test_samples_hold_positives_first_and_as_many_as_asked():
    fields = {"anchor_sizes": ((16.0, 32.0),), "anchor_stride": "level"}
    rpn = models.RPN(**fields, batch_size_per_image=32)
    anchors = jnp.concatenate(rpn.anchors((64, 64), [(8, 8)], [8]))
    matched_idxs = np.asarray(rpn.matches(anchors, TARGETS, SIZES))
    sampled = rpn.sample(anchors, TARGETS, SIZES, KEYS)
    index, sampled_idxs = (np.asarray(sampled[f"rpn_{s}_idxs"]) for s in ("sampled", "matched"))
    positives = (sampled_idxs >= 0).sum(1)
    assert positives.tolist() == [min(int((matched_idxs[0] >= 0).sum()), 16), 0]
    assert (sampled_idxs[0][: positives[0]] >= 0).all()
    assert (sampled_idxs[0][positives[0] :] == -1).all() and (sampled_idxs[1] == -1).all()
    for row in range(2):
        assert len(set(index[row])) == 32
        np.testing.assert_array_equal(matched_idxs[row][index[row]], sampled_idxs[row])
    with pytest.raises(ValueError, match="needs keys"):
        rpn.sample(anchors, TARGETS, SIZES, None)


def test_regions_that_hardly_overlap_do_not_count_in_fast_rcnn():
    near = [[8, 8, 24, 24], [8, 8, 24, 18], [8, 8, 24, 12], [0, 8, 9, 24], [40, 40, 60, 60]]
    boxes = np.float32([near, near])
    valid = jnp.array([[True, True, True, True, False]] * 2)
    proposals = Proposals(jnp.asarray(boxes), jnp.ones((2, 5)), valid)
    head = models.BoxHead(min_negative_iou=0.1, batch_size_per_image=1000)
    sampled = head.sample(proposals, TARGETS, None)
    # Positive, positive by 10 / 16, background, too far away, padding; then the truth itself.
    assert sampled["roi_matched_idxs"].tolist() == [[0, 0, -1, -2, -2, 0, 1], [-2] * 7]
    np.testing.assert_array_equal(sampled["rois"][0, 5:], TRUTH[0])


def test_padding_rows_count_nothing_and_nothing_is_nan():
    head = models.BoxHead(batch_size_per_image=1000, class_specific=False)
    rng = np.random.default_rng(0)
    proposals = Proposals(jnp.asarray(TRUTH), jnp.ones((2, 2)), TARGETS.valid)
    sampled = head.sample(proposals, TARGETS, None)
    count = sampled["rois"].shape[1]
    outputs = sampled | {
        "roi_class_logits": jnp.asarray(rng.normal(size=(2, count, 4)), jnp.float32),
        "roi_box_deltas": jnp.asarray(rng.normal(size=(2, count, 1, 4)), jnp.float32),
    }
    both = head.loss(outputs, TARGETS, jnp.array([True, True]))
    one = head.loss(outputs, TARGETS, jnp.array([True, False]))
    none = head.loss(outputs, TARGETS, jnp.array([False, False]))
    for name in ("roi_class", "roi_box"):
        assert both[name] == one[name] and one[name][1] == 4
        assert none[name] == (0, 0)
    logits = np.asarray(outputs["roi_class_logits"])[0]
    log = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -log[np.arange(4), [1, 3, 1, 3]].sum()
    np.testing.assert_allclose(both["roi_class"][0], expected, rtol=1e-5)


def test_roi_pool_reads_the_level_of_every_region():
    rng = np.random.default_rng(0)
    levels = tuple(jnp.asarray(rng.normal(size=(2, n, n, 3)), jnp.float32) for n in (16, 8))
    pool = models.RegionPool("max", 2, canonical_size=32.0, canonical_level=3)
    boxes = jnp.asarray([[[0, 0, 12, 12], [4, 4, 60, 60]]] * 2, jnp.float32)
    pooled = pool(levels, (4, 8), boxes)
    for place, (level, stride) in enumerate(zip(levels, (4, 8), strict=True)):
        alone = roi_pool(level, boxes[:, place : place + 1], (2, 2), 1 / stride)
        np.testing.assert_array_equal(pooled[:, place : place + 1], alone)


def test_softmax_masks_compete_and_sum_to_one():
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(1, 2, 4, 4, 3)), jnp.float32)
    heads = {kind: models.MaskHead(activation=kind) for kind in ("softmax", "sigmoid")}
    detections = models.BoxHead(max_detections=2).detect(
        {
            "class_logits": jnp.asarray([[[0, 9, 0], [0, 0, 9]]], jnp.float32),
            "box_deltas": jnp.zeros((1, 2, 3, 4)),
        },
        Proposals(jnp.asarray(TRUTH[:1]), jnp.ones((1, 2)), jnp.ones((1, 2), bool)),
        SIZES[:1],
    )
    assert detections.labels.tolist() == [[0, 1]]
    full = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    soft = heads["softmax"].complete(detections, logits, 64).masks
    np.testing.assert_allclose(soft[0], [full[0, 0, ..., 1], full[0, 1, ..., 2]], rtol=1e-5)
    sharp = heads["sigmoid"].complete(detections, logits, 64).masks
    np.testing.assert_allclose(sharp[0, 0], 1 / (1 + np.exp(-logits[0, 0, ..., 1])), rtol=1e-5)
    masks = np.zeros((1, 2, 48, 64), bool)
    masks[0, 0, 8:24, 8:16] = True  # the left half of the first object
    targets = jax.tree.map(lambda leaf: leaf[:1], TARGETS).replace(masks=jnp.asarray(masks))
    matched_idxs = jnp.array([[0, -1]])
    total, weight = heads["softmax"].loss(logits, jnp.asarray(TRUTH[:1]), matched_idxs, targets)
    pixel_targets = np.zeros((4, 4), int)
    pixel_targets[:, :2] = 1
    log = np.log(np.take_along_axis(full[0, 0], pixel_targets[..., None], -1))
    np.testing.assert_allclose(total, -log.mean(), rtol=1e-5)
    assert weight == 1


def _tiny_vgg():
    return models.VGG(kernels=((3,), (3,), (3,), (3,), (3,)), width=4, keep=("conv5_1",))


def test_fast_rcnn_finds_nothing_outside_its_proposals():
    pool = models.RegionPool("max", 3)
    counts = {"batch_size_per_image": 4, "max_detections": 6}
    head = models.BoxHead(pool, hidden=(8,), score_threshold=0.0, **counts)
    model = models.FastRCNN(_tiny_vgg(), 3, models.OneMap("conv5_1"), head)
    image = jax.random.normal(jax.random.key(1), (2, 64, 64, 3))
    variables = models.init(model, jax.random.key(0), image, SIZES)
    proposals = jnp.asarray(np.concatenate([TRUTH, TRUTH + 3], 1))
    valid = jnp.array([[True, False, True, False], [False] * 4])
    targets = TARGETS.replace(proposals=proposals, proposal_valid=valid)
    outputs = jax.jit(model.apply)(variables, image, SIZES, targets, keys=KEYS)
    assert outputs["class_logits"].shape == (2, 4, 4)
    detections = model.detect(outputs, SIZES)
    assert detections.valid.sum(1).tolist()[1] == 0 and detections.valid[0].sum() >= 3
    boxes = detections.boxes[0][detections.valid[0]]
    assert (box_ops.pairwise(box_ops.iou, boxes, proposals[0][:1]) > 0.2).all()
    terms = model.loss(outputs, targets, jnp.array([True, True]))
    assert set(terms) == {"roi_class", "roi_box"}
    assert 2 <= float(terms["roi_class"][1]) <= 4


def test_a_stage_of_the_alternating_schedule_trains_its_own_terms():
    counts = {"batch_size_per_image": 8, "train_post_nms_top_n": 8, "post_nms_top_n": 8}
    rpn = models.RPN(anchor_sizes=((16.0,),), **counts)
    counts = {"batch_size_per_image": 8, "max_detections": 4}
    head = models.BoxHead(models.RegionPool(size=2), hidden=(8,), **counts)
    options = {"pyramid": models.OneMap("conv5_1"), "rpn": rpn, "head": head}
    second = {"rpn_backbone": _tiny_vgg(), "losses": ("roi_class", "roi_box")}
    model = models.FasterRCNN(_tiny_vgg(), 3, **options, **second)
    image = jax.random.normal(jax.random.key(1), (2, 64, 64, 3))
    variables = models.init(model, jax.random.key(0), image, SIZES)
    assert set(variables["params"]) == {"backbone", "rpn_backbone", "rpn", "head"}

    @jax.jit
    def gradients(params):
        outputs = model.apply({"params": params}, image, SIZES, TARGETS, keys=KEYS, train=True)
        terms = model.loss(outputs, TARGETS, jnp.array([True, True]))
        return sum(total / jnp.maximum(weight, 1) for total, weight in terms.values())

    slopes = jax.grad(gradients)(variables["params"])
    moved = {name for name, tree in slopes.items() if any(map(jnp.any, jax.tree.leaves(tree)))}
    assert moved == {"backbone", "head"}
    wrong = models.FasterRCNN(_tiny_vgg(), 3, **options, losses=("roi_clas",))
    with pytest.raises(UserError, match="did you mean roi_class"):
        wrong.loss({}, TARGETS, jnp.array([True, True]))
