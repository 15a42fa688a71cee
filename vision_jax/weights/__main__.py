"""Published weights by name.

python -m vision_jax.weights list [WORD]     the names, with the publishers' numbers
python -m vision_jax.weights show NAME       all that is known of a file
python -m vision_jax.weights fetch NAME …    fetches files into the cache, and prints their paths
python -m vision_jax.weights verify [NAME …] compares files of the cache with the publishers' hashes
python -m vision_jax.weights table           writes docs/zoo.md, the page of all names

The cache is $VISION_JAX_HOME/weights, by default in ~/.cache/vision_jax; VISION_JAX_MIRROR names an
address that is asked instead of the publishers.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vision_jax.config import CommandLine, UserError
from vision_jax.system import disk, output
from vision_jax.weights import by_name, zoo
from vision_jax.weights.zoo.page import page


def main(argv: Sequence[str]) -> int:
    """Runs a command; returns the exit code: 0, 1 if a file is not the publisher's, 2 if bad."""
    try:
        flags = _parser().parse_args(argv)
        match flags.command:
            case "list":
                print("\n".join(_listed(flags.word)))
            case "show":
                print(_shown(zoo.find(flags.name)))
            case "fetch":
                for name in flags.names:
                    print(by_name.resolve(name))
            case "verify":
                return _verify(flags.names)
            case "table":
                with disk.writing(flags.out):
                    flags.out.write_text(page(), encoding="utf-8")
                print(flags.out)
    except UserError as error:
        print(f"python -m vision_jax.weights: {error}", file=sys.stderr)
        return error.code
    except OSError as error:
        print(f"python -m vision_jax.weights: {error}", file=sys.stderr)
        return UserError.code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandLine(
        prog="python -m vision_jax.weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    listing = commands.add_parser("list", help="the names, with the publishers' numbers")
    listing.add_argument("word", metavar="WORD", nargs="?", default="", help="a part of the name")
    show = commands.add_parser("show", help="all that is known of a file")
    show.add_argument("name", metavar="NAME")
    fetch = commands.add_parser("fetch", help="fetches files into the cache")
    fetch.add_argument("names", metavar="NAME", nargs="+")
    verify = commands.add_parser("verify", help="compares files with the publishers' hashes")
    verify.add_argument("names", metavar="NAME", nargs="*", help="by default all in the cache")
    table = commands.add_parser("table", help="writes the page of all names")
    table.add_argument("--out", type=Path, default=Path("docs/zoo.md"))
    return parser


def _listed(word: str) -> list[str]:
    """Returns a line per name that has the word."""
    chosen = [e for name, e in zoo.entries().items() if word.lower() in name.lower()]
    if not chosen:
        raise UserError(f"no name has {word!r} in it{zoo.nearest(word)}")
    width = max(len(entry.name) for entry in chosen)
    return [
        f"{'*' if by_name.cached(entry) else ' '} {entry.name:<{width}}  {entry.metric}".rstrip()
        for entry in chosen
    ] + ["* is in the cache"]


def _shown(entry: zoo.Entry) -> str:
    """Returns all that is known of a row."""
    cached = by_name.cached(entry)
    facts = {
        "from": entry.source,
        "hash": str(entry.digest) if entry.digest else "none is published",
        "size": f"about {entry.megabytes} MB" if entry.megabytes else "",
        "licence of the code": entry.licence,
        "licence of the weights": entry.weights_licence,
        "published": entry.metric,
        "images": str(entry.preprocessing) if entry.preprocessing else "a part of a network",
        "names of": entry.reader,
        "experiment": f"experiments/{entry.experiment}.py" if entry.experiment else "",
        "compared with": entry.golden or "nothing yet",
        "in the cache": str(cached) if cached else "no",
    }
    width = max(len(title) for title in facts)
    lines = [f"{title:<{width}}  {text}" for title, text in facts.items() if text]
    return "\n".join([entry.name, *lines])


def _verify(names: Sequence[str]) -> int:
    """Checks files of the cache; prints a line for each."""
    chosen = [zoo.find(n) for n in names] or [
        e for e in zoo.entries().values() if by_name.cached(e)
    ]
    if not chosen:
        print("the cache is empty")
    code = 0
    for entry in chosen:
        try:
            digest = by_name.verify(entry)
        except UserError as error:
            code = 1
            print(f"{entry.name}: {error}")
        else:
            print(f"{entry.name}: {digest}")
    return code


if __name__ == "__main__":
    output.outlive_reader()
    sys.exit(main(sys.argv[1:]))
