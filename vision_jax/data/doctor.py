"""Tells what annotated images hold, and looks for defects before training finds them:

    python -m vision_jax.data.doctor SOURCE [SOURCE ...] [--decode] [--size 416]

SOURCE is one of
    experiments/x.py[:ARG]                      the config's training and validation sources
    tfds:NAME,SPLIT[,data_dir=D]                a prepared data set
    coco:ANNOTATIONS.json,IMAGES                COCO's format, and the images' folder
    voc:FOLDER[,SPLIT]                          a folder in VOC's format
    csv:FILE.csv,IMAGES,FORMAT[,relative=true]  one object a row; columns=path;what;l;t;r;b
    folder:FOLDER                               a folder of images for each class
    masks:IMAGES,MASKS,NAMES                    images, and a mask for each; NAMES is sky;road;…
    yolo:DATA.yaml[,SPLIT]                      what YOLO's tools read
    labelme:FOLDER                              labelme's JSON files

Further settings follow as key=value, lists joined by semicolons. A path that exists may hold commas
and equals signs; anything may in double quotes: 'coco:"a,b.json","photos=1"'.

Of each source it prints images, classes, boxes (as a network sees them whose input is a square of
`--size` pixels that images are fitted into), masks, keypoints, and priors by k-means.

Several sources are also compared: the same classes in the same order, and no image in two of them.
Exit code: 0 nothing serious, 1 something serious, 2 the command is wrong.
"""

import argparse
import sys

from vision_jax import config
from vision_jax.config import UserError
from vision_jax.data import by_text
from vision_jax.data.folders import ObjectFolder
from vision_jax.data.source_checks import Finding, check, compare
from vision_jax.data.source_table import table
from vision_jax.data.sources import Source
from vision_jax.system import output

_SHOWN = 4  # file names per finding
Opened = tuple[str, Source, int]  # a source's title, the source, and its pipeline's max_boxes
_MAX_BOXES = 100  # what pipelines take where they are not told otherwise


def open_sources(text: str) -> list[Opened]:
    """Opens the sources that an argument of the command line names, with all that they have.

    Raises:
      UserError: an unknown kind or setting, or a defect that the source itself reports.
    """
    if text.partition(":")[0].endswith(".py"):
        return _experiment_sources(text)
    source = by_text.source_from_text(text)
    if isinstance(source, ObjectFolder) and "fields" not in by_text.parse(text)[1]:
        source = by_text.source_from_text(text, fields=source.annotated_fields)
    return [(text, source, _MAX_BOXES)]


def report(findings: list[Finding]) -> str:
    """Formats findings as a table, the serious ones first."""
    if not findings:
        return "nothing found"
    rows = [("", "what", "count", "source", "for example")]
    for finding in sorted(findings, key=lambda f: not f.serious):
        shown = finding.examples[:_SHOWN]
        mark = "SERIOUS" if finding.serious else "note"
        rows.append((mark, finding.defect, str(finding.count), finding.where, shown[0]))
        rows += [("", "", "", "", example) for example in shown[1:]]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = []
    for row in rows:
        start = "  ".join(text.ljust(width) for text, width in zip(row[:4], widths, strict=True))
        lines.append(f"{start}  {row[4]}".rstrip())
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = config.CommandLine(
        prog="python -m vision_jax.data.doctor",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sources", metavar="SOURCE", nargs="+")
    parser.add_argument("--decode", action="store_true", help="decode every image, not its header")
    parser.add_argument(
        "--size",
        type=config.whole(1),
        default=416,
        help="input's side that boxes are told in (default: 416)",
    )
    try:
        chosen = parser.parse_args(arguments)
        opened = [each for text in chosen.sources for each in open_sources(text)]
        checked = [
            check(str(number), source, chosen.decode, max_boxes)
            for number, (_, source, max_boxes) in enumerate(opened, start=1)
        ]
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    findings = [finding for each in checked for finding in each.findings] + compare(checked)
    for each, (title, *_) in zip(checked, opened, strict=True):
        counts = f"{each.images} images, {each.objects} objects, {len(each.classes)} classes"
        print(f"source {each.title}: {title}: {counts}")
        for line in table(each, chosen.size):
            print(f"    {line}")
    print(report(findings))
    serious = sum(finding.serious for finding in findings)
    print(f"{serious} serious, {len(findings) - serious} to note")
    return 1 if serious else 0


def _experiment_sources(text: str) -> list[Opened]:
    """Opens an experiment's training and validation sources."""
    tree = config.load(text)
    opened = []
    for part in ("train", "eval"):
        if tree.get(part) is not None:
            source = config.build(tree[part].source)
            opened.append((f"{text} {part}", source, tree[part].get("max_boxes", _MAX_BOXES)))
    if not opened:
        raise UserError(f"source {text!r}: the experiment has neither train nor eval")
    return opened


if __name__ == "__main__":
    output.outlive_reader()
    sys.exit(main())
