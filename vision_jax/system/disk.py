"""Disks that are full, read-only or gone: which errors say so, and the one line about them."""

import contextlib
import errno
import os
import pathlib
import re
import socket
from collections.abc import Iterator

from vision_jax.config import UserError

_FREE = "free some space there; what was saved before is whole, and the same command goes on"
_ALLOW = "make it writable, or choose another folder"
_RETURN = "bring the disk back; what was saved before is whole, and the same command goes on"
_FILE = "a file has the name of a folder; move it away, or choose another folder"
# What each number asks for. All of them can only be the disk's, whoever met them.
_ADVICE = {
    errno.ENOSPC: _FREE,
    errno.EDQUOT: _FREE,
    errno.EFBIG: _FREE,
    errno.EROFS: _ALLOW,
    errno.EACCES: _ALLOW,
    errno.EPERM: _ALLOW,
    errno.EIO: _RETURN,
    errno.ESTALE: _RETURN,
    errno.ENODEV: _RETURN,
    errno.ENXIO: _RETURN,
    errno.ENOTCONN: _RETURN,
}
# These as well, where it is known that something was to be written.
_WRITING_ADVICE = _ADVICE | {
    errno.ENOENT: _RETURN,
    errno.ENOTDIR: _FILE,
    errno.EEXIST: _FILE,
    errno.EISDIR: "a folder has the name of a file; move it away, or choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
}
# Words that say the same where an error has no number, and that say nothing else.
_TEXTS = {
    os.strerror(number): number
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.ESTALE)
}
# How tensorstore, array_record and Python write the numbers into their texts.
_NUMBER = re.compile(r"(?:OS error|\[?errno:?) (\d+)", re.IGNORECASE)


class DiskError(UserError):
    """The error of a disk that takes no more, by its name and reason."""


@contextlib.contextmanager
def writing(place: str | os.PathLike) -> Iterator[None]:
    """Turns what a disk says to a write inside into one line that names the file or folder.

    Raises:
      DiskError: with the reason and what to do; errors of other kinds pass.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # Orbax, tensorstore, array_record: each has kinds of its own
        found = _find(error, _WRITING_ADVICE)
        if found is None:
            raise
        line = f"{_shown(place)} cannot be written: {os.strerror(found)}; {_WRITING_ADVICE[found]}"
        raise DiskError(line) from error


@contextlib.contextmanager
def used(place: str | os.PathLike) -> Iterator[None]:
    """Turns what only a disk can say, such as that it is full, into one line; other errors pass.

    Args:
      place: the folder that is named where the error names no file itself.

    Raises:
      DiskError: with the reason and what to do.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        found = _find(error, _ADVICE)
        if found is None:
            raise
        where = error.filename if isinstance(error, OSError) and error.filename else place
        line = f"{_shown(where)} cannot be used: {os.strerror(found)}; {_ADVICE[found]}"
        raise DiskError(line) from error


def make_folder(folder: pathlib.Path) -> None:
    """Makes a folder and those around it, where they are not there yet.

    Raises:
      DiskError: a file has one of their names, or the disk takes no more.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Gives a path to write to, whose file gets its own name once all is written.

    Killed on the way, it leaves what was there. The file's folder is made, but not the one around
    it: where that has vanished, a new one would be of no use.

    Raises:
      DiskError: the disk takes no more, or is gone.
    """
    path = pathlib.Path(path)
    half = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.half")
    with writing(path):
        path.parent.mkdir(exist_ok=True)
        try:
            yield half
            os.replace(half, path)
        except BaseException:
            with contextlib.suppress(OSError):
                half.unlink()
            raise


def write_whole(file: int, content: bytes) -> None:
    """Writes all bytes to a file's descriptor; a full disk takes a part and says nothing.

    Raises:
      OSError: of the disk, also where it only took a part.
    """
    while content:
        content = content[os.write(file, content) :]


def _find(error: BaseException, known: dict[int, str]) -> int | None:
    """Returns the system's number of an error, or of one that led to it, where it is known."""
    if isinstance(error, OSError) and error.errno in known:
        return error.errno
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, (_find(e, known) for e in error.exceptions)), None)
    numbers = [int(number) for number in _NUMBER.findall(str(error))]
    numbers += [number for text, number in _TEXTS.items() if text in str(error)]
    for number in numbers:
        if number in known:
            return number
    if error.__cause__ is not None:
        return _find(error.__cause__, known)
    # What was only being handled may have been no fault: a file that need not be there.
    return _find(error.__context__, _ADVICE) if error.__context__ is not None else None


def _shown(place: str | os.PathLike) -> str:
    return repr(str(pathlib.Path(os.fsdecode(place))))
