"""Exports a trained network, and runs what was exported.

python -m vision_jax.export RUN --out model.stablehlo [--batch 8] [--size 480x640]
python -m vision_jax.export RUN --format onnx --out model.onnx
python -m vision_jax.export --config experiments/resnet50.py --weights FILE --out model.stablehlo
python -m vision_jax.export run model.stablehlo [PICTURES] [--output FOLDER] [--time N]
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from ml_collections import ConfigDict

from vision_jax.config import CommandLine, UserError, load, number, override, whole
from vision_jax.system import output


def main(argv: Sequence[str]) -> int:
    """Runs a command line; returns 0, or 2 for bad input."""
    try:
        if list(argv[:1]) == ["run"]:
            _run(_run_flags(argv[1:]))
        else:
            _export(_export_flags(argv))
    except UserError as error:
        print(f"export: {error}", file=sys.stderr)
        return error.code
    return 0


def _export_flags(argv: Sequence[str]) -> argparse.Namespace:
    parser = CommandLine(
        prog="python -m vision_jax.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", nargs="?", help="a run folder, or a name of the zoo")
    parser.add_argument("--config", metavar="F.py[:arg]", help="an experiment, with --weights")
    parser.add_argument("--weights", help="as for --config.init.weights")
    parser.add_argument("--out", type=pathlib.Path, help="default: model.FORMAT")
    parser.add_argument("--format", default="stablehlo", choices=["stablehlo", "onnx"])
    parser.add_argument("--batch", help="images per call; b is any number (default; ONNX has 1)")
    parser.add_argument("--size", help="height and width of the input, such as 480x640")
    parser.add_argument("--platforms", help="of StableHLO, comma-joined (default cpu,cuda,tpu)")
    return parser.parse_args(argv)


def _run_flags(argv: Sequence[str]) -> argparse.Namespace:
    parser = CommandLine(prog="python -m vision_jax.export run")
    parser.add_argument("program", type=pathlib.Path, help="an exported program")
    parser.add_argument("pictures", nargs="?", help="an image, a video, or a folder of them")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("predictions"))
    parser.add_argument("--threshold", type=number, help="the least score of an answer")
    parser.add_argument("--upright", action="store_true", help="turn pictures by their EXIF tag")
    parser.add_argument("--time", type=whole(1), metavar="N", help="measure N calls on zeros")
    return parser.parse_args(argv)


def _export(flags: argparse.Namespace) -> None:
    # Running an exported program imports none of these.
    from vision_jax.export import onnx_program
    from vision_jax.export.program import export
    from vision_jax.export.runner import summary
    from vision_jax.show.trained import run_of, tell

    out = flags.out or pathlib.Path(f"model.{flags.format}")
    is_onnx = flags.format == "onnx"
    if is_onnx:
        onnx_program.check_installed()
        if flags.platforms:
            raise UserError("--platforms is StableHLO's; an ONNX model runs where its runtime does")
        if flags.batch == "b":
            raise UserError(
                "--batch b is StableHLO's: jax2onnx makes sizes of the number of images; name one, "
                "such as --batch 8"
            )
    config, workdir = _named(flags)
    run = run_of(config, workdir)
    tell(run.lines)
    batch, size = _batch(flags.batch or "b"), _size(flags.size)
    if is_onnx:
        artifact = onnx_program.export(run, batch or 1, size)
    else:
        artifact = export(run, batch, size, (flags.platforms or "cpu,cuda,tpu").split(","))
    artifact.save(out)
    print(f"written: {summary(out, artifact)}")


def _named(flags: argparse.Namespace) -> tuple[ConfigDict, pathlib.Path]:
    """Returns the config that the flags name, and a run folder, which may not be there.

    Raises:
      UserError: no run folder, no name of the zoo, or one that no experiment trains.
    """
    from vision_jax.show.trained import last_stage
    from vision_jax.training import signature
    from vision_jax.weights import use_published, zoo

    if (flags.run is None) == (flags.config is None):
        raise UserError(
            "name a run folder or a network of the zoo, or --config EXPERIMENT.py with --weights"
        )
    workdir = pathlib.Path(flags.run or "no run folder")
    if flags.run in zoo.entries():
        entry = zoo.find(flags.run)
        if not entry.experiment:
            raise UserError(f"{entry.name}: no experiment says how its answers are made; --config")
        spec = f"experiments/{entry.experiment}.py"
        if not pathlib.Path(spec).is_file():
            raise UserError(
                f"{entry.name}: {spec} says how its answers are made; work in the checkout, which "
                "has it, or name it by --config, with --weights"
            )
        config, _ = last_stage(load(spec), workdir)
        use_published(config, entry.name)
        return config, workdir
    config = load(flags.config) if flags.config else signature.read_config(workdir)
    if flags.weights is not None:
        override(config, "init.weights", flags.weights)
    return config, workdir


def _run(flags: argparse.Namespace) -> None:
    from vision_jax.data import pictures
    from vision_jax.export.artifact import load as load_program
    from vision_jax.export.runner import Runner, summary
    from vision_jax.report.prediction import predict_all

    if flags.pictures is None and flags.time is None:
        raise UserError("name PICTURES, or --time N")
    artifact = load_program(flags.program)
    runner = Runner(artifact)
    print(summary(flags.program, artifact))
    if flags.time is not None:
        seconds = sorted(runner.seconds(flags.time))
        middle, fastest = seconds[len(seconds) // 2], seconds[0]
        print(
            f"{1000 * middle:.2f} ms a call (median of {flags.time}; fastest {1000 * fastest:.2f})"
        )
    if flags.pictures is not None:
        predict_all(
            lambda image: runner.answer(image, flags.threshold),
            pictures.find(flags.pictures, flags.output),
            flags.output,
            runner.channels,
            turned=flags.upright,
            origin=artifact.description.weights,
        )


def _batch(text: str) -> int | None:
    if text == "b":
        return None
    if not text.isdigit() or int(text) < 1:
        raise UserError(f"--batch {text!r}: write b for any number, or a number such as 8")
    return int(text)


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise UserError(f"--size {text!r}: write height and width, such as 480x640")
    return int(height), int(width)


if __name__ == "__main__":
    output.outlive_reader()
    sys.exit(main(sys.argv[1:]))
