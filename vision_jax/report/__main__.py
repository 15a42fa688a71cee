"""Pictures and pages that need no run.

python -m vision_jax.report figures      the lectures' pictures and tables, PNG and Markdown files
python -m vision_jax.report sweeps       docs/sweeps.md, the page of all committed sweeps
python -m vision_jax.report claims       docs/claims.md, all their claims beside the papers' numbers
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from vision_jax.config import CommandLine, UserError
from vision_jax.report.figures import write_figures
from vision_jax.report.folder import write_atomically
from vision_jax.report.sweep_file import stored_sweeps
from vision_jax.report.sweep_page import claim_page, sweep_page, write_tables
from vision_jax.system import disk, output


def main(argv: Sequence[str]) -> int:
    """Runs a command; returns the exit code: 0, or 2 for bad input."""
    parser = CommandLine(
        prog="python -m vision_jax.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    figures = commands.add_parser(
        "figures", help="the lectures' pictures and tables, PNG and Markdown files"
    )
    figures.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/figures"))
    for name, help_text in (
        ("sweeps", "the page of all committed results of sweeps; decides their claims anew"),
        ("claims", "the page of all claims, beside the papers' numbers"),
    ):
        page = commands.add_parser(name, help=help_text)
        page.add_argument("--sweeps", type=pathlib.Path, default=pathlib.Path("experiments/sweeps"))
        page.add_argument("--out", type=pathlib.Path, default=pathlib.Path(f"docs/{name}.md"))
    try:
        flags = parser.parse_args(argv)
        with disk.used(flags.out):
            if flags.command == "figures":
                written = write_figures(flags.out)
            else:
                stored = stored_sweeps(flags.sweeps)
                written = write_tables(stored) if flags.command == "sweeps" else []
                make = sweep_page if flags.command == "sweeps" else claim_page
                write_atomically(flags.out, make(stored, flags.out.parent).encode())
                written.append(flags.out)
    except UserError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return error.code
    for path in written:
        print(path)
    return 0


if __name__ == "__main__":
    output.outlive_reader()
    sys.exit(main(sys.argv[1:]))
