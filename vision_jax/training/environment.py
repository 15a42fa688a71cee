"""Settings that JAX reads before it starts its devices: compilation cache, repeatable kernels."""

import os
import pathlib
import warnings

import jax


def enable_cache() -> pathlib.Path | None:
    """Keeps compiled programs, so that a run's second start does not compile again.

    The folder is $JAX_COMPILATION_CACHE_DIR or ~/.cache/vision_jax, which is returned. What lies
    there is executed, so the default one is the user's alone (mode 700). Where no such folder can
    be made, there is no cache and None is returned; where its disk is full, programs are compiled
    again each time.
    """
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    folder = pathlib.Path(chosen or "~/.cache/vision_jax").expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not chosen:
            folder.chmod(0o700)
    except OSError:
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # JAX would tell of a full disk at each program, in lines of its own source.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    # A start needs some twenty small programs, of 0.1 to 0.3 s each.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    return folder


def require_determinism() -> None:
    """Makes XLA choose repeatable kernels on GPUs, where sums otherwise run in any order.

    The CPU and TPU are repeatable by themselves. Has no effect once JAX has started its devices.
    """
    flag = "--xla_gpu_deterministic_ops=true"
    flags = os.environ.get("XLA_FLAGS", "")
    if flag not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {flag}".strip()
