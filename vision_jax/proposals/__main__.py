"""Proposes boxes for every image of a data set, into a file that `data.WithProposals` reads:

    python -m vision_jax.proposals METHOD SOURCE --out F.npz [--workers N]

    python -m vision_jax.proposals selective_search_fast voc:VOC2007,trainval --out ss.npz

METHOD is one of those that --help lists. SOURCE is KIND:…, as the doctor takes it. Interrupted, the
same command goes on where it was: what is done lies in F.npz.parts until all is there.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from vision_jax import proposals
from vision_jax.config import CommandLine, UserError, whole
from vision_jax.system import output


def main(argv: Sequence[str]) -> int:
    """Runs a command line; returns 0, 2 for bad input, or 130 where it was interrupted."""
    try:
        flags = _parser().parse_args(argv)
        # The rest takes seconds to import, a mistake in the flags none.
        from vision_jax.show.proposals import Order, write

        print(write(Order(**vars(flags))))
    except UserError as error:
        print(f"proposals: {error}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print("proposals: interrupted; the same command goes on", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandLine(
        prog="python -m vision_jax.proposals",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="methods: " + ", ".join(proposals.METHODS),
    )
    parser.add_argument("method", metavar="METHOD")
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("--out", metavar="F.npz", type=pathlib.Path, required=True)
    parser.add_argument("--workers", metavar="N", type=whole(0), default=0, help="more processes")
    parser.add_argument("--most", metavar="N", type=whole(1), default=2000, help="boxes per image")
    parser.add_argument("--seed", metavar="N", type=whole(0), default=0)
    parser.add_argument(
        "--fit", metavar="SOURCE", help="the boxes that uniform, gaussian and bing take after"
    )
    parser.add_argument(
        "--weights", metavar="FOLDER", type=pathlib.Path, help="bing's published weights"
    )
    return parser


if __name__ == "__main__":
    output.outlive_reader()
    sys.exit(main(sys.argv[1:]))
