"""Darknet's files: `.cfg`, which describes a network, and `.weights`, its numbers.

Facts about the formats are from Darknet's parser.c.
"""

import functools
import math
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np

from vision_jax.config import UserError
from vision_jax.weights import engine
from vision_jax.weights.darknet_sections import darknet, sections, shapes
from vision_jax.weights.engine import State, Table, Tree

SUFFIX = ".weights"
_PART = re.compile(r"\.conv\.(\d+)$")  # the first so many sections, 'darknet53.conv.74'
# What a .cfg means by leaving an option out.
_DEFAULTS = {"batch_normalize": 0, "stride": 1, "size": 1, "groups": 1, "activation": "logistic"}


def is_weights(path: Path) -> bool:
    """Whether a file is Darknet's by its name: 'yolov3.weights', 'darknet53.conv.74'."""
    return path.suffix == SUFFIX or _PART.search(path.name) is not None


def load(path: Path, model: Any) -> Tree:
    """The variables of `model` in a file; of its backbone alone in one such as 'darknet53.conv.74'.

    Raises:
      UserError: see `read_weights`.
    """
    table = Table("darknet", functools.partial(darknet, count=_count(path)))
    return engine.from_reference(read_weights(path, model), model, [table])


def read_weights(path: Path, model: Any) -> dict[str, np.ndarray]:
    """The state in a `.weights` file. A `.cfg` of the same name beside it is checked first.

    The header is three int32, major, minor and revision, and how many images training saw: int64
    from version 0.2 on, else int32. What follows is float32 in the order of the `.cfg`.

    Raises:
      UserError: no such file, it holds fewer or more numbers than the model has, or the `.cfg`
        describes another model.
    """
    if not path.is_file():
        raise UserError("no such weights file")
    cfg = path.with_suffix(".cfg")
    if cfg.is_file():
        try:
            check_cfg(cfg.read_text(), model)
        except UserError as error:
            raise UserError(f"{cfg.name}: {error}") from None
    raw = path.read_bytes()
    if len(raw) < 16:
        raise UserError(f"{len(raw)} bytes, less than a header")
    major, minor, _ = struct.unpack("<3i", raw[:12])
    start = 20 if major * 10 + minor >= 2 and major < 1000 and minor < 1000 else 16
    wanted = shapes(model, _count(path))
    total = sum(math.prod(shape) for shape in wanted.values())
    if len(raw) != start + 4 * total:
        raise UserError(
            f"{len(raw):,} bytes, but {type(model).__name__} as it is configured has {total:,} "
            f"numbers here, {start + 4 * total:,} bytes with the header"
        )
    numbers, state, place = np.frombuffer(raw, "<f4", offset=start), {}, 0
    for name, shape in wanted.items():
        count = math.prod(shape)
        state[name] = numbers[place : place + count].reshape(shape)
        place += count
        # Old files hold fully connected weights the other way round.
        if len(shape) == 2 and (major > 1000 or minor > 1000):
            state[name] = state[name].reshape(shape[::-1]).T
    return state


def write_weights(path: Path, state: State, model: Any, seen: int = 0) -> None:
    """Writes a `.weights` file of version 0.2 that Darknet reads.

    Args:
      path: of the file.
      state: as `weights.to_reference(variables, model, 'darknet')` gives it.
      model: whose state it is.
      seen: images that training has seen.
    """
    with path.open("wb") as file:
        file.write(struct.pack("<3iq", 0, 2, 0, seen))
        for name in shapes(model):
            file.write(np.ascontiguousarray(state[name], "<f4").tobytes())


def read_cfg(text: str) -> list[tuple[str, dict[str, str]]]:
    """The sections of a `.cfg`, [net] first: kind and options as written.

    Raises:
      UserError: a line that is neither.
    """
    found: list[tuple[str, dict[str, str]]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.partition("#")[0].partition(";")[0].strip()
        if line.startswith("[") and line.endswith("]"):
            found.append((line[1:-1].strip(), {}))
        elif "=" in line and found:
            key, _, value = line.partition("=")
            found[-1][1][key.strip()] = value.strip()
        elif line:
            raise UserError(f"line {number} is neither [section] nor key=value: {line[:60]!r}")
    return found


def check_cfg(text: str, model: Any) -> None:
    """Whether a `.cfg` describes the model.

    Raises:
      UserError: the first section that differs, with both values.
    """
    theirs, ours = read_cfg(text), sections(model)
    if not theirs or theirs[0][0] not in ("net", "network"):
        raise UserError("does not begin with [net]")
    theirs = theirs[1:]
    for number, ((kind, options), section) in enumerate(zip(theirs, ours, strict=False)):
        if kind != section.kind:
            raise UserError(f"section {number} is [{kind}], the model's is [{section.kind}]")
        for key, value in section.options.items():
            given = _parsed(options.get(key, str(_DEFAULTS.get(key, 0))))
            if kind in ("route", "shortcut") and key in ("layers", "from"):
                given = tuple(n if n >= 0 else int(number + n) for n in given)
            if given != _parsed(value):
                raise UserError(
                    f"section {number} [{kind}] has {key}={_shown(given)}, "
                    f"the model {key}={_shown(_parsed(value))}"
                )
    if len(theirs) != len(ours):
        raise UserError(f"{len(theirs)} sections, the model has {len(ours)}")


def _count(path: Path) -> int | None:
    part = _PART.search(path.name)
    return int(part[1]) if part else None


def _parsed(value: Any) -> tuple:
    """Numbers, or words, as a tuple to be compared."""
    values = value if isinstance(value, tuple) else str(value).split(",")
    return tuple(_number(v) for v in values if str(v).strip())


def _number(value: Any) -> Any:
    try:
        number = float(value)
    except ValueError:
        return str(value).strip()
    return int(number) if number == int(number) else number


def _shown(values: tuple) -> str:
    return ",".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values)
