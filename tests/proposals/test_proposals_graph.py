"""Graph segmentation against the plain algorithm, edge by edge."""

import numpy as np
import pytest

from vision_jax.proposals.graph import CONVENTIONS, by_first_pixel, graph_segments, pixel_graph


def plain(image, k, min_size, neighbours, strict):
    """The algorithm as the paper states it, with the edges in the order of `pixel_graph`."""
    kind = image.dtype.type
    height, width = image.shape[:2]
    steps = ((0, 1), (1, 0), (1, 1), (1, -1))[: neighbours // 2]
    edges = []
    for down, right in steps:
        for y in range(height - down):
            for x in range(max(-right, 0), width - max(right, 0)):
                apart = image[y, x] - image[y + down, x + right]
                weight = kind(np.sqrt(kind(np.sum(np.square(apart, dtype=np.float64)))))
                edges.append((weight, y * width + x, (y + down) * width + x + right))
    edges.sort(key=lambda edge: edge[0])
    region = np.arange(height * width)
    limit = np.full(len(region), k, image.dtype)
    for weight, p, q in edges:
        a, b = region[p], region[q]
        least = min(limit[a], limit[b])
        if a != b and (weight < least or (weight == least and not strict)):
            region[region == b] = a
            limit[a] = weight + kind(k) / kind((region == a).sum())
    for _, p, q in edges:
        a, b = region[p], region[q]
        if a != b and min((region == a).sum(), (region == b).sum()) < min_size:
            region[region == b] = a
    return by_first_pixel(region).reshape(height, width)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("kind", ["noise", "flat", "steps", "one color"])
@pytest.mark.parametrize("k", [0.5, 40.0, 1000.0])
def test_as_the_plain_algorithm(convention, kind, k):
    random = np.random.default_rng(3)
    image = {
        "noise": random.uniform(0, 255, (11, 14, 3)),
        "flat": np.kron(random.uniform(0, 255, (3, 4, 3)), np.ones((4, 4, 1))),
        "steps": np.add.outer(np.arange(12.0), np.arange(9.0) ** 2)[..., None],
        "one color": np.full((9, 8, 1), 7.0),
    }[kind]
    rule = CONVENTIONS[convention]
    image = image.astype(np.float64 if rule.double else np.float32)
    for min_size in (1, 6):
        got = pixel_graph(image, 0.0, rule).segments(k, min_size)
        np.testing.assert_array_equal(got, plain(image, k, min_size, rule.neighbours, rule.strict))


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (6, 1), (5, 4, 3)])
def test_small_images(shape):
    got = graph_segments(np.zeros(shape, np.uint8), k=10.0, min_size=3)
    assert got.shape == shape[:2] and got.dtype == np.int32
    np.testing.assert_array_equal(got, 0)


def test_an_unknown_convention_is_an_error():
    with pytest.raises(KeyError, match="matlab"):
        graph_segments(np.zeros((4, 4), np.uint8), convention="matlab")
