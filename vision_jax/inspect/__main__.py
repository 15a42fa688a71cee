"""Looks into a network: a page of what it sees in a picture, and of what it has learnt.

python -m vision_jax.inspect RUN --input PICTURE
python -m vision_jax.inspect torchvision/resnet18-f37072fd --input PICTURE
python -m vision_jax.inspect --config experiments/vgg16.py --weights FILE --input PICTURE

With a run folder or an experiment, any setting is a flag: --config.task.std="(1, 1, 1)".
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from vision_jax.config import CommandLine, UserError, keys, suggest, whole
from vision_jax.system import output


def main(argv: Sequence[str]) -> int:
    """Runs a command line; returns 0, or 2 for bad input."""
    try:
        overrides, others = keys.overrides(argv)
        _inspect(_flags(others), overrides)
    except UserError as error:
        print(f"inspect: {error}", file=sys.stderr)
        return error.code
    return 0


def _flags(argv: Sequence[str]) -> argparse.Namespace:
    parser = CommandLine(
        prog="python -m vision_jax.inspect",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("network", nargs="?", help="a run folder, or a name of the zoo")
    parser.add_argument("--input", metavar="PICTURE", help="an image")
    parser.add_argument("--config", metavar="F.py[:arg]", help="an experiment, with --weights")
    parser.add_argument("--weights", help="as for --config.init.weights")
    parser.add_argument("--output", type=pathlib.Path, help="the page's folder")
    parser.add_argument("--class", dest="label", help="the class to explain: its name or number")
    parser.add_argument("--endpoint", default="", help="the one feature map to look at")
    parser.add_argument("--parts", help="comma-joined; all that fit without it")
    parser.add_argument("--steps", type=whole(1), default=100, help="of images that are made (100)")
    return parser.parse_args(argv)


def _inspect(flags: argparse.Namespace, overrides: dict[str, str]) -> None:
    # The rest takes seconds to import, a mistake in the flags none.
    from vision_jax.report.network_page import write_network_page
    from vision_jax.report.network_parts import PARTS, Settings
    from vision_jax.show.network import Named, label_of, subject_of
    from vision_jax.system import disk

    parts = tuple(PARTS) if flags.parts is None else tuple(flags.parts.split(","))
    for name in parts:
        if name not in PARTS:
            raise UserError(f"--parts {name!r}{suggest(name, PARTS)}")
    named = Named(flags.network, flags.config, flags.weights, overrides, flags.input)
    subject, folder = subject_of(named)
    folder = flags.output or folder
    settings = Settings(flags.endpoint, flags.steps)
    settings.check(subject)
    label = label_of(flags.label, subject)
    with disk.used(folder):
        print(f"page: {write_network_page(folder, subject, settings, parts, label)}")


if __name__ == "__main__":
    output.outlive_reader()
    sys.exit(main(sys.argv[1:]))
