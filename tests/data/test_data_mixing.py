"""Mosaic, mixup, batch shapes and colour: against painted pictures, slow loops and replays."""

import colorsys
import contextlib

import jax
import numpy as np
import painted
import pytest

from vision_jax.config import UserError
from vision_jax.data import Train, loading, transforms
from vision_jax.data import transforms_mixing as mixing
from vision_jax.data import transforms_objects as objects
from vision_jax.data.transforms_color import HsvJitter, PhotometricDistortion


def generator(seed=0):
    return np.random.Generator(np.random.PCG64(seed))


PICTURES = painted.Pictures()
NO_SEMANTICS = painted.Pictures(left_out=("segmentation",))


def load(transforms, i=0, seed=0, step=0, source=PICTURES, **options):
    return loading.Loader(source, transforms, **options)(i, generator(seed), step)


@pytest.mark.parametrize("seed", range(25))
def test_mosaic_fits_the_pixels(seed):
    mosaic = mixing.Mosaic(64, min_visibility=0.0, min_size=0.0, fill=(30, 30, 30))
    got = load((mosaic,), seed % 12, seed)
    assert got["image"].shape == (64, 64, 3) and got["image"].dtype == np.uint8
    # Its pictures are 24 to 59 pixels wide, and 32 to 64 in the mosaic.
    painted.check(got, edge=2.0)
    assert got["size"].tolist() == [64, 64] and got["scale"].tolist() == [1, 1]


def test_mosaic_shows_four_pictures_at_their_places():
    """Whole pictures in one colour each: the mosaic is four rectangles around its point."""

    class Flat(painted.Pictures):
        def __getitem__(self, i):
            return painted.paint(40, 40, [(i % 4, 0, 0, 40, 40)])

    mosaic = mixing.Mosaic(60, centre=(0.4, 0.6), side=(1.0, 1.0), min_visibility=0.0, min_size=0.0)
    seen = set()
    for seed in range(20):
        got = loading.Loader(Flat(), (mosaic,))(seed % 12, generator(seed))
        assert len(got["boxes"]) == 4
        # The first example is at the top left; all four boxes meet in one point.
        assert got["labels"][0] == seed % 4
        x, y = got["boxes"][0, 2:]
        want = [[0, 0, x, y], [x, 0, 60, y], [0, y, x, 60], [x, y, 60, 60]]
        assert got["boxes"].tolist() == want and 24 <= min(x, y) <= max(x, y) <= 36
        seen |= {(float(x), float(y))}
        for (x0, y0, x1, y1), label in zip(got["boxes"].astype(int), got["labels"], strict=True):
            assert (got["image"][y0:y1, x0:x1] == painted.COLORS[label]).all()
        assert not (got["segmentation"] == 255).any()
    assert len(seen) > 10


def test_mosaic_drops_slivers_and_may_stay_away():
    whole = [
        load((mixing.Mosaic(64, min_visibility=0.0, min_size=0.0),), seed=s) for s in range(20)
    ]
    some = [load((mixing.Mosaic(64, min_visibility=0.5, min_size=4.0),), seed=s) for s in range(20)]
    counts = [sum(len(e["boxes"]) for e in examples) for examples in (whole, some)]
    assert counts[1] < counts[0]
    sides = np.concatenate([e["boxes"][:, 2:] - e["boxes"][:, :2] for e in some])
    assert sides.min() > 4
    untouched = load((mixing.Mosaic(64, probability=0.0),))
    np.testing.assert_array_equal(untouched["image"], painted.Pictures()[0]["image"])


def test_what_is_mixed_went_through_the_transforms_before():
    flipped = (transforms.RandomFlip(1.0, painted.MIRROR), mixing.BoxMixUp(probability=1.0))
    got = load(flipped, 3, seed=5, source=NO_SEMANTICS)
    rng = generator(5)
    rng.random(), rng.random()  # the flip's own draw, and whether to mix
    weight, other = rng.beta(1.5, 1.5), int(rng.integers(12))
    a, b = (transforms.RandomFlip(1.0, painted.MIRROR)(NO_SEMANTICS[i], rng) for i in (3, other))
    height, width = np.maximum(a["image"].shape, b["image"].shape)[:2]
    for y in range(0, height, 3):
        for x in range(0, width, 3):
            want = np.zeros(3)
            for each, share in ((a, weight), (b, 1 - weight)):
                if y < each["image"].shape[0] and x < each["image"].shape[1]:
                    want += share * each["image"][y, x]
            np.testing.assert_allclose(got["image"][y, x], want, atol=0.51)
    np.testing.assert_array_equal(got["boxes"], np.concatenate([a["boxes"], b["boxes"]]))
    np.testing.assert_array_equal(got["labels"], np.concatenate([a["labels"], b["labels"]]))
    assert got["masks"].shape == (len(got["boxes"]), height, width)


def test_mixup_of_semantic_labels_is_refused():
    with pytest.raises(UserError, match=r"picture_0.png.*: BoxMixUp: semantic labels cannot"):
        load((mixing.BoxMixUp(),))


