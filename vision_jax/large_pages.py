"""Large pages for the arrays of a process, as glibc's malloc takes them from Linux.

A step's buffers are new memory each time, which the kernel hands out page by page: on CPU a step of
ResNet-50 spends a tenth of its time so (benchmarks/README.md).
"""

import os
import sys
from collections.abc import Mapping

_VARIABLE, _TUNABLE, _SINCE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb", (2, 35)


def with_large_pages(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that uses them; as it is where that is set, or unknown."""
    given = environment.get(_VARIABLE, "")
    if _TUNABLE in given or _glibc() < _SINCE:
        return dict(environment)
    return {**environment, _VARIABLE: ":".join([*filter(None, [given]), f"{_TUNABLE}=1"])}


def restart_with_large_pages() -> None:
    """Begins this process anew with them, the same command under the same number; once.

    malloc reads the environment before Python runs.
    """
    environment = with_large_pages(os.environ)
    if environment != dict(os.environ):
        os.execve(sys.executable, sys.orig_argv, environment)


def _glibc():
    """Its version; () with another library."""
    try:
        name, version = os.confstr("CS_GNU_LIBC_VERSION").split()
    except (AttributeError, ValueError, OSError):
        return ()
    return tuple(int(n) for n in version.split(".")) if name == "glibc" else ()
