"""Checkpoints of which any file is damaged, disks that fill up, and folders that vanish."""

import pathlib
import resource
import shutil

import pytest
from test_training_checkpoint import assert_equal, state_of

from vision_jax.config import UserError
from vision_jax.training import Checkpoints


def damages(folder):
    """Every file of a checkpoint with every kind of damage: (name, what is done to it)."""
    kinds = {
        "empty": lambda file: file.write_bytes(b""),
        "cut": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
        "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
        "text": lambda file: file.write_bytes(b"\xff\xfe not this"),
        "missing": lambda file: file.unlink(),
    }
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        for kind, damage in kinds.items():
            yield f"{kind} {file.relative_to(folder)}", file.relative_to(folder), damage


def test_any_damaged_file_falls_back_or_does_not_matter(tmp_path, caplog):
    """Metrics and metadata included; what is restored is always what was saved at its step."""
    source = Checkpoints(tmp_path / "source", best_metric="a")
    for step in (1, 2):
        source.save(step, state_of(step), {"seed": 5}, {"a": step / 10})
    source.close()
    steps = {}
    for number, (name, file, damage) in enumerate(damages(tmp_path / "source" / "00000002")):
        folder = pathlib.Path(shutil.copytree(tmp_path / "source", tmp_path / str(number)))
        damage(folder / "00000002" / file)
        caplog.clear()
        checkpoints = Checkpoints(folder, best_metric="a")
        state, meta = checkpoints.restore(state_of(0))
        steps[name] = int(state.step)
        assert_equal(state, state_of(steps[name]))
        assert meta == {"seed": 5} and checkpoints.best_step() == steps[name], name
        said = [r for r in caplog.records if r.name.startswith("vision_jax")]
        assert len(said) == (steps[name] == 1), name
        checkpoints.save(3, state_of(3), {}, {"a": 0.05})
        checkpoints.close()
    for kind in ("empty", "cut", "zeros", "text", "missing"):
        assert steps[f"{kind} metrics/metrics"] == steps[f"{kind} meta/metadata"] == 1


def test_metrics_of_another_name_decide_nothing(tmp_path):
    """The metric that decides may change when a run goes on."""
    checkpoints = Checkpoints(tmp_path, keep=9, best_metric="a")
    checkpoints.save(1, state_of(1), {}, {"a": 0.9})
    checkpoints.close()
    for mode, best in (("max", 3), ("min", 2)):
        checkpoints = Checkpoints(tmp_path, keep=9, best_metric="b", best_mode=mode)
        if mode == "max":
            assert checkpoints.best_step() is None
            checkpoints.save(2, state_of(2), {}, {"b": 0.1})
            checkpoints.save(3, state_of(3), {}, {"b": 0.2})
        assert checkpoints.best_step() == best
        assert_equal(checkpoints.restore(state_of(0))[0], state_of(3))
        checkpoints.close()


def test_a_full_disk_keeps_what_was_saved(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state_of(1), {})
    checkpoints.wait()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(UserError, match=f"'{tmp_path}' cannot be written: File too large"):
            checkpoints.save(2, state_of(2), {})
            checkpoints.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert_equal(Checkpoints(tmp_path).restore(state_of(0))[0], state_of(1))


def test_a_folder_that_vanished_is_named(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(1, state_of(1), {})
    checkpoints.wait()
    (tmp_path / "checkpoints").rename(tmp_path / "away")
    with pytest.raises(UserError, match="checkpoints' has vanished, or another has taken its"):
        checkpoints.save(2, state_of(2), {})
