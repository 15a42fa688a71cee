"""Importing this makes TensorFlow look as if it were not installed; for use in child processes."""

import importlib.machinery
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


class _Finder(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        if fullname.partition(".")[0] == "tensorflow":
            return None
        return super().find_spec(fullname, path, target)


def install() -> None:
    # A None in sys.modules would not do: TFDS takes it for a TensorFlow that is loaded already.
    sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = _Finder


def start(script: str, *arguments: object) -> subprocess.Popen:
    """A child process that runs `script` where there is no TensorFlow."""
    return subprocess.Popen(
        [sys.executable, "-c", "import no_tensorflow; no_tensorflow.install()\n" + script]
        + [str(a) for a in arguments],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{Path(__file__).parent}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(script: str, *arguments: object) -> tuple[int, str, str]:
    """Its exit code, output and errors."""
    child = start(script, *arguments)
    out, err = child.communicate(timeout=120)
    return child.returncode, out, err
