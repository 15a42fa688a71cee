"""Looks for what is wrong in annotated images, before training does:

    python -m vision_jax.data.doctor SOURCE [SOURCE ...] [--decode]

SOURCE is one of
    experiments/x.py[:ARG]                            the config's training and validation sources
    tfds:NAME,SPLIT[,data_dir=D]                      a prepared data set
    coco:ANNOTATIONS.json,IMAGES                      COCO's format, and the images' folder
    voc:FOLDER[,SPLIT]                                a folder in VOC's format
    csv:FILE.csv,IMAGES,FORMAT[,relative=true]        one object a row

Several sources are also compared: the same classes in the same order, and no image in two of them.
Exit code: 0 nothing serious, 1 something serious, 2 the command is wrong.
"""

import argparse
import dataclasses
import sys
from typing import Any

from vision_jax import config
from vision_jax.config import UserError, suggest
from vision_jax.data.examination import Finding, compare, examine
from vision_jax.data.folders import CocoFolder, VocFolder
from vision_jax.data.sources import TFDS
from vision_jax.data.tables import Csv

_KINDS = {"tfds": TFDS, "coco": CocoFolder, "voc": VocFolder, "csv": Csv}
_SHOWN = 4  # file names per finding


def open_sources(text: str) -> list[tuple[str, Any]]:
    """The sources that an argument of the command line names, each with its title.

    Raises:
      UserError: an unknown kind or setting, or what the source itself finds wrong.
    """
    kind, _, rest = text.partition(":")
    if kind.endswith(".py"):
        return _of_experiment(text)
    if kind not in _KINDS:
        raise UserError(f"source {text!r}: unknown kind {kind!r}{suggest(kind, _KINDS)}")
    fields = {f.name: f for f in dataclasses.fields(_KINDS[kind]) if f.type not in (tuple, int)}
    order, settings = list(fields), {}
    for number, item in enumerate(rest.split(",") if rest else ()):
        key, equals, value = item.partition("=")
        if not equals:
            if number >= len(order):
                raise UserError(f"source {text!r}: too many items")
            key, value = order[number], item
        if key not in fields:
            raise UserError(f"source {text!r}: no setting {key!r}{suggest(key, fields)}")
        settings[key] = value.lower() == "true" if fields[key].type is bool else value
    needed = [n for n, f in fields.items() if f.default is dataclasses.MISSING]
    missing = [name for name in needed if name not in settings]
    if missing:
        raise UserError(f"source {text!r}: {', '.join(missing)} is missing")
    return [(text, _with_objects(kind, settings))]


def report(findings: list[Finding]) -> str:
    """A table, the serious first."""
    if not findings:
        return "nothing found"
    rows = [("", "what", "count", "source", "for example")]
    for finding in sorted(findings, key=lambda f: not f.serious):
        shown = finding.examples[:_SHOWN]
        mark = "SERIOUS" if finding.serious else "note"
        rows.append((mark, finding.what, str(finding.count), finding.where, shown[0]))
        rows += [("", "", "", "", example) for example in shown[1:]]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = []
    for row in rows:
        start = "  ".join(text.ljust(width) for text, width in zip(row[:4], widths, strict=True))
        lines.append(f"{start}  {row[4]}".rstrip())
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m vision_jax.data.doctor",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sources", metavar="SOURCE", nargs="+")
    parser.add_argument("--decode", action="store_true", help="decode every image, not its header")
    chosen = parser.parse_args(arguments)
    try:
        opened = [pair for text in chosen.sources for pair in open_sources(text)]
        examined = [
            examine(str(number), source, chosen.decode)
            for number, (_, source) in enumerate(opened, start=1)
        ]
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    findings = [finding for each in examined for finding in each.findings] + compare(examined)
    for each, (title, _) in zip(examined, opened, strict=True):
        counts = f"{each.images} images, {each.objects} objects, {len(each.classes)} classes"
        print(f"source {each.title}: {title}: {counts}")
    print(report(findings))
    serious = sum(finding.serious for finding in findings)
    print(f"{serious} serious, {len(findings) - serious} to note")
    return 1 if serious else 0


def _of_experiment(text: str) -> list[tuple[str, Any]]:
    tree = config.load(text)
    pairs = []
    for part in ("train", "eval"):
        if tree.get(part) is not None:
            pairs.append((f"{text} {part}", config.build(tree[part].source)))
    if not pairs:
        raise UserError(f"source {text!r}: the experiment has neither train nor eval")
    return pairs


def _with_objects(kind: str, settings: dict) -> Any:
    """The source; of a TFDS data set, its objects where it has any, else its labels."""
    if kind != "tfds":
        return _KINDS[kind](**settings)
    try:
        return TFDS(**settings, fields=("objects",))
    except UserError as error:
        if "has no 'objects/" not in str(error):
            raise
        return TFDS(**settings)


if __name__ == "__main__":
    sys.exit(main())
