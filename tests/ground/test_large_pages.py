import json
import os
import pathlib
import subprocess
import sys

import pytest

from vision_jax.system import large_pages

SCRIPT = """
import json, os, sys
from vision_jax.system import large_pages
large_pages.restart_with_large_pages()
given = os.environ.get("GLIBC_TUNABLES")
print(json.dumps([os.getpid(), sys.argv[1:], sys.flags.utf8_mode, given]))
"""


@pytest.mark.parametrize(
    "given, expected",
    [
        (None, "glibc.malloc.hugetlb=1"),
        ("glibc.malloc.arena_max=1", "glibc.malloc.arena_max=1:glibc.malloc.hugetlb=1"),
        ("glibc.malloc.hugetlb=0", "glibc.malloc.hugetlb=0"),
    ],
)
def test_a_users_own_settings_stay(given, expected, monkeypatch):
    monkeypatch.setattr(large_pages, "_glibc_version", lambda: (2, 36))
    environment = {"HOME": "/home"} | ({"GLIBC_TUNABLES": given} if given else {})
    found = large_pages.with_large_pages(environment)
    assert found == {"HOME": "/home", "GLIBC_TUNABLES": expected}
    assert large_pages.with_large_pages(found) == found


@pytest.mark.parametrize("library", [None, "", "musl 1.2", "glibc 2.31"])
def test_elsewhere_nothing_changes(library, monkeypatch):
    def answer(name):
        if library is None:
            raise ValueError("unrecognized configuration name")
        return library

    monkeypatch.setattr(os, "confstr", answer)
    assert large_pages.with_large_pages({"HOME": "/home"}) == {"HOME": "/home"}


def test_the_same_process_begins_anew_with_the_same_command(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    root = str(pathlib.Path(large_pages.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    environment.pop("GLIBC_TUNABLES", None)
    expected = large_pages.with_large_pages(environment).get("GLIBC_TUNABLES")
    process = subprocess.Popen(
        [sys.executable, "-X", "utf8", str(tmp_path / "script.py"), "--flag", "two words"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    output, _ = process.communicate(timeout=60)
    assert json.loads(output) == [process.pid, ["--flag", "two words"], 1, expected]