def test_mixup_ends_before_the_training():
    """Batches before the end are as with mixup, those after as without; all have one shape."""
    mixup, shape = mixing.BoxMixUp(probability=1.0), objects.StretchTo(32)

    def batches(first, start=0, steps=None):
        pipeline = Train(NO_SEMANTICS, (*first, shape), batch_size=4, threads=1)
        with contextlib.closing(pipeline.batches(start, 3, steps=steps)) as found:
            return [next(found) for _ in range(start, 10)]

    def forms(batch):
        return [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(batch)]

    ending = (mixing.Until(mixup, 0.7),)
    mixed, plain, ended = batches((mixup,)), batches(()), batches(ending, steps=10)
    for step, batch in enumerate(ended):
        wanted = mixed if step < 7 else plain
        jax.tree.map(np.testing.assert_array_equal, batch, wanted[step])
        assert not np.array_equal(mixed[step].image, plain[step].image)
        # What a compiled step is made for.
        assert forms(batch) == forms(ended[0])
    resumed = batches(ending, start=5, steps=10)
    jax.tree.map(np.testing.assert_array_equal, resumed, ended[5:])
    unknown = batches(ending)
    jax.tree.map(np.testing.assert_array_equal, unknown, mixed)
    with pytest.raises(UserError, match=r"share=1\.5 is not within"):
        mixing.Until(mixup, 1.5)


def test_mixtures_repeat_and_nest():
    """A mosaic of mosaics, blended with another: the same from the same seed, others otherwise."""
    chain = (mixing.Mosaic(48), mixing.Mosaic(40), mixing.BoxMixUp(probability=1.0))
    a, b, c = (load(chain, 2, seed, source=NO_SEMANTICS) for seed in (1, 1, 2))
    for key in ("image", "boxes", "labels", "masks", "keypoints"):
        np.testing.assert_array_equal(a[key], b[key])
    assert not np.array_equal(a["image"], c["image"])


def test_shape_is_a_function_of_seed_and_step():
    sizes = (32, 48, 64)
    choose = mixing.PerBatch(tuple(objects.Letterbox(size) for size in sizes), every=5)

    def shapes(data_seed):
        found = []
        for step in range(60):
            rows = {
                load((choose,), i, i, step, data_seed=data_seed)["image"].shape for i in range(3)
            }
            (shape,) = rows  # one for the whole batch
            found.append(shape[0])
        return found

    first = shapes(0)
    assert first == shapes(0) != shapes(1)
    assert set(first) == set(sizes)
    for start in range(0, 60, 5):
        assert len(set(first[start : start + 5])) == 1


def test_a_choice_may_itself_need_context():
    choose = mixing.PerBatch((mixing.Mosaic(32), mixing.Mosaic(40)), every=1)
    shapes = {load((choose,), step=step)["image"].shape[0] for step in range(20)}
    assert shapes == {32, 40}


def one(values):
    """A 1 × n image of the given colours."""
    return {"image": np.asarray([values], np.uint8), "boxes": np.ones((1, 4), np.float32)}


COLORS = [(10, 200, 90), (255, 0, 0), (128, 128, 128), (250, 240, 3), (0, 0, 0)]


@pytest.mark.parametrize("effect", ["brightness", "contrast", "saturation", "hue"])
def test_each_distortion_against_its_definition(effect):
    still = {"brightness": 0.0, "contrast": (1.0, 1.0), "saturation": (1.0, 1.0), "hue": 0.0}
    strong = {"brightness": 60.0, "contrast": (0.4, 0.4), "saturation": (0.3, 0.3), "hue": 90.0}
    jitter = PhotometricDistortion(**{**still, effect: strong[effect]}, probability=1.0)
    got = jitter(one(COLORS), generator(4))["image"][0]
    rng = generator(4)
    rng.random(4)
    shift = rng.uniform(-jitter.brightness, jitter.brightness)
    rng.uniform(0, 1, 2)
    turn = rng.uniform(-jitter.hue, jitter.hue)
    for pixel, color in zip(got, COLORS, strict=True):
        if effect == "brightness":
            want = np.add(color, shift)
        elif effect == "contrast":
            want = np.multiply(color, 0.4)
        else:
            h, s, v = colorsys.rgb_to_hsv(*np.divide(color, 255))
            h, s = ((h + turn / 360) % 1, s) if effect == "hue" else (h, 0.3 * s)
            want = np.multiply(colorsys.hsv_to_rgb(h, s, v), 255)
        np.testing.assert_allclose(pixel, np.clip(want, 0, 255), atol=1.01)


@pytest.mark.parametrize("seed", range(8))
def test_hsv_jitter_against_its_definition(seed):
    got = HsvJitter()(one(COLORS), generator(seed))["image"][0]
    rng = generator(seed)
    turn, factors, coins = rng.uniform(-36, 36), rng.uniform(1, 1.5, 2), rng.random(2) < 0.5
    saturation, value = np.where(coins, factors, 1 / factors)
    for pixel, color in zip(got, COLORS, strict=True):
        h, s, v = colorsys.rgb_to_hsv(*np.divide(color, 255))
        want = colorsys.hsv_to_rgb((h + turn / 360) % 1, s * saturation, v * value)
        np.testing.assert_allclose(pixel, np.clip(np.multiply(want, 255), 0, 255), atol=1.01)


def test_distortions_happen_as_often_as_they_should():
    jitter, rng = PhotometricDistortion(probability=0.3, shuffle=0.5), generator()
    example = one(COLORS)
    before = example["image"].copy()
    changed = [jitter(example, rng) for _ in range(300)]
    np.testing.assert_array_equal(example["image"], before)
    same = sum(np.array_equal(each["image"], before) for each in changed)
    # None of four happens in 0.7⁴ = 24 %; no new order in 1/2 + 1/2 · 1/6 = 58 %: 14 % of both.
    assert 0.08 * 300 <= same <= 0.21 * 300
    assert all(each["boxes"] is example["boxes"] for each in changed)
    never = PhotometricDistortion(probability=0.0)
    np.testing.assert_array_equal(never(example, rng)["image"], before)
