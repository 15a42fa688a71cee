"""The folder of fetched files: who may write there, and what is known of each file.

It is $VISION_JAX_HOME/weights, by default in the user's cache folder. VISION_JAX_MIRROR names an
address under which the same files lie in the same places, such as a copy of that folder: it is then
asked instead of the publishers.
"""

import contextlib
import fcntl
import os
import sys
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path

from vision_jax.config import UserError
from vision_jax.weights.download import Digest, digits_of, download

_HASH = ".sha256"  # ends the name of the note of a file's hash and size


def home() -> Path:
    """Returns the folder of fetched files, which may not be there yet."""
    chosen = os.environ.get("VISION_JAX_HOME")
    if not chosen:
        chosen = os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "vision_jax")
    return Path(chosen).expanduser().absolute() / "weights"


def mirror() -> str | None:
    """Returns the address that is asked instead of the publishers', without a last slash.

    Raises:
      UserError: VISION_JAX_MIRROR is no address of http or https.
    """
    text = os.environ.get("VISION_JAX_MIRROR", "").rstrip("/")
    if text and not text.startswith(("http://", "https://")):
        raise UserError(f"VISION_JAX_MIRROR={text!r} is no address that begins with http(s)://")
    return text or None


def fetch(
    place: str, url: str, digest: Digest | None = None, headers: Mapping[str, str] | None = None
) -> Path:
    """Returns a file of the cache, fetched if it is not there; processes wait for each other.

    Args:
      place: of the file in the cache, 'torchvision/resnet50-0676ba61/resnet50-0676ba61.pth'.
      url: of the publisher.
      digest: the publisher's. A file that somebody put there by hand is checked too, once.
      headers: for the publisher's server.

    Raises:
      UserError: it cannot be fetched, or is not the publisher's; see `download`.
    """
    path, other = home() / place, mirror()
    if other is not None:
        url, headers = f"{other}/{urllib.parse.quote(place)}", None
    if path.is_file() and _is_known(path):
        return path
    with _locked(path):
        if not path.is_file():
            print(f"fetching {url}", file=sys.stderr)
            download(url, path, digest, headers)
            _note(path)
        elif not _is_known(path):
            check(path, digest)
            _note(path)
    return path


def find(place: str) -> Path | None:
    """Returns a file of the cache if it is there."""
    path = home() / place
    return path if path.is_file() else None


def check(path: Path, digest: Digest | None) -> None:
    """Reads a file of the cache, and compares its hash with the publisher's, or with the first one.

    Raises:
      UserError: it is another file.
    """
    note = _noted(path)
    known = digest or (Digest("sha256", note[0]) if note else None)
    if known is None:
        return
    try:
        known.check(path)
    except UserError as error:
        raise UserError(f"{path}: {error}: remove it, and it is fetched anew") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error


def _is_known(path: Path) -> bool:
    """Returns whether a file was checked once and still has the same size."""
    note = _noted(path)
    return note is not None and note[1] == path.stat().st_size


def _noted(path: Path) -> tuple[str, int] | None:
    """Returns a file's SHA-256 and size as noted; None where nothing is."""
    note = path.with_name(path.name + _HASH)
    words = note.read_text(errors="replace").split() if note.is_file() else []
    if len(words) != 2 or not words[1].isdigit():
        return None
    return words[0], int(words[1])


def _note(path: Path) -> None:
    """Notes a file's SHA-256 and size beside it."""
    note = path.with_name(path.name + _HASH)
    half = note.with_name(note.name + ".half")
    half.write_text(f"{digits_of(path)} {path.stat().st_size}\n")
    half.replace(note)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds a lock beside a file, whose folder is made; it goes with the process that holds it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(path.name + ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"another process fetches {path.name}; waiting for it", file=sys.stderr)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise UserError(
            f"{path.parent}: cannot be written to: {error.strerror or error}; VISION_JAX_HOME "
            "names another folder"
        ) from error
