"""Lab records: an experiment's docstring, with its paper, cost and commands, as fields."""

import ast
import dataclasses
import os
import pathlib
import re
from collections.abc import Mapping

from vision_jax.config.errors import UserError

_INDENT = 9  # columns: where a field's text begins
_FIELD = re.compile(r"([a-z]+) +$")


@dataclasses.dataclass(frozen=True)
class LabRecord:
    """The parts of an experiment's docstring.

    Attributes:
      title: its first paragraph, on one line.
      fields: each text by its name, such as 'paper', 'cost' or 'run', on one line.
    """

    title: str
    fields: Mapping[str, str]


def lab_record(text: str) -> LabRecord:
    """Reads a docstring whose fields begin at the margin, with text from the tenth column on.

    Lines that belong to no field, such as later paragraphs, are left out.
    """
    first, _, rest = text.strip().partition("\n\n")
    fields: dict[str, str] = {}
    current = None
    for line in rest.splitlines():
        found = _FIELD.fullmatch(line[:_INDENT])
        if found and len(line) > _INDENT:
            current = found[1]
            fields[current] = line[_INDENT:].strip()
        elif current and line[:_INDENT].isspace() and line.strip():
            fields[current] += f" {line.strip()}"
        else:
            current = None
    return LabRecord(" ".join(first.split()), fields)


def read_lab_record(file: str | os.PathLike) -> LabRecord:
    """Reads an experiment file's lab record without importing it.

    Raises:
      UserError: the file is no Python.
    """
    path = pathlib.Path(file)
    try:
        tree = ast.parse(path.read_text())
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{path} is no Python file: {error}") from error
    return lab_record(ast.get_docstring(tree) or "")
