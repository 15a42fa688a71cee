"""Run folders whose small files are damaged: named, or mended."""

import json
import logging

import pytest

from vision_jax.config import UserError, node
from vision_jax.training import Experiment, folder

DAMAGE = [b"", b"{", b"[]", b"{}", b"\xff\xfe", b"null", bytes(40), b"[" * 100_000]


def config():
    """A config of few settings."""
    tree = node(Experiment, task=None, train=None)
    tree.steps = 3
    return tree


def lines(caplog):
    return [r.getMessage() for r in caplog.records if r.name.startswith("vision_jax")]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_config_of_nothing_is_mended(tmp_path, caplog, damage):
    (tmp_path / "config.json").write_bytes(damage)
    with caplog.at_level(logging.WARNING):
        folder.open_folder(tmp_path, config())
    assert json.loads((tmp_path / "config.json").read_text())["steps"] == 3
    (line,) = lines(caplog)
    assert "config.json is damaged and is written anew" in line


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("left", ["checkpoints", "DONE", "metrics.jsonl"])
def test_a_damaged_config_beside_a_run_is_named(tmp_path, damage, left):
    (tmp_path / "config.json").write_bytes(damage)
    (tmp_path / left).mkdir()
    with pytest.raises(UserError) as error:
        folder.open_folder(tmp_path, config())
    line = str(error.value)
    assert f"{tmp_path / 'config.json'}" in line and left in line and "delete it" in line
    assert (tmp_path / "config.json").read_bytes() == damage


@pytest.mark.parametrize("damage", [*DAMAGE, b'{"step": 3}', b'{"step": 3, "metrics": 5}'])
def test_a_damaged_end_is_made_again_from_the_checkpoint_or_named(tmp_path, caplog, damage):
    (tmp_path / "DONE").write_bytes(damage)
    with pytest.raises(UserError, match="DONE' is damaged"):
        folder.finished(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    assert folder.finished(tmp_path) is None
    (line,) = lines(caplog)
    assert "the run's end is made again" in line


def test_an_end_is_read_back(tmp_path):
    assert folder.finished(tmp_path) is None
    folder.finish(tmp_path, 7, {"eval/top1": 0.5})
    assert folder.finished(tmp_path) == {"step": 7, "metrics": {"eval/top1": 0.5}}


def test_what_a_killed_process_left_half_written_goes(tmp_path):
    (tmp_path / ".DONE.host.12.half").write_bytes(b"{")
    with folder.opened(tmp_path, config(), None):
        pass
    assert not list(tmp_path.glob(".*.half"))


def test_a_refused_run_lets_the_next_one_in(tmp_path):
    with folder.opened(tmp_path, config(), None):
        pass
    (tmp_path / "checkpoints" / "00000001").mkdir(parents=True)
    other = config()
    other.seed = 1
    with pytest.raises(UserError, match="another config"), folder.opened(tmp_path, other, None):
        pass
    with folder.opened(tmp_path, config(), None):
        pass
