"""Checkpoints: what is kept, what is believed, and what another run can take."""

import json
import logging
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import training_worker
from training_toy import Toy, make_batch

from vision_jax.config import UserError
from vision_jax.training import (
    Checkpoints,
    Constant,
    Ema,
    Optimizer,
    Parallel,
    Sgd,
    create,
    make_train_step,
    restore_params,
)
from vision_jax.training.storage import _is_not_orbax

pytestmark = pytest.mark.core


def state_of(step):
    """A small state with arrays of random bytes, which no compression can check for us."""
    rng = np.random.default_rng(step)
    params = {"backbone": {"kernel": rng.normal(size=(300, 20)).astype(np.float32)}}
    params["head"] = {"kernel": rng.normal(size=(20, 3)).astype(np.float32)}
    stats = {"norm": {"mean": rng.normal(size=20).astype(np.float32)}}
    update = Optimizer(Sgd(), Constant()).build(params, 10, 1)
    state = create({"params": params, "batch_stats": stats}, update, ema=True)
    ema = jax.tree.map(lambda x: x + 1, state.ema)
    return state.replace(step=np.int32(step), ema=ema)


def assert_equal(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert np.asarray(x).dtype == np.asarray(y).dtype
        np.testing.assert_array_equal(x, y)


def written(folder, steps=(1, 2), **kwargs):
    checkpoints = Checkpoints(folder, **kwargs)
    for step in steps:
        checkpoints.save(step, state_of(step), {"seed": 5})
    checkpoints.close()
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return written(tmp_path_factory.mktemp("two") / "checkpoints")


@pytest.fixture
def copy(two, tmp_path):
    return pathlib.Path(shutil.copytree(two, tmp_path / "checkpoints"))


def data_files(folder, step):
    files = [f for f in (folder / f"{step:08d}" / "state").rglob("*") if f.parent.name == "d"]
    return sorted(files, key=lambda f: f.stat().st_size, reverse=True)


def test_round_trip_with_types_and_structure(two):
    state, meta = Checkpoints(two).restore(state_of(0))
    assert_equal(state, state_of(2))
    assert jax.tree.structure(state) == jax.tree.structure(state_of(0))
    assert meta == {"seed": 5}
    assert_equal(Checkpoints(two).restore(state_of(0), step=1)[0], state_of(1))


def test_an_empty_folder_has_nothing(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.restore(state_of(0)) is None
    assert checkpoints.latest_step() is None and checkpoints.best_step() is None


@pytest.mark.parametrize("mode", ["max", "min"])
def test_the_newest_and_the_best_are_kept_and_remembered(tmp_path, mode):
    checkpoints = Checkpoints(tmp_path, 2, "eval/x", mode)
    sign = 1 if mode == "max" else -1
    values = {1: 0.1, 2: 0.9, 3: 0.5, 4: None, 5: np.nan, 6: 0.3, 7: None}
    for step, value in values.items():
        metrics = None if value is None else {"eval/x": sign * value, "eval/y": 1.0}
        checkpoints.save(step, state_of(step), {}, metrics)
    checkpoints.close()
    again = Checkpoints(tmp_path, 2, "eval/x", mode)
    assert again.steps() == [2, 6, 7]
    assert again.best_step() == 2 and again.latest_step() == 7
    assert_equal(again.restore(state_of(0), again.best_step())[0], state_of(2))
    # Others find the best without being told by what.
    assert restore_params(tmp_path, state_of(0).variables).step == 2
    assert restore_params(tmp_path, state_of(0).variables, step=6).step == 6


def test_a_save_may_be_followed_by_changes_of_the_devices_state(tmp_path):
    """Saves run in the background while steps reuse the memory of the state."""
    task, parallel = Toy(), Parallel("shard_map", jax.devices()[:2])
    update = Optimizer(Sgd(), Constant(0.1)).build(task.init()["params"], 10, 5)
    step = parallel.compile(make_train_step(task, update, parallel.axis))
    state, wanted = parallel.put_state(create(task.init(), update)), {}
    checkpoints = Checkpoints(tmp_path, keep=9)
    for i in range(1, 6):
        state, _ = step(state, parallel.put_batch(make_batch(seed=i)), np.uint32(0))
        host = parallel.get_state(state)
        wanted[i] = jax.tree.map(np.copy, host)
        checkpoints.save(i, host, {})
    checkpoints.wait()
    for i, kept in wanted.items():
        assert_equal(checkpoints.restore(kept, i)[0], kept)
    checkpoints.close()


@pytest.mark.parametrize("how", ["truncated", "flipped", "missing", "manifest", "record"])
def test_a_damaged_newest_checkpoint_falls_back(copy, caplog, how):
    newest, step = data_files(copy, 2)[0], copy / "00000002"
    if how == "truncated":
        newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    elif how == "flipped":
        flip(newest, newest.stat().st_size // 2)
    elif how == "missing":
        newest.unlink()
    elif how == "manifest":
        file = step / "state" / "manifest.ocdbt"
        file.write_bytes(file.read_bytes()[:20])
    else:
        file = step / "meta" / "metadata"
        file.write_text(file.read_text().replace('"seed": 5', '"seed": 6'))
    checkpoints = Checkpoints(copy)
    state, meta = checkpoints.restore(state_of(0))
    assert_equal(state, state_of(1))
    assert meta == {"seed": 5}
    (record,) = (r for r in caplog.records if r.name.startswith("vision_jax"))
    message = record.getMessage()
    assert "checkpoint 2 of" in message and "\n" not in message and len(message) < 400
    if how == "record":
        assert "CRC-32" in message
    # The damaged one is out of the way: the same step can be saved again.
    assert (copy / "damaged-2").is_dir() and checkpoints.steps() == [1]
    checkpoints.save(2, state_of(2), {"seed": 5})
    checkpoints.close()
    assert_equal(Checkpoints(copy).restore(state_of(0))[0], state_of(2))


def flip(file, position):
    data = bytearray(file.read_bytes())
    data[position] ^= 0x10
    file.write_bytes(bytes(data))


def test_no_flipped_byte_anywhere_gives_wrong_numbers(two, tmp_path, caplog):
    """Some bytes in any file, and some in the arrays, where Orbax itself would notice few."""
    rng = random.Random(0)
    for trial in range(30):
        folder = pathlib.Path(shutil.copytree(two, tmp_path / str(trial)))
        files = [f for f in (folder / "00000002").rglob("*") if f.is_file() and f.stat().st_size]
        file = rng.choice(sorted(files)) if trial % 2 else data_files(folder, 2)[0]
        flip(file, rng.randrange(file.stat().st_size))
        state, meta = Checkpoints(folder, read_only=True).restore(state_of(0))
        assert_equal(state, state_of(int(state.step)))
        assert meta == {"seed": 5}
    assert sum("bytes of" in record.getMessage() for record in caplog.records) > 3


def test_when_all_are_damaged_nothing_begins_anew_silently(copy):
    for step in (1, 2):
        data_files(copy, step)[0].unlink()
    with pytest.raises(UserError, match=r"no readable checkpoint in .*tried steps 2, 1"):
        Checkpoints(copy).restore(state_of(0))


def test_a_reader_changes_nothing(copy):
    data_files(copy, 2)[0].unlink()
    (copy / "00000003.orbax-checkpoint-tmp").mkdir()
    before = sorted(copy.iterdir())
    checkpoints = Checkpoints(copy, read_only=True)
    assert_equal(checkpoints.restore(state_of(0))[0], state_of(1))
    checkpoints.close()
    assert sorted(copy.iterdir()) == before
    with pytest.raises(UserError, match="there is no such folder"):
        Checkpoints(copy / "no", read_only=True)


def test_a_state_that_does_not_fit_is_named_and_is_no_damage(copy):
    other = state_of(0)
    other.params["head"]["kernel"] = np.zeros((20, 7), np.float32)
    said = r"params/head/kernel is \(20, 3\) there, but \(20, 7\) in this run"
    with pytest.raises(UserError, match=said):
        Checkpoints(copy).restore(other)
    with pytest.raises(UserError, match=r"ema/batch_stats/norm/mean is .* but absent in this run"):
        Checkpoints(copy).restore(state_of(0).replace(ema=None))
    assert Checkpoints(copy).steps() == [1, 2]


def test_parameters_for_another_network(two):
    wanted = jax.tree.map(np.zeros_like, state_of(0).variables)
    wanted["params"]["head"] = {"kernel": np.full((20, 7), 2, np.float32)}
    wanted["params"]["new"] = {"bias": np.full(4, 3, np.float32)}
    del wanted["batch_stats"]
    found = restore_params(two, wanted, averaged=False)
    assert found.step == 2
    assert found.restored == ("params/backbone/kernel",)
    assert found.missing == ("params/new/bias",)
    assert found.mismatched == {"params/head/kernel": ((20, 3), (20, 7))}
    assert found.unused == ("batch_stats/norm/mean",)
    backbone = state_of(2).params["backbone"]["kernel"]
    np.testing.assert_array_equal(found.variables["params"]["backbone"]["kernel"], backbone)
    assert_equal(found.variables["params"]["head"], wanted["params"]["head"])
    assert_equal(found.variables["params"]["new"], wanted["params"]["new"])


def test_averaged_parameters_and_statistics_are_preferred(two):
    found = restore_params(two, state_of(0).variables)
    assert_equal(found.variables, state_of(2).ema)
    assert not found.missing and not found.mismatched and not found.unused
    plain = restore_params(two, state_of(0).variables, averaged=False)
    assert_equal(plain.variables, state_of(2).variables)


def test_restoring_parameters_of_nothing(tmp_path, copy):
    for folder in (tmp_path / "no", tmp_path):
        with pytest.raises(UserError, match="no checkpoints in"):
            restore_params(folder, state_of(0).variables)
    for file in data_files(copy, 2):  # the parameters may lie in any of them
        file.unlink()
    with pytest.raises(UserError, match=r"checkpoint 2 in .* cannot be read"):
        restore_params(copy, state_of(0).variables)


@pytest.mark.parametrize(("how", "devices"), [("shard_map", 1), ("pmap", 4), ("jit", 8)])
def test_a_state_restores_onto_other_devices_to_the_bit(two, how, devices):
    parallel = Parallel(how, jax.devices()[:devices])
    state = parallel.put_state(Checkpoints(two).restore(state_of(0))[0])
    assert_equal(parallel.get_state(state), state_of(2))


def test_resuming_is_bit_exact_also_in_another_mapping(tmp_path):
    straight = training_worker.train(tmp_path / "a", 6)
    training_worker.train(tmp_path / "b", 4)
    assert_equal(training_worker.train(tmp_path / "b", 6), straight)
    training_worker.train(tmp_path / "c", 2, how="pmap")
    assert_equal(training_worker.train(tmp_path / "c", 6), straight)


def test_orbax_is_silent_and_others_are_not():
    def record(path, level):
        return logging.LogRecord("absl", level, path, 1, "text", None, None)

    for level in (logging.WARNING, logging.ERROR):  # what goes wrong is raised as well
        assert not _is_not_orbax(record("/lib/orbax/checkpoint/x.py", level))
    assert _is_not_orbax(record("/lib/grain/x.py", logging.INFO))


def killed(folder, seconds):
    """A worker that saves at every step, killed some time after its first step."""
    options = json.dumps({"folder": str(folder), "steps": 10**6, "every": 1})
    worker = subprocess.Popen(
        [sys.executable, training_worker.__file__, options], stdout=subprocess.PIPE, text=True
    )
    assert any(line.startswith("step") for line in iter(worker.stdout.readline, ""))
    time.sleep(seconds)
    worker.send_signal(signal.SIGKILL)
    worker.communicate()


def check_killed(folder, steps_of):
    """Whatever is left must be the state of the step that it says."""
    checkpoints = Checkpoints(folder)
    like = create(Toy().init(), training_worker.update(), ema=True)
    found = checkpoints.restore(like)
    checkpoints.close()
    assert not list(folder.glob("damaged*")), "a kill must not leave a damaged checkpoint"
    if found is not None:
        assert_equal(found[0], steps_of(int(found[0].step)))
    return found


def states_of_one_device():
    """step -> the state of an undisturbed run on one device, as the worker has."""
    parallel, task = Parallel("shard_map", jax.devices()[:1]), Toy()
    update = training_worker.update()
    step = parallel.compile(make_train_step(task, update, parallel.axis, ema=Ema(0.9)))
    states = [create(task.init(), update, ema=True)]

    def at(count):
        while len(states) <= count:
            batch = parallel.put_batch(make_batch(16, seed=len(states) - 1))
            state = parallel.put_state(states[-1])
            states.append(parallel.get_state(step(state, batch, training_worker.SEED)[0]))
        return states[count]

    return at


def test_a_kill_during_a_save_loses_no_earlier_checkpoint(tmp_path):
    killed(tmp_path, 0.5)
    assert check_killed(tmp_path, states_of_one_device()) is not None


@pytest.mark.slow
def test_many_kills_at_random_times(tmp_path):
    rng, steps_of, last = random.Random(1), states_of_one_device(), 0
    for _ in range(25):
        killed(tmp_path, rng.random())
        found = check_killed(tmp_path, steps_of)
        assert int(found[0].step) >= last
        last = int(found[0].step)
    assert last > 25


def test_a_step_that_is_saved_again_is_replaced(tmp_path):
    checkpoints = Checkpoints(tmp_path, best_metric="a")
    checkpoints.save(3, state_of(1), {"evaluated": False})
    checkpoints.save(3, state_of(2), {"evaluated": True}, {"a": 1.0})
    checkpoints.wait()
    state, meta = checkpoints.restore(state_of(0))
    assert meta == {"evaluated": True}
    assert checkpoints.best_step() == 3
    assert_equal(state, state_of(2))
    checkpoints.close()


def test_a_step_that_could_not_be_saved_again_is_still_there(tmp_path, monkeypatch):
    """As after a kill between the two saves: the older one has its name back at the next start."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state_of(1), {"evaluated": False})
    checkpoints.wait()

    def fail(*args, **kwargs):
        raise RuntimeError

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(checkpoints._storage._manager, "save", fail)
        checkpoints.save(1, state_of(2), {"evaluated": True})
    assert checkpoints.steps() == []
    again = Checkpoints(tmp_path)
    state, meta = again.restore(state_of(0))
    assert meta == {"evaluated": False}
    assert_equal(state, state_of(1))
    again.save(1, state_of(2), {"evaluated": True})
    again.close()
    assert_equal(Checkpoints(tmp_path, read_only=True).restore(state_of(0))[0], state_of(2))
    assert not list(tmp_path.glob("replaced-*"))
