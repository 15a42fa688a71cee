"""Batches with objects: padding, what is cut and dropped, and degenerate ground truth."""

import contextlib
import dataclasses

import jax
import numpy as np
import painted
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_data_pipeline import take

from vision_jax.config import UserError, build, node, override
from vision_jax.data import Eval, RandomFlip, RecordError, Train, loading, run_lengths
from vision_jax.data.transforms_color import PhotometricDistortion
from vision_jax.data.transforms_mixing import Mosaic, PerBatch
from vision_jax.data.transforms_objects import EdgeJitter, Expand, IoUCrop, Letterbox, StretchTo

FIELDS = ("image", "valid", "index", "id", "size", "scale")
OBJECTS = ("boxes", "labels", "valid", "masks", "keypoints", "segmentation")


def same(a, b):
    for x, y in zip(a, b, strict=True):
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(x, name), getattr(y, name))
        for name in OBJECTS:
            np.testing.assert_array_equal(getattr(x.targets, name), getattr(y.targets, name))


def train(*transforms, source=None, **options):
    source = painted.Pictures() if source is None else source
    return Train(source, transforms or (Letterbox(64),), batch_size=4, threads=1, **options)


@dataclasses.dataclass(frozen=True)
class Annotated(painted.Pictures):
    """Pictures with other boxes in some of them, and with VOC's and COCO's extra fields."""

    boxes: tuple = ()  # (number, box)

    def __getitem__(self, i):
        example = super().__getitem__(i)
        count = len(example["boxes"])
        example["area"] = np.arange(count, dtype=np.float32) + 0.5
        example["crowd"] = np.arange(count) % 2 == 0
        example["difficult"] = np.arange(count) % 2 == 1
        for number, box in self.boxes:
            if number == i:
                example["boxes"] = example["boxes"].copy()
                example["boxes"][0] = box
        return example


def test_objects_are_padded():
    source = Annotated(empty=(2,))
    (batch, *_) = Eval(source, (Letterbox(64),), batch_size=5, max_boxes=7).batches()
    targets = batch.targets
    for row in range(5):
        example = Letterbox(64)(source[row], np.random.default_rng(0))
        count = len(example["boxes"])
        assert targets.valid[row].tolist() == [k < count for k in range(7)]
        for name in ("boxes", "labels", "area", "crowd", "difficult", "masks", "keypoints"):
            values = getattr(targets, name)[row]
            np.testing.assert_array_equal(values[:count], example[name], err_msg=name)
            assert (values[count:] == (-1 if name == "labels" else 0)).all()
        np.testing.assert_array_equal(targets.segmentation[row], example["segmentation"])
        height, width = source[row]["image"].shape[:2]
        assert batch.size[row].tolist() == [height, width]
        inside = batch.scale[row] * batch.size[row]
        assert abs(inside.max() - 64) < 1e-3
    assert not targets.valid[2].any()  # an image without objects is kept
    assert targets.label is None
    want = {
        "boxes": ((5, 7, 4), np.float32),
        "labels": ((5, 7), np.int32),
        "valid": ((5, 7), bool),
        "difficult": ((5, 7), bool),
        "crowd": ((5, 7), bool),
        "area": ((5, 7), np.float32),
        "masks": ((5, 7, 64, 64), bool),
        "keypoints": ((5, 7, 2, 3), np.float32),
        "segmentation": ((5, 64, 64), np.int32),
    }
    for name, (shape, dtype) in want.items():
        value = getattr(targets, name)
        assert (value.shape, value.dtype) == (shape, dtype), name


def test_rows_of_padding_hold_nothing():
    batches = list(Eval(painted.Pictures(6), (StretchTo(20),), batch_size=4).batches())
    last = batches[1]
    assert last.valid.tolist() == [True, True, False, False]
    assert not last.targets.valid[2:].any() and (last.targets.labels[2:] == -1).all()
    assert (last.targets.segmentation[2:] == 255).all() and not last.size[2:].any()


