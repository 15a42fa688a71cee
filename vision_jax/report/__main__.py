"""`python -m vision_jax.report figures`: pictures that need no run."""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from vision_jax.report.figures import write_figures


def main(argv: Sequence[str]) -> int:
    """Runs a command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m vision_jax.report", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    figures = commands.add_parser("figures", help="the lectures' grids of upsampling, as PNG files")
    figures.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/figures"))
    given = parser.parse_args(argv)
    for path in write_figures(given.out):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
