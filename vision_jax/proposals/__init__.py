"""Proposes boxes that may hold objects, on the host: selective search, its parts, and baselines.

A method is called with an RGB image, uint8, and a seed, and returns boxes (n, 4) xyxy in pixels,
with exclusive ends, the best first. `python -m vision_jax.proposals` writes those of a data
set into a file, which `data.WithProposals` reads.
"""

from collections.abc import Callable

import numpy as np

from vision_jax.proposals.baselines import (
    Gaussian,
    SlidingWindow,
    Superpixels,
    Uniform,
    described,
)
from vision_jax.proposals.graph import graph_segments
from vision_jax.proposals.selective_search import PRESETS, SelectiveSearch

Method = Callable[[np.ndarray, int], np.ndarray]

METHODS: dict[str, Method] = {
    **{f"selective_search_{name}": method for name, method in PRESETS.items()},
    "uniform": Uniform(),
    "gaussian": Gaussian(),
    "sliding_window": SlidingWindow(),
    "superpixels": Superpixels(),
}

__all__ = [
    "METHODS",
    "PRESETS",
    "Gaussian",
    "Method",
    "SelectiveSearch",
    "SlidingWindow",
    "Superpixels",
    "Uniform",
    "described",
    "graph_segments",
]
