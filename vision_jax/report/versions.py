"""The circumstances of a result: packages, devices, commit, command."""

import importlib.metadata
import pathlib
import platform
import shlex
import subprocess
import sys
from typing import Any

import jax

PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "tensorflow-datasets",
    "numpy",
    "onednn-cpu-gomp",
)


def versions() -> dict[str, Any]:
    """Collects versions by package (None where it is missing), devices, code and command.

    Returns:
      `python`, `packages` {name: version}, `platform`, `device` (kind of the first), `devices` and
      `processes` (counts), `backend`, `command`, and `commit` and `dirty`, None outside a git
      checkout of this package.
    """
    commit, dirty = _git()
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "command": shlex.join(["python", *sys.argv]),
        "commit": commit,
        "dirty": dirty,
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(root: pathlib.Path = pathlib.Path(__file__).parent.parent) -> tuple:
    """Returns the commit of this file's checkout, and whether tracked files differ from it."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        # An installed copy may lie inside somebody else's checkout: ask for this very file.
        git("ls-files", "--error-unmatch", "__init__.py")
        changes = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD"), bool(changes)
    except (OSError, subprocess.SubprocessError):
        return None, None
