"""Batches that are gathered on the devices are those that the host would have sent."""

import contextlib
import dataclasses
import functools
import itertools
import shutil

import jax
import numpy as np
import pytest
from tiny_net import experiment

from vision_jax import run
from vision_jax.config import UserError, build
from vision_jax.data import TFDS, Digits, Resize, Shuffled, Train
from vision_jax.training import DeviceCache, Parallel, initial, restore_params

TRAIN = Train(Digits("train[:50]", channels=3), batch_size=16)


def same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype and a.sharding == b.sharding


@pytest.mark.parametrize("how", ["shard_map", "pmap", "jit"])
@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize("repeats", [1, 2])
def test_batches_are_the_hosts(how, devices, repeats):
    train = dataclasses.replace(TRAIN, repeats=repeats)
    parallel = Parallel(how, jax.devices()[:devices])
    cache = DeviceCache(train, parallel)
    with contextlib.ExitStack() as stack:
        whole, numbers = (
            list(itertools.islice(stack.enter_context(contextlib.closing(batches)), 5))
            for batches in (train.batches(2, 7), train.batches(2, 7, pixels=False))
        )
    assert all(batch.image is None and batch.targets.label is None for batch in numbers)
    for batch, number in zip(whole, numbers, strict=True):
        same(cache.fill(parallel.put_batch(number)), parallel.put_batch(batch))
    found = cache.fill(parallel.put_batches(numbers), several=True)
    same(found, parallel.put_batches(whole))


@pytest.mark.parametrize("count", [1, 2])
def test_a_run_goes_on_with_the_same_bits_from_the_cache(tmp_path, capsys, count):
    tree = experiment(steps=4, checkpoint_every=2, steps_per_dispatch=count)
    run.train(tree, tmp_path / "host")
    assert "device cache" not in capsys.readouterr().out
    shutil.copytree(tmp_path / "host", tmp_path / "both")
    (tmp_path / "both" / "DONE").unlink()
    shutil.rmtree(tmp_path / "both" / "checkpoints" / "00000004")
    tree.train.device_cache = True
    run.train(tree, tmp_path / "both")
    out = capsys.readouterr().out
    assert "resumed from step 2\n" in out
    assert "device cache: 0.0 MB on each of 8 devices" in out
    files = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("host", "both")]
    assert files[0] == files[1]
    fresh = initial.variables(build(tree))[0]
    ends = [restore_params(tmp_path / n / "checkpoints", fresh) for n in ("host", "both")]
    assert [end.step for end in ends] == [4, 4]
    jax.tree.map(np.testing.assert_array_equal, *(end.variables for end in ends))


def test_what_is_not_in_memory_is_refused(embedded_data):
    cached = functools.partial(Train, device_cache=True, batch_size=16)
    digits = Digits("train[:50]")
    detection = TFDS(name="shapes/det64", split="train[:8]", fields=("objects",))
    for train, said in (
        (cached(digits, (Resize(size=9),)), r"train\.transforms work on the host"),
        (cached(Shuffled(digits)), r"Shuffled does not hold its images in memory"),
        (cached(detection), r"TFDS does not hold its images in memory"),
    ):
        with pytest.raises(UserError, match=said) as error:
            DeviceCache(train, Parallel())
        assert "device_cache=False" in str(error.value) and "\n" not in str(error.value)
