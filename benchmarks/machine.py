"""What was measured on what."""

import importlib.metadata
import os
import pathlib
import platform
import re
import subprocess

PACKAGES = (
    *("jax", "jaxlib", "flax", "numpy", "grain", "pycocotools", "onednn-cpu-gomp"),
    *("jax-cuda12-plugin", "jax-cuda13-plugin"),
    *("torch", "torchvision", "tensorflow-cpu", "tensorflow"),
)

# Of what a machine is described by, that which may change while it stays the same machine.
VERSIONS = ("system", "python", "packages")


def describe() -> dict[str, object]:
    """Processor, cores that may be used, accelerator (None without), memory, packages.

    The accelerator is the GPU's name, after '8× ' where there are eight.
    """
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "accelerator": _accelerator(gpus()),
        "memory_GB": round(memory / 1e9),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": packages,
    }


def hardware(described: dict[str, object]) -> dict[str, object]:
    """Returns a description without versions."""
    return {key: value for key, value in described.items() if key not in VERSIONS}


def name(described: dict[str, object]) -> str:
    """A file name for the machine: 'intel-xeon-platinum-8481c-2-cores'."""
    words = [str(described["accelerator"] or described["processor"]), f"{described['cores']} cores"]
    text = re.sub(r"\((r|tm)\)|\bcpu\b|@.*?ghz", " ", " ".join(words).lower())
    return re.sub(r"[^a-z0-9]+", "-", text).strip("-")


def gpus() -> tuple[str, ...]:
    """Names of the machine's NVIDIA GPUs; asked without JAX, which would take their memory."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in found.stdout.splitlines() if line.strip())


def _processor() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"model name\s*:\s*(.+)", info.read_text())
        if found:
            return found.group(1).strip()
    return platform.processor() or platform.machine()


def _accelerator(found: tuple[str, ...]) -> str | None:
    if len(found) < 2:
        return found[0] if found else None
    return f"{len(found)}× {found[0]}"
