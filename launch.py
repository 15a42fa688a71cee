"""Runs an experiment: `python launch.py --config experiments/quickstart.py`.

Flags only; `vision_jax.run` does the work. Any setting of the config can be given as
`--config.a.b=value` (`--config.a[0].b` for an item of a tuple).
"""

import argparse
import pathlib
import sys

from ml_collections import ConfigDict

from vision_jax import config as config_lib
from vision_jax import large_pages
from vision_jax.config import UserError

MODES = ("train", "evaluate", "predict", "inspect", "summary", "explain")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise UserError(f"{message} (see --help)")


def parse(argv: list[str]) -> tuple[argparse.Namespace, dict[str, str]]:
    """Reads the flags, and the overrides `--config.a.b=value` as {path: text}."""
    parser = _Parser(
        prog="launch.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, metavar="F.py[:arg]", help="experiment file")
    parser.add_argument("--workdir", help="run folder (default: runs/NAME of the experiment)")
    parser.add_argument("--mode", default="train", help=" | ".join(MODES))
    parser.add_argument(
        "--input", help="predict: an image or a folder of images; explain: COCO's results.json"
    )
    parser.add_argument("--sweep", action="store_true", help="all runs of the file's sweep(add)")
    parser.add_argument("--sweep_index", type=int, metavar="I", help="one run of the sweep")
    parser.add_argument("--sweep_list", action="store_true", help="print the sweep's runs")
    parser.add_argument("--coordinator", metavar="HOST:PORT", help="several processes: the first")
    parser.add_argument("--num_processes", type=int, help="several processes: how many")
    parser.add_argument("--process_id", type=int, help="several processes: which one this is")
    overrides, rest = {}, []
    for argument in argv:
        if argument.startswith("--config."):
            path, equals, value = argument.removeprefix("--config.").partition("=")
            if not equals:
                raise UserError(f"{argument!r} has no value - write --config.{path}=VALUE")
            overrides[path] = value
        else:
            rest.append(argument)
    flags, unknown = parser.parse_known_args(rest)
    if unknown:
        raise UserError(_unexpected(unknown[0], parser))
    if flags.mode not in MODES:
        raise UserError(f"--mode {flags.mode!r}{config_lib.suggest(flags.mode, MODES)}")
    return flags, overrides


def _unexpected(argument: str, parser: argparse.ArgumentParser) -> str:
    """Makes the message about an argument that is none, with a suggestion."""
    name, equals, value = argument.lstrip("-").partition("=")
    message = f"unexpected argument {argument!r}"
    if not equals:
        known = [action.option_strings[-1] for action in parser._actions]
        return message + config_lib.suggest(argument, known)
    return f"{message} - did you mean --config.{name}={value} ?"


def dispatch(flags: argparse.Namespace, config: ConfigDict, overrides: dict[str, str]) -> int:
    """Does what the flags ask for; returns the exit code."""
    from vision_jax import run, show, sweep
    from vision_jax.training import environment, folder, multiprocess

    environment.enable_cache()
    if config.deterministic:
        environment.require_determinism()
    workdir = pathlib.Path(flags.workdir or pathlib.Path("runs") / folder.name(flags.config))
    if flags.sweep or flags.sweep_list or flags.sweep_index is not None:
        return sweep.launch(flags, overrides, workdir)
    multiprocess.initialize(flags.coordinator, flags.num_processes, flags.process_id)
    if flags.mode == "train":
        run.train(config, workdir)
    else:
        show.MODES[flags.mode](config, workdir, flags.input)
    return 0


def main(argv: list[str]) -> int:
    """Runs a command line; returns 0, 2 for bad input, 3 for a loss that is not finite."""
    try:
        flags, overrides = parse(argv)
        # The experiment file is read before JAX starts, so that a typo is answered at once.
        config = config_lib.load(flags.config)
        for path, value in overrides.items():
            config_lib.override(config, path, value)
        return dispatch(flags, config, overrides)
    except UserError as error:
        print(f"launch.py: {error}", file=sys.stderr)
        return error.code


if __name__ == "__main__":
    large_pages.restart_with_large_pages()
    code = main(sys.argv[1:])
    if code and "jax" in sys.modules:
        from vision_jax.training import multiprocess

        multiprocess.leave(code)  # the others of a run in several processes must not wait
    sys.exit(code)
