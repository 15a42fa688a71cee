"""Files of the Hugging Face Hub, named `hf:OWNER/REPO[@REVISION][/FILE]`.

Where the package huggingface_hub is installed, it fetches them, into its own cache and with all of
its settings. Elsewhere public files, and with HF_TOKEN all others, come over plain HTTP into our
cache; HF_ENDPOINT and HF_HUB_OFFLINE are honoured.
"""

import importlib
import json
import os
import re
import urllib.parse
from pathlib import Path
from typing import NamedTuple

from vision_jax.config import UserError, printable
from vision_jax.weights import cache
from vision_jax.weights.download import Missing
from vision_jax.weights.files import INDEX
from vision_jax.weights.safe_tensors import SUFFIX

PREFIX = "hf:"
_FILES = (f"model{SUFFIX}", f"model{SUFFIX}{INDEX}", "pytorch_model.bin")  # in order of preference
_NAME = r"[A-Za-z0-9][\w.-]*"
_SPEC = re.compile(rf"({_NAME}/{_NAME})(?:@([A-Za-z0-9][\w.-]*))?(?:/(.+))?")
_YES = ("1", "true", "yes", "on")


class HubFile(NamedTuple):
    """A file of a repository of models; `file` '' stands for its weights, whatever their name."""

    repo: str
    revision: str
    file: str

    @property
    def place(self) -> str:
        """Where it lies in our cache."""
        return f"hf/{self.repo}/{self.revision}/{self.file}"


def parse(text: str) -> HubFile:
    """Reads a name.

    Raises:
      UserError: it is none.
    """
    match = _SPEC.fullmatch(text.removeprefix(PREFIX))
    parts = match[3].split("/") if match and match[3] else []
    if match is None or not {"", ".", ".."}.isdisjoint(parts):
        raise UserError("no file of the Hub, which is hf:OWNER/REPO[@REVISION][/FILE]")
    return HubFile(match[1], match[2] or "main", match[3] or "")


def fetch(wanted: HubFile) -> Path:
    """Returns a file, fetched if it is not there; of a list of parts, the list with all of them.

    Raises:
      UserError: it cannot be fetched, in one line.
    """
    for file in (wanted.file,) if wanted.file else _FILES:
        try:
            path = _fetch(wanted._replace(file=file))
        except Missing:
            if wanted.file:
                raise
            continue
        if file.endswith(INDEX):
            folder = file.rpartition("/")[0]
            for part in _parts(path):
                _fetch(wanted._replace(file=f"{folder}/{part}" if folder else part))
        return path
    raise Missing(f"has none of {', '.join(_FILES)}: name the file, hf:{wanted.repo}/FILE")


def cached(wanted: HubFile) -> Path | None:
    """Returns a file that is in the cache: ours, or that of huggingface_hub if it is installed."""
    path, package = cache.find(wanted.place), _package()
    if path is not None or package is None:
        return path
    found = package.try_to_load_from_cache(wanted.repo, wanted.file, revision=wanted.revision)
    return Path(found) if isinstance(found, str) else None


def _parts(path: Path) -> list[str]:
    """Returns the names of a list's parts; a damaged list is told when it is read."""
    try:
        places = json.loads(path.read_bytes())["weight_map"].values()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
    return sorted({place for place in places if isinstance(place, str) and "/" not in place})


def _fetch(wanted: HubFile) -> Path:
    """Returns one file by the Hub's own package, or without it."""
    if cache.mirror() is None and (package := _package()) is not None:
        return _by_package(package, wanted)
    path = cache.home() / wanted.place
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in _YES and not path.is_file():
        raise UserError(
            f"{wanted.file} is not in the cache, and HF_HUB_OFFLINE forbids to fetch it: unset "
            f"that, or save it by hand as {path}"
        )
    endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    revision, file = (urllib.parse.quote(text) for text in (wanted.revision, wanted.file))
    token = os.environ.get("HF_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else None
    return cache.fetch(
        wanted.place, f"{endpoint}/{wanted.repo}/resolve/{revision}/{file}", None, headers
    )


def _package():
    """Imports huggingface_hub; None where it, or what it needs, is not installed."""
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError:
        return None


def _by_package(package, wanted: HubFile) -> Path:
    """Fetches one file by huggingface_hub, whose many errors become one line."""
    errors = importlib.import_module("huggingface_hub.errors")
    try:
        return Path(package.hf_hub_download(wanted.repo, wanted.file, revision=wanted.revision))
    except errors.LocalEntryNotFoundError as error:
        raise UserError(
            f"{wanted.file} cannot be reached, and is not in the Hub's cache "
            f"({_first_line(error)}): connect to the network, or unset HF_HUB_OFFLINE"
        ) from error
    except errors.GatedRepoError as error:
        raise UserError(
            "the Hub wants you to accept its terms: do so there, and set HF_TOKEN"
        ) from error
    except errors.EntryNotFoundError as error:
        raise Missing(f"there is no {wanted.file} in this repository") from error
    except Exception as error:  # of whatever the package reaches the network by
        raise UserError(
            f"huggingface_hub says: {_first_line(error)}: check the name, the network, and "
            "HF_TOKEN for a repository that is not public"
        ) from error


def _first_line(error: Exception) -> str:
    return printable(str(error).strip().partition("\n")[0] or type(error).__name__, 200)
