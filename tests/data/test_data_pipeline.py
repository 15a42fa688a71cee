"""Which examples make up which batch, whatever the threads, workers and processes."""

import dataclasses
import subprocess
import sys
import textwrap

import cv2
import numpy as np
import pytest

from vision_jax.config import UserError
from vision_jax.data import (
    BaseSource,
    Digits,
    Eval,
    RandomResizedCrop,
    RecordError,
    Resize,
    Train,
    Transform,
)
from vision_jax.data.stream import order


@dataclasses.dataclass(frozen=True)
class Pictures(BaseSource):
    """PNGs whose pixels tell their number; those in `bad` are cut short."""

    count: int = 23
    bad: tuple = ()
    odd_size: int = -1

    classes = ("even", "odd")

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        pixels = np.full((6, 8 if i == self.odd_size else 7, 3), i, np.uint8)
        data = cv2.imencode(".png", pixels)[1].tobytes()
        return {"image": data[:40] if i in self.bad else data, "label": i % 2}

    def describe(self, i):
        return f"pictures train record {i} (picture_{i}.png)"


@dataclasses.dataclass(frozen=True)
class Stamp(Transform):
    """Writes a random number into the image, to see which generator it was given."""

    def __call__(self, example, rng):
        image = example["image"].copy()
        image[0, 0] = rng.integers(256, size=3)
        return {**example, "image": image}


def take(batches, count):
    try:
        return [next(batches) for _ in range(count)]
    finally:
        batches.close()


def same(a, b):
    for x, y in zip(a, b, strict=True):
        for name in ("image", "valid", "index", "id"):
            np.testing.assert_array_equal(getattr(x, name), getattr(y, name))
        np.testing.assert_array_equal(x.targets.label, y.targets.label)


def joined(shares):
    """The global batches from every process's."""
    return [
        dataclasses.replace(
            parts[0],
            **{
                name: np.concatenate([getattr(part, name) for part in parts])
                for name in ("image", "valid", "index", "id")
            },
            targets=parts[0].targets.replace(
                label=np.concatenate([part.targets.label for part in parts])
            ),
        )
        for parts in zip(*shares, strict=True)
    ]


def train(**kwargs):
    return Train(**{"source": Pictures(), "transforms": (Stamp(),), "batch_size": 8} | kwargs)


def test_order_is_a_permutation_of_its_own_per_epoch():
    first, second = order(3, 0, 50), order(3, 1, 50)
    assert sorted(first) == sorted(second) == list(range(50))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, order(4, 0, 50))
    # Written down so that no later version may shuffle differently and break a resumed run.
    assert order(0, 0, 10).tolist() == [3, 2, 1, 8, 6, 0, 7, 4, 5, 9]


def test_batches_follow_the_order_and_its_generators():
    batches = take(train().batches(0, data_seed=5), 7)
    position = 0
    for batch in batches:
        assert batch.image.dtype == np.uint8 and batch.image.shape == (8, 6, 7, 3)
        assert batch.index.dtype == batch.id.dtype == batch.targets.label.dtype == np.int32
        for row in range(8):
            epoch, place = divmod(position, 23)
            record = order(5, epoch, 23)[place]
            stamp = np.random.Generator(np.random.PCG64([5, 1, position])).integers(256, size=3)
            assert batch.id[row] == record and batch.targets.label[row] == record % 2
            assert (batch.image[row, 1:] == record).all()
            np.testing.assert_array_equal(batch.image[row, 0, 0], stamp)
            assert batch.valid[row] and batch.index[row] == row
            position += 1


def test_every_epoch_sees_everything_once():
    ids = np.concatenate([b.id for b in take(train(batch_size=23).batches(0, 0), 3)])
    assert all(sorted(ids[e : e + 23]) == list(range(23)) for e in (0, 23, 46))


@pytest.mark.parametrize("threads", [0, 1, 5])
def test_threads_change_nothing(threads):
    same(take(train(threads=threads).batches(0, 1), 6), take(train(threads=2).batches(0, 1), 6))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(workers):
    pipeline = train(threads=1, workers=workers, transforms=(Resize(size=5),))
    want = take(dataclasses.replace(pipeline, workers=0).batches(3, 1), 5)
    same(take(pipeline.batches(3, 1), 5), want)


