"""Records the sine encoding of the map that DETR's golden files have, as torch computes it.

    python golden_positions.py OUT/positions.npz

The formula is that of models/position_encoding.py of github.com/facebookresearch/detr, which stays
in float32 whatever the network computes in; transformers' follows the network. Sines of float32
differ by a last bit from library to library: with torch's the rest can be compared in float64.
"""

import math
import sys

import numpy as np
import torch

FEATURES = 128


def positions(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Encodes a mask (b, h, w), True on content: (b, h, w, 2 · FEATURES)."""
    y, x = (mask.cumsum(axis, dtype=dtype) for axis in (1, 2))
    y = y / (y[:, -1:] + 1e-6) * (2 * math.pi)
    x = x / (x[:, :, -1:] + 1e-6) * (2 * math.pi)
    channel = torch.arange(FEATURES, dtype=dtype)
    wave = 10000 ** (2 * torch.div(channel, 2, rounding_mode="floor") / FEATURES)
    halves = []
    for place in (y, x):
        angle = place[..., None] / wave
        pairs = torch.stack((angle[..., 0::2].sin(), angle[..., 1::2].cos()), dim=4)
        halves.append(pairs.flatten(3))
    return torch.cat(halves, dim=3)


def main(path: str) -> None:
    """Records the map of 5×6 places, all of the first image's and 4×5 of the second's content."""
    mask = torch.ones(2, 5, 6, dtype=torch.bool)
    mask[1, 4:], mask[1, :, 5:] = False, False
    both = {
        str(t).split(".")[1]: positions(mask, t).numpy() for t in (torch.float32, torch.float64)
    }
    np.savez_compressed(path, mask=mask.numpy(), **both)


if __name__ == "__main__":
    main(sys.argv[1])