def test_element_has_the_shapes_of_a_batch():
    pipeline = train(max_boxes=9)
    (batch,) = take(pipeline.batches(0, 0), 1)
    element = pipeline.element()
    for name in FIELDS:
        want, got = getattr(batch, name), getattr(element, name)
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
    for name in OBJECTS:
        want, got = getattr(batch.targets, name), getattr(element.targets, name)
        assert (got.shape, got.dtype) == (want.shape, want.dtype)


def test_what_exceeds_max_boxes_is_counted_and_said_once(caplog):
    pipeline = train(max_boxes=2)
    counts = [len(painted.Pictures()[i]["boxes"]) for i in range(12)]
    assert max(counts) > 2
    batches = pipeline.batches(0, 0)
    with caplog.at_level("WARNING"), contextlib.closing(batches):
        found = [next(batches) for _ in range(6)]  # two epochs
    assert batches.cut == 2 * sum(max(0, n - 2) for n in counts) > 0
    assert caplog.text.count("max_boxes=2") == 1
    assert all(batch.targets.boxes.shape == (4, 2, 4) for batch in found)


BAD = [
    (float("nan"), 0, 10, 10),
    (5, 5, 5, 10),
    (9, 5, 3, 10),
    (0, 0, float("inf"), 10),
    (-20, -20, 0, 0),
    (900, 0, 910, 10),
]


@pytest.mark.parametrize("box", BAD, ids=str)
def test_degenerate_truth_names_its_image(box):
    pipeline = train(source=Annotated(boxes=((7, box),)))
    with pytest.raises(RecordError, match=r"record 7 \(picture_7.png\): object 0 has the box \("):
        take(pipeline.batches(0, 0), 3)
    try:
        take(pipeline.batches(0, 0), 3)
    except UserError as error:
        assert "\n" not in str(error) and "degenerate='drop'" in str(error)


@pytest.mark.parametrize("box", BAD, ids=str)
def test_degenerate_truth_may_be_dropped_and_counted(box, caplog):
    source = Annotated(boxes=((7, box), (3, box)))
    with caplog.at_level("WARNING"):
        batches = Eval(source, (StretchTo(24),), batch_size=4, degenerate="drop").batches()
        found = list(batches)
    assert batches.dropped == 2 and caplog.text.count("degenerate") == 1
    assert batches.skipped == 0
    (row,) = (b for b in found if 7 in b.id)
    at = row.id.tolist().index(7)
    good = painted.Pictures()[7]
    assert row.targets.valid[at].sum() == len(good["boxes"]) - 1
    np.testing.assert_array_equal(row.targets.labels[at][row.targets.valid[at]], good["labels"][1:])
    assert np.isfinite(row.targets.boxes).all()


sides = st.sampled_from([0.0, 5.0, 12.0, 20.0, 21.0, -3.0, np.nan, np.inf, -np.inf])


@given(st.lists(st.tuples(sides, sides, sides, sides), max_size=6))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_what_is_degenerate(boxes):
    """On 20 pixels: against the pixels themselves, none of which a degenerate box touches."""
    table = np.asarray(boxes, np.float32).reshape(-1, 4)
    want = []
    for x0, y0, x1, y1 in boxes:
        touched = any(
            min(x1, x + 1) > max(x0, x) and min(y1, y + 1) > max(y0, y)
            for y in range(20)
            for x in range(20)
        )
        want.append(not (touched and all(map(np.isfinite, (x0, y0, x1, y1)))))
    assert loading.degenerate_boxes(table, 20, 20).tolist() == want


def test_or_the_whole_image_is_skipped():
    source = Annotated(boxes=((7, BAD[0]),))
    batches = Eval(source, (StretchTo(24),), batch_size=4, on_error="skip").batches()
    valid = np.concatenate([batch.valid for batch in batches])
    assert batches.skipped == 1 and np.flatnonzero(~valid).tolist() == [7]