def test_seek_is_exact():
    whole = take(train().batches(0, 2), 9)
    same(take(train().batches(4, 2), 5), whole[4:])


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("fast", [False, True])
def test_processes_share_the_same_global_batches(count, fast):
    pipeline = train(source=Digits("train[:23]"), transforms=()) if fast else train()
    whole = take(pipeline.batches(1, 7), 5)
    shares = [take(pipeline.batches(1, 7, p, count), 5) for p in range(count)]
    assert all(batch.count == 8 // count for share in shares for batch in share)
    same(joined(shares), whole)


def test_memory_and_record_paths_agree():
    """The same source gathered from memory, and read record by record."""
    source = Digits("train[:30]", size=9)
    for make in (
        lambda t: Train(source, t, batch_size=8).batches(0, 3),
        lambda t: Eval(source, t, batch_size=8).batches(),
    ):
        same(take(make(()), 4), take(make((Resize(size=9),)), 4))


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("fast", [False, True])
def test_evaluation_sees_everything_once_and_pads(count, fast):
    source, transforms = (Digits("train[:17]"), ()) if fast else (Pictures(17), (Stamp(),))
    pipeline = Eval(source, transforms, batch_size=8)
    assert pipeline.steps == 3 and pipeline.num_examples == 17
    shares = [list(pipeline.batches(p, count)) for p in range(count)]
    assert [len(share) for share in shares] == [3] * count
    batches = joined(shares)
    ids, valid = (np.concatenate([getattr(b, n) for b in batches]) for n in ("id", "valid"))
    assert ids[valid].tolist() == list(range(17)) and (ids[~valid] == -1).all()
    assert not batches[2].image[1:].any() and (batches[2].targets.label[1:] == -1).all()
    assert [b.index.tolist() for b in batches] == [list(range(8))] * 3
    same(batches, list(pipeline.batches()))


def test_element_has_the_shapes_of_a_batch():
    for pipeline in (
        train(),
        train(source=Digits("train"), transforms=()),
        Eval(Pictures(), (Stamp(),), batch_size=8),
    ):
        element = pipeline.element()
        with_batches = pipeline.batches(0, 0) if isinstance(pipeline, Train) else pipeline.batches()
        (batch,) = take(with_batches, 1)
        for name in ("image", "valid", "index", "id"):
            want, got = getattr(batch, name), getattr(element, name)
            assert (got.shape, got.dtype) == (want.shape, want.dtype)
        assert element.targets.label.dtype == batch.targets.label.dtype


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_record_is_named(workers):
    pipeline = train(source=Pictures(bad=(9,)), threads=1, workers=workers)
    with pytest.raises(RecordError, match=r"pictures train record 9 \(picture_9.png\): .*PNG"):
        take(pipeline.batches(0, 0), 3)


def test_a_bad_record_is_skipped_and_counted_in_training():
    pipeline = train(source=Pictures(bad=(9, 4)), on_error="skip", max_skipped=0.5)
    good = take(train().batches(0, 0), 12)
    batches = pipeline.batches(0, 0)
    found, position = [], 0
    for want in good:
        batch = next(batches)
        found.append(batch)
        for row in range(8):
            record, ahead = want.id[row], position
            while record in (9, 4):
                ahead += 1
                record = order(0, ahead // 23, 23)[ahead % 23]
            assert batch.id[row] == record and (batch.image[row, 1:] == record).all()
            assert batch.targets.label[row] == record % 2 and batch.valid[row]
            # The draws stay those of the position.
            np.testing.assert_array_equal(batch.image[row, 0, 0], want.image[row, 0, 0])
            position += 1
    assert batches.skipped >= sum(int(np.isin(b.id, (9, 4)).sum()) for b in good) > 0
    batches.close()
    # Two processes substitute alike.
    same(joined([take(pipeline.batches(0, 0, p, 2), 12) for p in (0, 1)]), found)


def test_a_bad_record_is_masked_and_counted_in_evaluation():
    batches = Eval(Pictures(17, bad=(0, 9)), (), batch_size=8, on_error="skip").batches()
    found = list(batches)
    assert batches.skipped == 2
    valid = np.concatenate([b.valid for b in found])
    assert np.flatnonzero(~valid[:17]).tolist() == [0, 9] and not valid[17:].any()
    assert not found[1].image[1].any() and found[1].targets.label[1] == -1 and found[1].id[1] == 9


def test_skipped_records_are_logged_by_name(caplog):
    with caplog.at_level("WARNING"):
        list(Eval(Pictures(bad=(9,)), (), batch_size=8, on_error="skip", threads=0).batches())
    assert "skipped: pictures train record 9 (picture_9.png)" in caplog.text


def test_too_many_bad_records_stop_the_run():
    pipeline = train(source=Pictures(bad=tuple(range(0, 23, 2))), on_error="skip", threads=0)
    with pytest.raises(UserError, match=r"records cannot be read, more than max_skipped=0.01"):
        take(pipeline.batches(0, 0), 10)
    nothing = train(source=Pictures(bad=tuple(range(23))), on_error="skip", threads=0)
    with pytest.raises(UserError, match="16 records in a row cannot be read"):
        take(nothing.batches(0, 0), 1)


def test_images_of_different_size_are_named():
    pipeline = train(source=Pictures(odd_size=9), threads=0)
    with pytest.raises(UserError, match=r"record \d+ .* \(6, [78], 3\).*add a transform"):
        take(pipeline.batches(0, 0), 3)


def test_mistakes_are_user_errors():
    with pytest.raises(UserError, match="on_error='skp' - did you mean skip"):
        train(on_error="skp")
    with pytest.raises(UserError, match="batch_size=0"):
        train(batch_size=0)
    with pytest.raises(UserError, match="batch_size=8 is not a multiple of the 3 processes"):
        train().batches(0, 0, 0, 3)
    with pytest.raises(UserError, match="batch_size=8 is not a multiple of the 3 processes"):
        Eval(Pictures(), (), batch_size=8).batches(0, 3)


def test_closed_batches_are_over():
    batches = train().batches(0, 0)
    next(batches)
    batches.close()
    batches.close()
    assert next(batches, None) is None


def test_nothing_is_left_behind():
    """Worker processes end with the program, silently, when the iterator was closed."""
    code = """
        from vision_jax import data

        if __name__ == "__main__":
            pipeline = data.Train(
                data.Digits("train"), (data.RandomResizedCrop(size=8),), 16, workers=1, threads=1
            )
            batches = pipeline.batches(0, 0)
            print(next(batches).image.shape)
            batches.close()
    """
    done = run(code)
    assert done.stdout == "(16, 8, 8, 1)\n" and done.stderr == ""


def run(code):
    """A program of its own."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


def test_random_resized_crop_runs_through():
    source = Digits("train", size=20, channels=3)
    pipeline = Train(source, (RandomResizedCrop(size=12),), batch_size=16)
    (batch,) = take(pipeline.batches(0, 0), 1)
    assert batch.image.shape == (16, 12, 12, 3)
    again = take(pipeline.batches(0, 1), 1)[0]
    assert not np.array_equal(batch.image, again.image)


@pytest.mark.parametrize("workers", [0, 1])
def test_repeats_give_each_record_draws_of_its_own(workers):
    once = take(train(batch_size=4).batches(0, 3), 12)
    often = take(train(batch_size=12, repeats=3, workers=workers).batches(2, 3), 10)
    for plain, batch in zip(once[2:], often, strict=True):
        np.testing.assert_array_equal(batch.id, np.tile(plain.id, 3))
        stamps = {tuple(pixel) for pixel in batch.image[:, 0, 0]}
        assert len(stamps) == 12
        np.testing.assert_array_equal(batch.index, np.arange(12))


def test_repeats_divide_the_batch():
    with pytest.raises(UserError, match="repeats=3 does not divide batch_size=8"):
        train(batch_size=8, repeats=3)
