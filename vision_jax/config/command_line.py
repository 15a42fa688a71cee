"""Command lines whose mistakes are one line, as those in configs are."""

import argparse
import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from vision_jax.config.errors import UserError, suggest


class CommandLine(argparse.ArgumentParser):
    """A parser of flags that tells a mistake in one line: the flag, its value and what to do.

    Where argparse prints its usage and ends the process, this raises `UserError`.
    """

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message.removeprefix('argument ')} (see --help)")

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Reads the flags; refuses those that are not known, of commands within a command too.

        Raises:
          UserError: any mistake.
        """
        flags, unknown = super().parse_known_args(args, namespace)
        if unknown:
            raise UserError(self.unexpected(unknown[0], flags))
        return flags, []

    def unexpected(self, argument: str, flags: argparse.Namespace) -> str:
        """Makes the message about an argument that is none, with the flag that is most alike."""
        message = f"unexpected argument {argument!r}"
        if not argument.startswith("-"):
            return f"{message} (see --help)"
        known = [action.option_strings[-1] for action in self._actions if action.option_strings]
        return message + suggest(argument.partition("=")[0], known)


def whole(least: int | None = None) -> Callable[[str], int]:
    """Returns the `type` of a flag that takes a whole number.

    Args:
      least: of the numbers that it takes; None takes negative ones too.
    """

    def read(text: str) -> int:
        limit = "" if least is None else f" of at least {least}"
        try:
            number = int(text)
        except ValueError:
            number = None
        if number is None or (least is not None and number < least):
            raise argparse.ArgumentTypeError(f"{text!r} must be a whole number{limit}")
        return number

    return read


def number(text: str) -> float:
    """Reads a finite number, as the `type` of a flag."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number, such as 0.5")
    return value
