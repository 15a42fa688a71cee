"""Disks that are full, read-only or gone are one line with the place and the reason."""

import errno
import os
import pathlib
import resource

import pytest

from vision_jax.config import UserError
from vision_jax.system import disk

TENSORSTORE = 'RESOURCE_EXHAUSTED: Error writing "a/0": Failed to write [OS error 28: ENOSPC No …]'


@pytest.mark.parametrize(
    ("error", "reason", "advice"),
    [
        (OSError(errno.ENOSPC, "x"), "No space left on device", "free some space"),
        (OSError(errno.EDQUOT, "x"), "Disk quota exceeded", "free some space"),
        (OSError(errno.EFBIG, "x"), "File too large", "free some space"),
        (OSError(errno.EROFS, "x"), "Read-only file system", "make it writable"),
        (PermissionError(errno.EACCES, "x"), "Permission denied", "make it writable"),
        (FileNotFoundError(errno.ENOENT, "x"), "No such file", "bring the disk back"),
        (OSError(errno.ESTALE, "x"), "Stale file handle", "bring the disk back"),
        (OSError(errno.EIO, "x"), "Input/output error", "bring the disk back"),
        (ValueError(TENSORSTORE), "No space left on device", "free some space"),
        (RuntimeError("write: Disk quota exceeded"), "Disk quota exceeded", "free some space"),
        (ExceptionGroup("two", [OSError(errno.EROFS, "x")]), "Read-only", "make it writable"),
    ],
)
def test_what_a_disk_says_is_one_line(tmp_path, error, reason, advice):
    with pytest.raises(disk.DiskError) as raised, disk.writing(tmp_path / "checkpoints"):
        raise error
    line = str(raised.value)
    assert line.startswith(f"'{tmp_path}/checkpoints' cannot be written: {reason}")
    assert advice in line and "\n" not in line and raised.value.code == 2


def test_causes_count_and_what_was_only_handled_does_not(tmp_path):
    with pytest.raises(disk.DiskError, match="No space"), disk.writing(tmp_path):
        try:
            raise OSError(errno.ENOSPC, "x")
        except OSError as error:
            raise RuntimeError("the save failed") from error
    with pytest.raises(RuntimeError, match="a fault of ours"), disk.writing(tmp_path):
        try:
            (tmp_path / "need not be there").read_text()
        except OSError:
            raise RuntimeError("a fault of ours")  # noqa: B904 - this is what is tried


def test_a_file_with_the_name_of_a_folder_is_named(tmp_path):
    disk.make_folder(tmp_path / "a" / "b")
    disk.make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("mine")
    said = "cannot be written: .*; a file has the name of a folder; move it away"
    for folder in ("file", "file/within"):
        with pytest.raises(disk.DiskError, match=rf"'{tmp_path}/{folder}' {said}"):
            disk.make_folder(tmp_path / folder)
    half = disk.whole_file(tmp_path / "file" / "page.html")
    with pytest.raises(disk.DiskError, match=said), half:
        pass
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("error", [ValueError("a fault"), KeyError("x"), UserError("said already")])
def test_other_errors_pass(tmp_path, error):
    for context in (disk.writing, disk.used):
        with pytest.raises(type(error)) as raised, context(tmp_path):
            raise error
        assert raised.value is error


def test_use_names_the_file_that_the_error_names_and_lets_missing_files_pass(tmp_path):
    refused = pytest.raises(disk.DiskError, match=r"'/full/x\.png' cannot be used: No space")
    with refused, disk.used(tmp_path):
        raise OSError(errno.ENOSPC, "x", "/full/x.png")
    with pytest.raises(FileNotFoundError), disk.used(tmp_path):
        (tmp_path / "no").read_text()


def test_a_whole_file_or_what_was_there(tmp_path):
    path = tmp_path / "new" / "x.json"
    with disk.whole_file(path) as half:
        half.write_text("old")
    refused = pytest.raises(disk.DiskError, match=r"x\.json' cannot be written: No space")
    with refused, disk.whole_file(path) as half:
        half.write_text("ne")
        raise OSError(errno.ENOSPC, "x")
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]
    with pytest.raises(disk.DiskError, match="No such file"), disk.whole_file(tmp_path / "a/b/x"):
        pass
    assert not (tmp_path / "a").exists()


def test_a_part_that_was_taken_is_an_error(tmp_path):
    """As a full disk does: the first write takes what fits, the second nothing."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    file = os.open(tmp_path / "rows", os.O_WRONLY | os.O_CREAT)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        disk.write_whole(file, b"x" * 80)
        with pytest.raises(OSError, match="File too large"):
            disk.write_whole(file, b"y" * 80)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        os.close(file)
    assert pathlib.Path(tmp_path / "rows").read_bytes() == b"x" * 80 + b"y" * 20