SSD = (PhotometricDistortion(), Expand(), IoUCrop(), StretchTo(48), RandomFlip(0.5, painted.MIRROR))
SHAPES = PerBatch((Letterbox(32), Letterbox(48)), every=2)


@pytest.mark.parametrize(
    "transforms", [SSD, (Mosaic(48),), (SHAPES,)], ids=["ssd", "mosaic", "shapes"]
)
def test_same_batches_whatever_reads_them(transforms):
    """Seeking, threads and processes change nothing, mixtures and batch shapes included."""
    pipeline = train(*transforms)
    whole = take(pipeline.batches(0, 9), 6)
    same(take(dataclasses.replace(pipeline, threads=3).batches(2, 9), 4), whole[2:])
    halves = [take(pipeline.batches(0, 9, p, 2), 6) for p in (0, 1)]
    for batch, first, second in zip(whole, *halves, strict=True):
        np.testing.assert_array_equal(batch.image, np.concatenate([first.image, second.image]))
        boxes = np.concatenate([first.targets.boxes, second.targets.boxes])
        np.testing.assert_array_equal(batch.targets.boxes, boxes)
    other = take(pipeline.batches(0, 8), 6)
    assert any(
        a.image.shape != b.image.shape or (a.image != b.image).any()
        for a, b in zip(whole, other, strict=True)
    )


@pytest.mark.parametrize("seed", range(30))
def test_ssd_chain_fits_the_pixels(seed):
    chain = SSD[1:]  # colours are compared
    source = painted.Pictures()
    rng = np.random.Generator(np.random.PCG64(seed))
    got = loading.Loader(source, chain)(seed % 12, rng)
    # A crop of ten pixels becomes 48: interpolation reaches three pixels around an edge.
    painted.check(got, edge=3.0, labels=())


@pytest.mark.parametrize("seed", range(20))
def test_edges_move_and_repeat_their_pixels(seed):
    picture = painted.Pictures()[seed % 12]
    height, width = picture["image"].shape[:2]
    got = EdgeJitter(0.3)(picture, np.random.default_rng(seed))
    h, w = got["image"].shape[:2]
    draws = np.random.default_rng(seed)
    (top, bottom), (left, right) = (
        draws.integers(-int(0.3 * side), int(0.3 * side) + 1, 2) for side in (height, width)
    )
    assert (h, w) == (height + bottom - top, width + right - left)
    for y in range(h):
        for x in range(w):
            near = np.clip((y + top, x + left), 0, (height - 1, width - 1))
            assert (got["image"][y, x] == picture["image"][tuple(near)]).all()
    kept = []
    for box, label in zip(picture["boxes"], picture["labels"], strict=True):
        x0, x1 = np.clip(box[[0, 2]] - left, 0, w)
        y0, y1 = np.clip(box[[1, 3]] - top, 0, h)
        if x1 - x0 > 0.005 * w and y1 - y0 > 0.005 * h:
            kept.append((x0, y0, x1, y1, label))
    found = np.concatenate([got["boxes"], got["labels"][:, None]], 1)
    np.testing.assert_array_equal(found, np.float32(kept).reshape(-1, 5))
    assert len(got["masks"]) == len(kept) and got["masks"].shape[1:] == (h, w)
    with pytest.raises(UserError, match=r"jitter=0\.5"):
        EdgeJitter(0.5)


def test_each_shape_is_compiled_once():
    traced = []

    @jax.jit
    def step(batch):
        traced.append(batch.image.shape)
        return batch.targets.boxes.sum()

    batches = train(*(SHAPES,)).batches(0, 0)
    with contextlib.closing(batches):
        found = [next(batches) for _ in range(16)]
    for batch in found:
        step(batch)
    assert {batch.image.shape[1] for batch in found} == {32, 48}
    assert sorted(shape[1] for shape in traced) == [32, 48]


def test_dropped_objects_count_in_mixtures_too():
    source = Annotated(boxes=tuple((i, BAD[0]) for i in range(12)))
    batches = train(Mosaic(32), source=source, degenerate="drop").batches(0, 0)
    with contextlib.closing(batches):
        next(batches)
    assert batches.dropped == 16  # four of each of four mosaics


