"""Errors of the user's, and the words that they are told in."""

import difflib
import typing


class UserError(Exception):
    """An error of the user's: one line that names the thing, the value and what to do.

    `launch.py` and the `python -m` tools print it and exit with `code`, without a traceback.
    """

    code = 2


class SettingError(UserError):
    """An error in the value of one setting, told with the setting's path."""

    def __init__(self, key: str, problem: str):
        """
        Args:
          key: the setting's name, or its path in a config.
          problem: the rest of the line, such as '=0 must be at least 1'.
        """
        super().__init__(f"{key}{problem}")
        self.key, self.problem = key, problem

    def within(self, path: str) -> "SettingError":
        """Returns the error of the part that lies at a path of a config; '' is the config."""
        return SettingError(f"{path}.{self.key}", self.problem) if path else self


def suggest(word: str, known: typing.Iterable[str]) -> str:
    """Returns ' - did you mean X?' with the closest known word, or all known words."""
    words = [str(k) for k in known]
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    if close:
        return f" - did you mean {close[0]}?"
    return f" - known: {', '.join(sorted(words))}" if words else ""


def printable(text: object, limit: int = 80) -> str:
    """Returns text from a file as a message may show it: on one line, of at most `limit` letters.

    Control characters, which could steer a terminal or turn the writing round, become '?'.
    """
    text = str(text)
    shown = "".join(c if c.isprintable() else " " if c in "\n\t" else "?" for c in text[:limit])
    return shown if len(text) <= limit else shown[: limit - 1] + "…"


def article(noun: str) -> str:
    """Puts 'a' or 'an' before a noun."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"
