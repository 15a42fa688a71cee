"""A cache of fetched files of a test's own, and a server that gives them."""

import pytest

from tests.weights.loopback import Server
from vision_jax.weights import download

_SETTINGS = ("VISION_JAX_MIRROR", "HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_HOME")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder as $VISION_JAX_HOME; no setting of the user's, no proxy, no pauses."""
    for name in _SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("VISION_JAX_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(download, "_PAUSE", 0.0)
    return tmp_path / "home" / "weights"


@pytest.fixture
def server():
    with Server().running() as running:
        yield running
