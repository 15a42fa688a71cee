"""Runs an experiment: `python launch.py --config experiments/quickstart.py`.

Flags only; `vision_jax.run` does the work. Any setting of the config can be given as
`--config.a.b=value` (`--config.a[0].b` for an item of a tuple). `--list` names the experiments, and
`--config experiments/quickstart.py --keys` all settings of one, with their values.
"""

if __name__ == "__main__":  # before anything that takes time is imported
    from vision_jax.system import large_pages, output, signals

    signals.hold()
    large_pages.restart_with_large_pages()
    signals.end_at_once("launch.py")
    output.outlive_reader()

import argparse
import os
import pathlib
import sys

from ml_collections import ConfigDict

from vision_jax import config as config_lib
from vision_jax.config import CommandLine, UserError, keys, number, whole
from vision_jax.system import disk, job_array

MODES = ("train", "evaluate", "predict", "inspect", "summary", "explain")


class _Flags(CommandLine):
    """Flags, beside settings of a config."""

    def unexpected(self, argument: str, flags: argparse.Namespace) -> str:
        name, equals, value = argument.lstrip("-").partition("=")
        if not equals or flags.config is None:
            return super().unexpected(argument, flags)
        near = keys.nearest(config_lib.load(flags.config), name)
        hint = f" - did you mean --config.{near}={value} ?" if near else None
        return f"unexpected argument {argument!r}{hint or '; settings are --config.A.B='}"


def parse(argv: list[str]) -> tuple[argparse.Namespace, dict[str, str]]:
    """Reads the flags, and the overrides `--config.a.b=value` as {path: text}."""
    parser = _Flags(
        prog="launch.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", metavar="F.py[:arg]", help="experiment file; the modes that look do without"
    )
    parser.add_argument("--list", action="store_true", help="print the experiments, a line each")
    parser.add_argument("--keys", action="store_true", help="print the config's settings as flags")
    parser.add_argument("--workdir", help="run folder (default: runs/NAME of the experiment)")
    parser.add_argument("--mode", default="train", help=" | ".join(MODES))
    parser.add_argument(
        "--input",
        help="predict: an image, a video or a folder of them; explain: COCO's results.json; "
        "summary: the network's input, such as 224x224x3",
    )
    parser.add_argument("--output", help="the looking modes: folder of what they write")
    parser.add_argument("--threshold", type=number, help="predict: the least score of an answer")
    parser.add_argument("--upright", action="store_true", help="predict: turn by the EXIF tag")
    parser.add_argument("--results", action="store_true", help="predict: COCO's results.json too")
    parser.add_argument("--sweep", action="store_true", help="all runs of the file's sweep(add)")
    parser.add_argument(
        "--sweep_index",
        type=sweep_index,
        metavar="I",
        help="one run of the sweep; 'array': the one with this job's number in its array",
    )
    parser.add_argument("--sweep_list", action="store_true", help="print the sweep's runs")
    parser.add_argument(
        "--distributed", action="store_true", help="several processes, as the cluster started them"
    )
    parser.add_argument("--coordinator", metavar="HOST:PORT", help="several processes: the first")
    parser.add_argument("--num_processes", type=whole(1), help="several processes: how many")
    parser.add_argument("--process_id", type=whole(0), help="several processes: which one this is")
    overrides, rest = keys.overrides(argv)
    flags = parser.parse_args(rest)
    if flags.mode not in MODES:
        raise UserError(f"--mode {flags.mode!r}{config_lib.suggest(flags.mode, MODES)}")
    return flags, overrides


def sweep_index(text: str) -> int:
    """Reads the number of a run of a sweep, or 'array', as the `type` of a flag."""
    return job_array.index(os.environ) if text == "array" else whole(0)(text)


def listing() -> list[str]:
    """Returns a line for each experiment: its path, and the first line of its lab record."""
    here = pathlib.Path(__file__).parent
    files = [*(here / "experiments").glob("*.py"), *(here / "experiments" / "sweeps").glob("*.py")]
    titles = {
        file.relative_to(here).as_posix(): config_lib.read_lab_record(file).title
        for file in sorted(files, key=lambda file: (len(file.parts), file.name))
        if file.name != "__init__.py"
    }
    width = max(map(len, titles), default=0)
    return [f"{path.ljust(width)}  {title}" for path, title in titles.items()]


def settings(config: ConfigDict) -> list[str]:
    """Returns a line for each setting of a config, as the flag that sets it to its value."""
    return [f"--config.{path}={config_lib.brief(value)}" for path, value in keys.leaves(config)]


def _config(flags: argparse.Namespace) -> ConfigDict:
    """Reads the experiment file, or, for a mode that looks, the config in the run folder."""
    if flags.config is not None:
        return config_lib.load(flags.config)
    sweeps = flags.sweep or flags.sweep_list or flags.sweep_index is not None
    if flags.mode == "train" or sweeps or flags.workdir is None:
        alone = "" if sweeps else "; --mode predict, evaluate … take --workdir RUN in its place"
        raise UserError(f"--config EXPERIMENT.py is missing{alone}")
    from vision_jax.training import signature

    return signature.read_config(pathlib.Path(flags.workdir))


def dispatch(flags: argparse.Namespace, config: ConfigDict, overrides: dict[str, str]) -> int:
    """Does what the flags ask for; returns the exit code."""
    from vision_jax import run, show, sweep
    from vision_jax.training import environment, folder, multiprocess

    environment.enable_cache()
    if config.deterministic:
        environment.require_determinism()
    workdir = pathlib.Path(flags.workdir or pathlib.Path("runs") / folder.name(flags.config))
    if flags.sweep or flags.sweep_list or flags.sweep_index is not None:
        return sweep.launch(flags, overrides, workdir, pathlib.Path(__file__))
    trains = flags.mode == "train"
    join = (flags.coordinator, flags.num_processes, flags.process_id)
    multiprocess.initialize(*join, interruptible=trains, detect=flags.distributed)
    with disk.used(workdir):
        if trains:
            run.train(config, workdir)
        else:
            output = flags.output and pathlib.Path(flags.output)
            asked = show.Asked(flags.input, output, flags.threshold, flags.upright, flags.results)
            show.MODES[flags.mode](config, workdir, asked)
    return 0


def main(argv: list[str]) -> int:
    """Runs a command line; returns 0, 2 for bad input, 3 for a loss that is not finite."""
    try:
        flags, overrides = parse(argv)
        if flags.list:
            print("\n".join(listing()))
            return 0
        # The experiment file is read before JAX starts, so that a typo is answered at once.
        config = _config(flags)
        from vision_jax.training.flags import apply

        apply(config, overrides)
        if flags.keys:
            print("\n".join(settings(config)))
            return 0
        return dispatch(flags, config, overrides)
    except UserError as error:
        print(f"launch.py: {error}", file=sys.stderr)
        return error.code


if __name__ == "__main__":
    code = main(sys.argv[1:])
    if code and "jax" in sys.modules:
        from vision_jax.training import multiprocess

        multiprocess.leave(code)  # the others of a run in several processes must not wait
    sys.exit(code)
