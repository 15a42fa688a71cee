"""Large pages for the arrays of a process, as glibc's malloc takes them from Linux.

A step's buffers are new memory each time, which the kernel hands out page by page: on CPU a step of
ResNet-50 spends a tenth of its time so (docs/profiles.md).
"""

import os
import sys
from collections.abc import Mapping

_VARIABLE, _TUNABLE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"
_FIRST_VERSION = (2, 35)  # of glibc, to have the tunable


def with_large_pages(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment of a process whose malloc uses large pages.

    It is unchanged where the user has set this tunable himself, and where malloc does not have it.
    """
    tunables = environment.get(_VARIABLE, "")
    if _TUNABLE in tunables or _glibc_version() < _FIRST_VERSION:
        return dict(environment)
    return {**environment, _VARIABLE: ":".join([*filter(None, [tunables]), f"{_TUNABLE}=1"])}


def restart_with_large_pages() -> None:
    """Begins this process anew with large pages, if it does not have them.

    The same command runs under the same process number; malloc reads the environment before Python
    starts, so that setting it within the process would come too late.
    """
    environment = with_large_pages(os.environ)
    if environment != dict(os.environ):
        os.execve(sys.executable, sys.orig_argv, environment)


def _glibc_version() -> tuple[int, ...]:
    """Returns glibc's version; () with another C library."""
    try:
        name, version = os.confstr("CS_GNU_LIBC_VERSION").split()
    except (AttributeError, ValueError, OSError):
        return ()
    return tuple(int(n) for n in version.split(".")) if name == "glibc" else ()
