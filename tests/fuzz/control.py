"""Readers with the very faults that are looked for: what proves that they would be seen."""

import os
import pickle
import subprocess
import sys
import warnings

from tests.fuzz.formats_weights import CANARY, Format
from vision_jax.config import UserError


def _nothing(place, rng):
    (place / "x").write_bytes(b"" if rng is None else b"damaged")


def _control(act):
    """Makes a format whose reader does something wrong with every damaged input."""

    def read(place):
        if (place / "x").read_bytes():
            act()

    return Format(_nothing, read)


def _strike():
    pickle.loads(f"cos\nsystem\n(Vtouch {CANARY}\ntR.".encode())


def _two_lines():
    raise UserError("one\ntwo")


def _hang():
    while True:
        pass


FORMATS = {
    "control_executes": _control(_strike),
    "control_starts": _control(lambda: subprocess.run(["true"], check=True)),
    "control_raises": _control(lambda: {}["a"]),
    "control_says_two_lines": _control(_two_lines),
    "control_warns": _control(lambda: warnings.warn("x", stacklevel=1)),
    "control_crashes": _control(lambda: os.kill(os.getpid(), 11)),
    "control_takes_memory": _control(lambda: bytearray(2**33)),
    "control_recurses": _control(lambda: sys.setrecursionlimit(0)),
    "control_hangs": _control(_hang),
}