def test_an_image_alone_keeps_its_scale():
    example = loading.unannotated(np.zeros((20, 40, 3), np.uint8))
    got = Letterbox(60)(example, np.random.default_rng(0))
    assert got["scale"].tolist() == [1.5, 1.5] and got["size"].tolist() == [20, 40]


@pytest.mark.parametrize(
    ("shape", "inside"),
    [((20, 40), (30, 60)), ((40, 20), (48, 24)), ((48, 80), (38, 64)), ((1, 500), (1, 64))],
)
def test_a_letterbox_that_is_no_square(shape, inside):
    example = loading.unannotated(np.full((*shape, 3), 9, np.uint8))
    box = np.array([[0, 0, shape[1], shape[0]]], np.float32)
    example |= {"boxes": box, "labels": np.zeros(1, np.int32)}
    height, width = (30, 60) if shape == (20, 40) else (48, 64)
    got = Letterbox(height, width=width)(example, np.random.default_rng(0))
    assert got["image"].shape == (height, width, 3)
    assert (got["image"][: inside[0], : inside[1]] == 9).all()
    assert (got["image"][inside[0] :] == 128).all() and (got["image"][:, inside[1] :] == 128).all()
    np.testing.assert_allclose(got["boxes"], [[0, 0, inside[1], inside[0]]], rtol=1e-6)
    np.testing.assert_allclose(got["scale"], np.divide(inside, shape), rtol=1e-6)


def test_worker_processes_change_nothing():
    pipeline = train(Mosaic(32))
    want = take(pipeline.batches(1, 3), 2)
    same(take(dataclasses.replace(pipeline, workers=1).batches(1, 3), 2), want)


def test_run_lengths_become_masks():
    class Coded(painted.Pictures):
        def __getitem__(self, i):
            from pycocotools import mask as coco_mask

            example = super().__getitem__(i)
            masks = np.asfortranarray(example.pop("masks").transpose(1, 2, 0))
            example["rle"] = [rle["counts"] for rle in coco_mask.encode(masks)]
            return example

    same(take(train(source=Coded()).batches(0, 0), 3), take(train().batches(0, 0), 3))
    empty = Coded(empty=(0,))
    (batch, *_) = Eval(empty, (Letterbox(32),), batch_size=2).batches()
    assert not batch.targets.masks[0].any() and batch.targets.masks[1].any()
    assert run_lengths.decode([], 4, 5).shape == (0, 4, 5)


def test_a_mask_of_another_size_is_named():
    class Wrong(painted.Pictures):
        def __getitem__(self, i):
            return {**super().__getitem__(i), "segmentation": np.zeros((3, 4), np.uint8)}

    with pytest.raises(RecordError, match=r"picture_\d+.png.*semantic mask is \(3, 4\)"):
        take(train(source=Wrong()).batches(0, 0), 1)


def test_examples_with_other_fields_are_refused():
    class Mixed(painted.Pictures):
        def __getitem__(self, i):
            example = super().__getitem__(i)
            return example if i % 2 else {k: v for k, v in example.items() if k != "keypoints"}

    with pytest.raises(UserError, match=r"an example has image, .*another of its batch"):
        take(train(source=Mixed()).batches(0, 0), 3)


def test_mistakes_are_user_errors():
    with pytest.raises(UserError, match="degenerate='dorp' - did you mean drop"):
        train(degenerate="dorp")
    with pytest.raises(UserError, match="max_boxes=0"):
        train(max_boxes=0)


def test_transforms_are_parts_of_a_config():
    tree = node(
        Train,
        source=node(painted.Pictures),
        transforms=(
            node(SHAPES.__class__, choices=(node(Letterbox, size=32), node(Letterbox, size=48))),
            node(RandomFlip),
        ),
    )
    override(tree, "transforms[0].choices[1].size", "40")
    assert build(tree).transforms[0].choices[1] == Letterbox(40)
