"""Timing of input pipelines, which work ahead."""

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

# More than any pipeline here has ready, so that a round starts with as little ready as it ends.
_DRAINED = 8


def time_batches(
    batches: Iterator[Any], count: int, consume: Callable[[Any], None]
) -> dict[str, float]:
    """Wall and processor seconds for `count` batches, those that were made ahead not counted."""
    for batch in itertools.islice(batches, _DRAINED):
        consume(batch)
    wall, cpu = time.perf_counter(), time.process_time()
    for batch in itertools.islice(batches, count):
        consume(batch)
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
