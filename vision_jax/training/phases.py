"""Says what a run is doing in its long phases before, between and after the steps."""

import sys

import jax


def tell(text: str) -> None:
    """Prints a line at once, in the first of several processes only.

    On a terminal it takes the place of the live line of progress, which comes again by itself.
    """
    if jax.process_index() == 0:
        print(("\r\x1b[2K" if sys.stdout.isatty() else "") + text, flush=True)
