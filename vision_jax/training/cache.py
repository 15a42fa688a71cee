"""The persistent compilation cache: the second start of a run does not compile again."""

import os
import pathlib

import jax


def enable() -> pathlib.Path | None:
    """Turns it on, in $JAX_COMPILATION_CACHE_DIR or ~/.cache/vision_jax; returns the folder.

    What lies there is executed, so the default folder is the user's alone (mode 700). Where no
    such folder can be made, there is no cache and None is returned.
    """
    given = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    folder = (
        pathlib.Path(given).expanduser() if given else pathlib.Path.home() / ".cache/vision_jax"
    )
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not given:
            folder.chmod(0o700)
    except OSError:
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    return folder
