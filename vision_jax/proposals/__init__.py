"""Proposes boxes that may hold objects, on the host: by regions, by scored windows, and by chance.

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
from vision_jax.proposals.bing import Bing
from vision_jax.proposals.bing_training import learned_bing
from vision_jax.proposals.edge_boxes import EdgeBoxes
from vision_jax.proposals.graph import graph_segments
from vision_jax.proposals.objectness import SuperpixelStraddling
from vision_jax.proposals.selective_search import PRESETS, SelectiveSearch

Method = Callable[[np.ndarray, int], np.ndarray]

METHODS: dict[str, Method] = {
    **{f"selective_search_{name}": method for name, method in PRESETS.items()},
    "edge_boxes": EdgeBoxes(),
    "edge_boxes_small": EdgeBoxes(min_area=100.0),  # for images of 150 pixels or less
    "bing": Bing(),
    "objectness": SuperpixelStraddling(),
    "uniform": Uniform(),
    "gaussian": Gaussian(),
    "sliding_window": SlidingWindow(),
    "superpixels": Superpixels(),
}

__all__ = [
    "METHODS",
    "PRESETS",
    "Bing",
    "EdgeBoxes",
    "Gaussian",
    "Method",
    "SelectiveSearch",
    "SlidingWindow",
    "SuperpixelStraddling",
    "Superpixels",
    "Uniform",
    "described",
    "graph_segments",
    "learned_bing",
]
