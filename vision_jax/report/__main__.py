"""Pictures and pages that need no run.

python -m vision_jax.report figures      the lectures' grids of upsampling, as PNG files
python -m vision_jax.report sweeps       docs/sweeps.md, the page of all committed sweeps
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from vision_jax.config import UserError
from vision_jax.report.figures import write_figures
from vision_jax.report.folder import write_atomically
from vision_jax.report.sweep_page import sweep_page
from vision_jax.system import disk


def main(argv: Sequence[str]) -> int:
    """Runs a command; returns the exit code: 0, or 2 for bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m vision_jax.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    figures = commands.add_parser("figures", help="the lectures' grids of upsampling, as PNG files")
    figures.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/figures"))
    sweeps = commands.add_parser("sweeps", help="the page of all committed results of sweeps")
    sweeps.add_argument("--sweeps", type=pathlib.Path, default=pathlib.Path("experiments/sweeps"))
    sweeps.add_argument("--out", type=pathlib.Path, default=pathlib.Path("docs/sweeps.md"))
    flags = parser.parse_args(argv)
    try:
        with disk.used(flags.out):
            if flags.command == "figures":
                written = write_figures(flags.out)
            else:
                written = [flags.out]
                write_atomically(flags.out, sweep_page(flags.sweeps, flags.out.parent).encode())
    except UserError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return error.code
    for path in written:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
